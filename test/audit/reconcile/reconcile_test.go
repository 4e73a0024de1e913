package reconcile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/audit/trailtest"
	"bulwark.dev/bulwark/test/controltest"
)

// world is what the test asks for.
const world = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: people}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: gateway}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}
`

// gatewayFiles put the gateway before the API server: it shows a credential of its own.
const gatewayFiles = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: bulwark}
spec: {controllerName: bulwark.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: bulwark
  listeners: [{name: http, protocol: HTTP, port: %[1]s}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /cluster}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Authorization, value: Bearer gateway-token}]}}
    backendRefs: [{name: kubernetes, port: 443}]
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Authorization, value: Bearer gateway-token}]}}
    backendRefs: [{name: kubernetes, port: 443}]
---
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec: {ports: [{name: https, port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: %[3]s, protocol: TCP}]
endpoints: [{addresses: [%[2]s], conditions: {ready: true}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: kubernetes, namespace: default}
spec:
  targetRefs: [{group: "", kind: Service, name: kubernetes}]
  validation: {hostname: kubernetes.default.svc, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca, namespace: default}
data: {ca.crt: %[4]q}
`

const comparison = `
stamp: bulwark-
proxy: gateway
direct: [kubernetes-admin, 'control:*']
grace: 8s
`

// relay hands the API server's batches on, but for events of what is withheld.
func relay(t *testing.T, withheld string) {
	t.Helper()
	cert, err := os.ReadFile(trailtest.Path("webhook.crt"))
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}}
	srv := &http.Server{Addr: relayed, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list map[string]json.RawMessage
		var items []json.RawMessage
		if err := errors.Join(json.NewDecoder(r.Body).Decode(&list), json.Unmarshal(list["items"], &items)); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		items = slices.DeleteFunc(items, func(raw json.RawMessage) bool { return bytes.Contains(raw, []byte(withheld)) })
		if len(items) == 0 {
			return
		}
		body, err := json.Marshal(items)
		if err == nil {
			list["items"] = body
			body, err = json.Marshal(list)
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, "https://"+listen+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		req.Header = r.Header.Clone()
		resp, err := client.Do(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	})}
	ended := make(chan error, 1)
	go func() { ended <- srv.ListenAndServeTLS(trailtest.Path("webhook.crt"), trailtest.Path("webhook.key")) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("relay: %v", err)
		}
	})
}

// asker sends requests through the gateway or to the API server itself.
type asker struct {
	t      *testing.T
	direct string
	http   *http.Client
}

// ask gives the audit id that the API server says the request has.
func (k *asker) ask(direct bool, method, path, body string, header ...string) string {
	k.t.Helper()
	base := "http://127.0.0.1:" + throughPort
	if direct {
		base = k.direct
	}
	req, err := http.NewRequestWithContext(k.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := k.http.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode >= 400 {
		k.t.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, text, err)
	}
	return resp.Header.Get("Audit-Id")
}

// TestReconcile: what goes through the gateway is in peace; a request around it, one
// under a forged stamp, a stamp used again, and an event that is held back are told of.
func TestReconcile(t *testing.T) {
	address, trust, ca := trailtest.APIServer(t)
	api, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := controltest.TryKubectl(t.Context(), strings.NewReader(world), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data, through, files, compare := filepath.Join(dir, "trail"), filepath.Join(dir, "gateway"), filepath.Join(dir, "gateway.yaml"), filepath.Join(dir, "reconcile.yaml")
	if err := errors.Join(os.WriteFile(files, fmt.Appendf(nil, gatewayFiles, throughPort, api.Hostname(), api.Port(), ca), 0o600), os.WriteFile(compare, []byte(comparison), 0o600)); err != nil {
		t.Fatal(err)
	}
	const withheld = "/configmaps/withheld"
	trailtest.Start(t, append(trailtest.ServeFlags(data, listen),
		"--tail", filepath.Join(through, "events.jsonl"), "--reconcile", compare, "--expect-server", trailtest.Server, "--admin", "127.0.0.1:9400")...)
	relay(t, withheld)
	trailtest.Start(t, "up", "-f", files, "--data", through, "--unprotected", "allow", "--api-server", "default/kubernetes:443", "--admin", "127.0.0.1:9401")
	k := &asker{t, address, &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}}
	controltest.Until(t, "the gateway and the trail", func() error {
		for _, url := range []string{"http://127.0.0.1:9400/readyz", "http://127.0.0.1:9401/readyz"} {
			resp, err := http.Get(url)
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", url, resp.Status)
			}
		}
		return nil
	})
	const maps = "/api/v1/namespaces/shop/configmaps"
	peace := []string{
		k.ask(false, "GET", maps+"?limit=5", ""),
		k.ask(false, "GET", maps+"/kube-root-ca.crt", "", "Audit-ID", "bulwark-chosen-by-the-client"),
		k.ask(false, "POST", maps, `{"metadata":{"name":"one"}}`),
		k.ask(false, "GET", "/cluster"+maps+"/one", ""),
		k.ask(false, "PUT", maps+"/one", `{"metadata":{"name":"one"},"data":{"a":"b"}}`),
		k.ask(false, "GET", maps+"?watch=true&timeoutSeconds=1", ""),
		k.ask(false, "DELETE", maps+"/one", ""),
		k.ask(false, "DELETE", maps+"?labelSelector=none", ""),
		k.ask(false, "GET", "/version", ""),
		k.ask(false, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`),
	}
	var calm []uint64
	controltest.Until(t, "both records of what is in peace", func() error {
		calm = nil
		for _, id := range peace {
			if !strings.HasPrefix(id, "bulwark-") || len(id) != len("bulwark-")+32 {
				t.Fatalf("%q is no stamp", id)
			}
			found := append(trailtest.Search(t, data, "kind=api auditID="+id), trailtest.Search(t, data, "kind=gateway more.gateway.auditId="+id)...)
			if len(found) < 2 {
				return fmt.Errorf("%s: %d records", id, len(found))
			}
			for _, e := range found {
				calm = append(calm, e.Seq)
			}
		}
		return nil
	})
	forged := "bulwark-" + strings.Repeat("0123456789abcdef", 2)
	k.ask(true, "GET", maps+"/kube-root-ca.crt", "", "Authorization", "Bearer alice-token")
	k.ask(true, "GET", "/api/v1/secrets", "", "Authorization", "Bearer gateway-token", "Audit-ID", forged)
	stolen := k.ask(false, "GET", "/api/v1/namespaces/shop/secrets", "")
	k.ask(true, "GET", "/api/v1/namespaces/shop/secrets", "", "Authorization", "Bearer gateway-token", "Audit-ID", stolen)
	k.ask(false, "POST", maps, `{"metadata":{"name":"withheld"}}`)
	held := k.ask(false, "GET", maps+"/withheld", "")

	want := map[string]string{ // by rule: what the evidence or the summary must name
		"reconcile-bypass": "kube-root-ca.crt", "reconcile-forgery": forged, "reconcile-reuse": stolen, "reconcile-suppression": "get " + maps + "/withheld",
	}
	var told []trailtest.Alert
	controltest.Until(t, "the findings", func() error {
		told = slices.DeleteFunc(trailtest.Alerts(t, data), func(a trailtest.Alert) bool { return !strings.HasPrefix(a.Rule, "reconcile-") })
		for rule := range want {
			if !slices.ContainsFunc(told, func(a trailtest.Alert) bool { return a.Rule == rule }) {
				return fmt.Errorf("no %s in %v", rule, told)
			}
		}
		return nil
	})
	for _, a := range told {
		if name := want[a.Rule]; !strings.Contains(a.Summary, name) {
			t.Errorf("%s tells of something else than %s: %+v", a.Rule, name, a)
		}
		if slices.ContainsFunc(a.Evidence, func(seq uint64) bool { return slices.Contains(calm, seq) }) {
			t.Errorf("an alert for what is in peace: %+v", a)
		}
	}
	if len(told) != len(want) {
		t.Errorf("%d findings, want %d: %+v", len(told), len(want), told)
	}
	if n := len(trailtest.Search(t, data, "auditID="+held+" kind=api")); n != 0 {
		t.Errorf("%d events of what was withheld", n)
	}
	if n := len(trailtest.Search(t, data, "kind=system verb=server-silent")); n != 0 {
		t.Errorf("the API server is said to be silent: %d", n)
	}
	trailtest.Run(t, 0, "audit", "verify", "--data", data)
}
