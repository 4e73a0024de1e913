package redact

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

// leastToken is the least bytes of what is known by its shape alone.
const leastToken = 16

// user looks through what is said of a caller: authenticators write extra values, and
// whoever may impersonate writes all of it.
func (t *taken) user(path string, u *audit.User) {
	if mayHold(u.Username) {
		t.field(path+".username", &u.Username, looking{})
	}
	t.list(path+".groups", &u.Groups, "")
	if len(u.Extra) == 0 {
		return
	}
	var changed map[string][]string
	for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
		values := u.Extra[key]
		if t.list(path+".extra."+key, &values, key) {
			if changed == nil {
				changed = maps.Clone(u.Extra)
			}
			changed[key] = values
		}
	}
	if changed != nil {
		u.Extra = changed
	}
}

// mayHold reports whether a name or value of a caller may be a secret by its shape.
func mayHold(s string) bool { return len(s) >= leastToken && !strings.HasPrefix(s, "system:") }

// list looks at texts that stand under a name. The list may be shared: it is not
// written to.
func (t *taken) list(path string, texts *[]string, name string) bool {
	changed := false
	named := sensitive(name, broad) || strings.Contains(name, "user-assertion")
	for i, text := range *texts {
		clean := text
		switch {
		case named && worth(text):
			clean = bulwark.Redacted
		case mayHold(text) && !accessKeyID(name, text):
			clean = cut(text, scan(text, looking{}))
		}
		if clean == text {
			continue
		}
		if !changed {
			*texts, changed = slices.Clone(*texts), true
		}
		t.text(path+"["+strconv.Itoa(i)+"]", text)
		(*texts)[i] = clean
	}
	return changed
}

// accessKeyID reports whether a value is the name of an access key, by which EKS says
// who called, where it is expected to be.
func accessKeyID(name, value string) bool {
	return strings.EqualFold(name, "accessKeyId") && tokenAt(value) == len(value)
}
