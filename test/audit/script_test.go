package audit

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/audit/trailtest"
	"bulwark.dev/bulwark/test/controltest"
)

// mastersRequest stands for a certificate request of a controller in the
// script, and is replaced when it runs.
const mastersRequest = "MASTERS"

// world is what the script finds.
const world = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: quiet, namespace: shop, labels: {app: quiet}}
spec: {containers: [{name: main, image: "bulwark.dev/control/pod:1", args: [serve]}]}
---
apiVersion: v1
kind: Service
metadata: {name: quiet, namespace: shop}
spec: {selector: {app: quiet}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: quiet, namespace: shop}
spec: {replicas: 0, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: main, image: "bulwark.dev/control/pod:1", args: [serve]}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: quiet2, namespace: shop}
spec: {replicas: 0, selector: {matchLabels: {app: d2}}, template: {metadata: {labels: {app: d2}}, spec: {containers: [{name: main, image: "bulwark.dev/control/pod:1", args: [serve]}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data: {Corefile: "."}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: all, namespace: shop}
spec: {hard: {pods: "500"}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: guard}
spec: {policyName: guard, validationActions: [Deny]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: people}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ops}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ci-bot}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: intruders}
`

// build makes the world, before Bulwark listens.
func build(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString(world)
	for i := range 8 {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: gone-%d}\n", i)
	}
	for i := range 25 {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s-%d, namespace: shop}\nstringData: {password: planted-%d-hunter2}\n", i, i)
	}
	if _, err := controltest.TryKubectl(t.Context(), strings.NewReader(b.String()), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	controltest.Kubectl(t, "wait", "--for=condition=Ready", "pod/quiet", "-n", space, "--timeout=-1s")
}

// asker sends requests to the API server, over HTTP/1.1, which exec needs.
type asker struct {
	base string
	http *http.Client
	csr  string
}

func newAsker(t *testing.T) *asker {
	t.Helper()
	address, trust, _ := trailtest.APIServer(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:kube-controller-manager"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := json.Marshal(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return &asker{address, &http.Client{Transport: &http.Transport{TLSClientConfig: trust, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}, string(csr)}
}

// agent names an action in the events of its requests.
func agent(i int, a *action) string { return fmt.Sprintf("%s action-%04d-", a.agent, i) }

// do sends an action's requests and gives their statuses.
func (k *asker) do(t *testing.T, i int, a *action) []int {
	t.Helper()
	var codes []int
	for _, r := range a.requests {
		req, err := http.NewRequestWithContext(t.Context(), r.method, k.base+r.path, strings.NewReader(strings.ReplaceAll(r.body, quote(mastersRequest), k.csr)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", agent(i, a))
		req.Header.Set("Accept", "application/json")
		if r.body != "" {
			req.Header.Set("Content-Type", "application/json")
			if r.kind != "" {
				req.Header.Set("Content-Type", r.kind)
			}
		}
		if a.user != "" {
			req.Header.Set("Authorization", "Bearer "+a.user+"-token")
		}
		for name, value := range r.header {
			req.Header.Set(name, value)
		}
		resp, err := k.http.Do(req)
		if err != nil {
			t.Fatalf("%s: %s %s: %v", a.name, r.method, r.path, err)
		}
		body := []byte{}
		if resp.StatusCode != http.StatusSwitchingProtocols {
			body, err = io.ReadAll(resp.Body)
		}
		_ = resp.Body.Close()
		if err != nil {
			t.Fatalf("%s: %s %s: %v", a.name, r.method, r.path, err)
		}
		if a.user != "eve" && a.user != "" && resp.StatusCode >= 400 && !strings.Contains(r.path, "/proxy/") {
			t.Errorf("%s: %s %s: %d %.300s", a.name, r.method, r.path, resp.StatusCode, body)
		}
		codes = append(codes, resp.StatusCode)
	}
	return codes
}

// TestScript: every action is found, every evil one alerts, and nothing else does.
func TestScript(t *testing.T) {
	build(t)
	data := serve(t)
	k := newAsker(t)
	probe := action{name: "probe", user: "alice", agent: kubectl, requests: get(core("pods/quiet"))}
	// The API server may have given up the webhook for a while, before anybody listened.
	controltest.Until(t, "events to arrive", func() error {
		k.do(t, 0, &probe)
		if got := trailtest.Search(t, data, `agent=*action-0000-*`); len(got) == 0 {
			return fmt.Errorf("no event yet")
		}
		return nil
	})
	begin := time.Now() // what happened before it built the world
	actions := script()
	requests := make([]int, len(actions))
	for i := range actions {
		requests[i] = len(k.do(t, i+1, &actions[i]))
	}
	last := action{name: "last", user: "ops", agent: kubectl, requests: get("/api/v1/secrets")}
	k.do(t, 9999, &last)
	var end []trailtest.Event
	controltest.Until(t, "the last event to arrive", func() error {
		if end = trailtest.Search(t, data, `agent=*action-9999-*`); len(end) == 0 {
			return fmt.Errorf("it has not")
		}
		return nil
	})

	found := map[int][]uint64{} // events by action
	for _, e := range trailtest.Search(t, data, `agent=*action-*`) {
		var i int
		_, name, _ := strings.Cut(e.UserAgent, " action-")
		if _, err := fmt.Sscanf(name, "%04d-", &i); err != nil {
			t.Fatalf("%q: %v", e.UserAgent, err)
		}
		found[i] = append(found[i], e.Seq)
	}
	of := map[uint64]int{} // action by event
	for i := range actions {
		if got := len(found[i+1]); got < requests[i] {
			t.Errorf("%s: %d requests, %d events", actions[i].name, requests[i], got)
		}
		for _, seq := range found[i+1] {
			of[seq] = i + 1
		}
	}
	// A search for one action finds the same as that for all. Each is a process of its own.
	for i := 7; i < len(actions); i += 40 {
		var alone []uint64
		for _, e := range trailtest.Search(t, data, fmt.Sprintf(`agent=*action-%04d-*`, i+1)) {
			alone = append(alone, e.Seq)
		}
		if !slices.Equal(alone, found[i+1]) {
			t.Errorf("%s: found %v, and among all %v", actions[i].name, alone, found[i+1])
		}
	}
	for _, e := range end {
		of[e.Seq] = len(actions) + 1
	}
	var alerts []trailtest.Alert
	seen := map[int][]string{}
	// Events are looked at in their order: when the last one alerts, all have been.
	controltest.Until(t, "the last alert", func() error {
		alerts, seen = trailtest.Alerts(t, data), map[int][]string{}
		for _, a := range alerts {
			for _, seq := range a.Evidence {
				seen[of[seq]] = append(seen[of[seq]], a.Rule)
			}
		}
		if len(seen[len(actions)+1]) == 0 {
			return fmt.Errorf("%d alerts so far", len(alerts))
		}
		return nil
	})
	evil := 0
	for i := range actions {
		rules := slices.Compact(slices.Sorted(slices.Values(seen[i+1])))
		switch {
		case actions[i].evil && len(rules) == 0:
			t.Errorf("no alert: %s", actions[i].name)
		case !actions[i].evil && len(rules) > 0:
			t.Errorf("an alert for %s: %v", actions[i].name, rules)
		}
		if actions[i].evil {
			evil++
		}
	}
	for _, a := range alerts {
		if a.Time.Before(begin) || a.Rule == "masters-group-used" && a.Actor != "alice" && a.Actor != "mallory" {
			continue // this control plane's own parts are in system:masters
		}
		if !slices.ContainsFunc(a.Evidence, func(seq uint64) bool { return of[seq] > 0 }) {
			t.Errorf("an alert for nobody's action: %+v", a)
		}
	}
	t.Logf("%d actions, %d of them evil; %d alerts", len(actions), evil, len(alerts))
	if len(actions) < 300 || evil < 100 {
		t.Errorf("too few ran: %d actions, %d evil", len(actions), evil)
	}
	if n := len(trailtest.Search(t, data, `"hunter2"`)); n != 0 {
		t.Errorf("%d events hold a Secret's value", n)
	}
	trailtest.Run(t, 0, "audit", "verify", "--data", data)
}
