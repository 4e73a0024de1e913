package admission

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

const (
	// maxWarning and maxWarnings keep within what the API server passes on: 256
	// characters for each and 4096 for all.
	maxWarning  = 250
	maxWarnings = 15
	// maxMessage bounds what a refusal says.
	maxMessage = 4000
)

// tell writes what the decision says to the user and to the audit log.
func (w *Webhook) tell(d *decision) {
	var denied []string
	lists := map[string][]string{}
	note := func(list, value string) {
		if !slices.Contains(lists[list], value) {
			lists[list] = append(lists[list], value)
		}
	}
	more := 0
	for i := range d.findings {
		f := &d.findings[i]
		switch {
		case f.exception != "":
			note("excepted", f.ID+" by "+f.exception)
			continue
		case f.denies && d.allowed:
			note("would-deny", f.ID)
		case f.denies:
			note("denied", f.ID)
			denied = append(denied, f.text()+why(f.Remediation))
			continue
		case f.severity() < w.cfg.WarnAt:
			continue
		default:
			note("warned", f.ID)
		}
		if len(d.warnings) >= maxWarnings {
			more++
			continue
		}
		text := f.text()
		switch {
		case f.denies:
			text = "would be refused: " + text
		case f.old:
			text += " (as before)"
		}
		d.warnings = append(d.warnings, short("bulwark: "+text, maxWarning))
	}
	if more > 0 {
		d.warnings = append(d.warnings, fmt.Sprintf("bulwark: and %d more", more))
	}
	if len(denied) > 0 {
		d.message = short("bulwark refuses: "+strings.Join(denied, "; "), maxMessage)
	}
	if len(lists) > 0 {
		d.annotations = map[string]string{}
		for name, values := range lists {
			d.annotations[name] = short(strings.Join(values, ","), maxMessage)
		}
	}
}

func why(remediation string) string {
	if remediation == "" {
		return ""
	}
	return " (" + remediation + ")"
}

// short makes a text one line of at most n bytes. What a user wrote, as the name of
// a container, is in it: the API server drops a warning with any control character,
// and terminals obey some of them and the marks that reorder text.
func short(text string, n int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
	}), " ")
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len("…")], "") + "…"
}
