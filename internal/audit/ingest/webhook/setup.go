package webhook

import (
	"errors"
	"fmt"
	"net/url"

	"sigs.k8s.io/yaml"
)

// Setup is how an API server reaches a Handler. The files are paths on the API
// server's machine.
type Setup struct {
	// URL is that of the webhook: https, with Path and perhaps the server's name.
	URL string
	// CAFile has the authority that signed the webhook's certificate. Required.
	CAFile string
	// TokenFile has a bearer token; or CertFile and KeyFile a client certificate. One of
	// the two is required.
	TokenFile, CertFile, KeyFile string
}

// Kubeconfig gives the file for --audit-webhook-config-file.
func (c Setup) Kubeconfig() ([]byte, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("write audit webhook's kubeconfig: %w", err)
	}
	_, known := serverName(u.Path)
	user := map[string]any{}
	switch {
	case u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("write audit webhook's kubeconfig: %q is not an https URL of host and path", u.Redacted())
	case !known:
		return nil, fmt.Errorf("write audit webhook's kubeconfig: the path of %q is not %s, with or without a server's name", c.URL, Path)
	case c.CAFile == "":
		return nil, errors.New("write audit webhook's kubeconfig: the file of the certificate authority is required")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return nil, errors.New("write audit webhook's kubeconfig: a client certificate and its key go together")
	case c.TokenFile != "" && c.CertFile == "":
		user["tokenFile"] = c.TokenFile
	case c.CertFile != "" && c.TokenFile == "":
		user["client-certificate"], user["client-key"] = c.CertFile, c.KeyFile
	default:
		return nil, errors.New("write audit webhook's kubeconfig: either a token or a client certificate is required")
	}
	const name = "bulwark"
	out, err := yaml.Marshal(map[string]any{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []any{map[string]any{"name": name, "cluster": map[string]any{"server": c.URL, "certificate-authority": c.CAFile}}},
		"users":           []any{map[string]any{"name": name, "user": user}},
		"contexts":        []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": name}}},
		"current-context": name,
	})
	if err != nil {
		return nil, fmt.Errorf("write audit webhook's kubeconfig: %w", err)
	}
	return out, nil
}

// Flags are the API server's flags for a Handler, given the paths of the audit
// policy and of the kubeconfig.
//
// Against the defaults: batches are sent after a second, not after thirty; a hundred a
// second, which are 40,000 events, and not ten; the buffer has room for 50,000 events,
// about 125 MiB of memory when full; and a failed batch is tried again after one
// second, then up to three times more. The throttle stays on: without it an API server
// whose webhook hangs has batches under way without bound. Truncating keeps an event
// with a large body from being lost: the body goes, and the event says so.
func Flags(policyFile, configFile string) []string {
	return []string{
		"--audit-policy-file=" + policyFile,
		"--audit-webhook-config-file=" + configFile,
		"--audit-webhook-mode=batch",
		"--audit-webhook-batch-buffer-size=50000",
		"--audit-webhook-batch-max-size=400",
		"--audit-webhook-batch-max-wait=1s",
		"--audit-webhook-batch-throttle-enable=true",
		"--audit-webhook-batch-throttle-qps=100",
		"--audit-webhook-batch-throttle-burst=150",
		"--audit-webhook-initial-backoff=1s",
		"--audit-webhook-truncate-enabled=true",
		"--audit-webhook-truncate-max-event-size=1048576",
		"--audit-webhook-truncate-max-batch-size=10485760",
	}
}
