package content

import (
	"slices"
	"strconv"
	"strings"
)

// repeated are the flags whose values add up when they are given again. Of all
// others the last one counts, as the components read them.
var repeated = []string{ //nolint:gochecknoglobals // constant
	"admission-control", "api-audiences", "authorization-mode", "controllers", "disable-admission-plugins",
	"enable-admission-plugins", "etcd-servers", "etcd-servers-overrides", "feature-gates", "node-labels",
	"oidc-groups-claim", "oidc-required-claim", "register-with-taints", "runtime-config",
	"service-account-issuer", "service-account-key-file", "tls-cipher-suites", "tls-sni-cert-key",
}

// flags gives a container's command and arguments in one list, each flag as
// --name=value: "--name value" and "-name=value" mean the same, a flag alone means
// true, and underscores in a name are dashes.
func flags(container map[string]any) []any {
	var words []string
	for _, field := range []string{"command", "args"} {
		list, _ := container[field].([]any)
		for _, w := range list {
			s, _ := w.(string)
			words = append(words, s)
		}
	}
	out := []any{}
	last := map[string]int{} // places in out of the flags of which the last one counts
	for i := 0; i < len(words); i++ {
		w := words[i]
		name := strings.TrimPrefix(strings.TrimPrefix(w, "-"), "-")
		if len(name) < 2 || name == w || name[0] == '-' {
			out = append(out, w)
			continue
		}
		name, value, ok := strings.Cut(name, "=")
		if !ok {
			value = "true"
			if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				i++
				value = words[i]
			}
		}
		name = strings.ReplaceAll(name, "_", "-")
		if !slices.Contains(repeated, name) {
			if before, ok := last[name]; ok {
				out[before] = nil
			}
			last[name] = len(out)
		}
		out = append(out, "--"+name+"="+value)
	}
	return slices.DeleteFunc(out, func(w any) bool { return w == nil })
}

// flagWord gives the path, below a container, of the word that sets a flag: of the
// last one, which counts. It is "" where the flag is not there.
func flagWord(container map[string]any, flag string) string {
	at := ""
	for _, field := range []string{"command", "args"} {
		list, _ := container[field].([]any)
		for i, w := range list {
			s, _ := w.(string)
			name := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "-")
			if name == s {
				continue
			}
			if name, _, _ = strings.Cut(name, "="); strings.ReplaceAll(name, "_", "-") == flag {
				at = field + "[" + strconv.Itoa(i) + "]"
			}
		}
	}
	return at
}
