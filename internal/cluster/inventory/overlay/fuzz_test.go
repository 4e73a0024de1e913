package overlay

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzGuard looks at any text as a kustomization: it must end, and let nothing by
// that Kustomize would fetch as a file.
func FuzzGuard(f *testing.F) {
	f.Add("https://example.com/x.yaml")
	f.Add("git::git@github.com:org/repo")
	f.Add("x: &a [*a]")
	f.Add("|-\n  apiVersion: builtin\n  path: http://a")
	f.Fuzz(func(t *testing.T, text string) {
		folder := func(string) bool { return false }
		_ = guard("kustomization.yaml", []byte(text), true, folder)
		u, err := url.Parse(text)
		fetched := err == nil && (u.Scheme == "http" || u.Scheme == "https")
		for _, prefix := range []string{"ssh://", "file://", "github.com/", "github.com:", "git::https://"} {
			fetched = fetched || strings.HasPrefix(strings.ToLower(text), prefix)
		}
		if fetched && !remote(text) {
			t.Fatalf("%q would be fetched", text)
		}
	})
}
