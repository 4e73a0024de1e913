package ingest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is written for the API server is what its own code reads.
func TestWebhookKubeconfig(t *testing.T) {
	t.Parallel()
	c := WebhookClient{URL: "https://bulwark.example.com:9443/audit/v1/apiserver-0", CAFile: "/etc/ca.pem", TokenFile: "/etc/token"}
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
	for name, change := range map[string]func(*WebhookClient){
		"http":    func(c *WebhookClient) { c.URL = "http://x/audit/v1" },
		"path":    func(c *WebhookClient) { c.URL = "https://x/" },
		"user":    func(c *WebhookClient) { c.URL = "https://a:b@x/audit/v1" },
		"no CA":   func(c *WebhookClient) { c.CAFile = "" },
		"nobody":  func(c *WebhookClient) { c.TokenFile = "" },
		"both":    func(c *WebhookClient) { c.CertFile, c.KeyFile = "a", "b" },
		"no key":  func(c *WebhookClient) { c.TokenFile, c.CertFile = "", "a" },
		"nothing": func(c *WebhookClient) { *c = WebhookClient{} },
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
	flags := WebhookFlags("/p.yaml", "/w.yaml")
	if flags[0] != "--audit-policy-file=/p.yaml" || flags[1] != "--audit-webhook-config-file=/w.yaml" {
		t.Error(flags)
	}
}
