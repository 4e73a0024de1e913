package leak

import (
	"maps"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// manifest is about Secrets in files. It is no content: an API server that was told
// to refuse Secrets with values would take none.
type manifest struct{ meta control.Meta }

func inManifest(refs []string) control.Single {
	return manifest{control.Meta{
		ID: "secret-in-manifest", Title: "Secret stands in a file with its values", Severity: medium, Category: "secrets",
		Why:         "base64 hides nothing: whoever can read the repository, its history or the build has the values, and they stay there when the secret is changed.",
		Remediation: "Keep the values out of files: let an operator fetch them from a store, or commit them encrypted. Change those that were committed.",
		References:  refs,
	}}
}

// Meta describes the control.
func (m manifest) Meta() control.Meta { return m.meta }

// Applies to Secrets only.
func (m manifest) Applies(s *control.Subject) bool {
	return s.Object.Kind == "Secret" && s.Object.Group() == ""
}

// Judge fails where a key has a value that is no placeholder, reference, ciphertext or
// certificate.
func (m manifest) Judge(s *control.Subject) []control.Result {
	if s.Object.UID != "" {
		return []control.Result{{Verdict: bulwark.VerdictNotApplicable, Reason: "the secret is a cluster's, where it belongs"}}
	}
	var keys []string
	for _, field := range [...]string{"data", "stringData"} {
		values, _ := s.Content[field].(map[string]any)
		for key, v := range values {
			text, _ := v.(string)
			if raw, ok := decodeAll(text); ok && field == "data" {
				text = raw
			}
			if text = strings.TrimSpace(text); text != "" && !stands(text) && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return passed
	}
	slices.Sort(keys)
	field := "data"
	if values, ok := s.Content["stringData"].(map[string]any); ok && len(values) > 0 && slices.Contains(slices.Collect(maps.Keys(values)), keys[0]) {
		field = "stringData"
	}
	shownKeys := keys[:min(len(keys), 10)]
	for i, k := range shownKeys {
		shownKeys[i] = shown(k)
	}
	return []control.Result{{
		Verdict: bulwark.VerdictFail, Field: field,
		Message: "the secret has values for " + strings.Join(shownKeys, ", "),
	}}
}

// stands reports whether a text stands for a value, or is public.
func stands(text string) bool {
	return !strings.Contains(text, "PRIVATE KEY") && (reference(text, false) || madeUp(text))
}
