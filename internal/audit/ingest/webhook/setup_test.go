package webhook

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is written for the API server is what its own code reads.
func TestKubeconfig(t *testing.T) {
	t.Parallel()
	c := Setup{URL: "https://bulwark.example.com:9443/audit/v1/apiserver-0", CAFile: "/etc/ca.pem", TokenFile: "/etc/token"}
	got, err := c.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: v1
clusters:
- cluster:
    certificate-authority: /etc/ca.pem
    server: https://bulwark.example.com:9443/audit/v1/apiserver-0
  name: bulwark
contexts:
- context:
    cluster: bulwark
    user: bulwark
  name: bulwark
current-context: bulwark
kind: Config
users:
- name: bulwark
  user:
    tokenFile: /etc/token
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(*Setup){
		"http":    func(c *Setup) { c.URL = "http://x/audit/v1" },
		"path":    func(c *Setup) { c.URL = "https://x/" },
		"user":    func(c *Setup) { c.URL = "https://a:b@x/audit/v1" },
		"no CA":   func(c *Setup) { c.CAFile = "" },
		"nobody":  func(c *Setup) { c.TokenFile = "" },
		"both":    func(c *Setup) { c.CertFile, c.KeyFile = "a", "b" },
		"no key":  func(c *Setup) { c.TokenFile, c.CertFile = "", "a" },
		"nothing": func(c *Setup) { *c = Setup{} },
	} {
		bad := c
		change(&bad)
		if out, err := bad.Kubeconfig(); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
	c.TokenFile, c.CertFile, c.KeyFile = "", "/c", "/k"
	if got, err := c.Kubeconfig(); err != nil || !strings.Contains(string(got), "client-certificate: /c\n    client-key: /k") {
		t.Errorf("%s, %v", got, err)
	}
	flags := Flags("/p.yaml", "/w.yaml")
	if flags[0] != "--audit-policy-file=/p.yaml" || flags[1] != "--audit-webhook-config-file=/w.yaml" {
		t.Error(flags)
	}
}
