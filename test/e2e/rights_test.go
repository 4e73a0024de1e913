package e2e

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/test/controltest"
)

// right is one verb on one resource, perhaps of one name.
type right struct {
	own                         bool // of the Role in Bulwark's own namespace
	group, resource, verb, name string
}

func (r right) String() string {
	out := r.verb + " " + r.resource
	if r.group != "" {
		out += "." + r.group
	}
	if r.name != "" {
		out += " " + r.name
	}
	if r.own {
		out += " of its own"
	}
	return out
}

// asks reports whether a request needs the right.
func (r right) asks(e *auditEvent, system string) bool {
	resource := e.ObjectRef.Resource
	if e.ObjectRef.Subresource != "" {
		resource += "/" + e.ObjectRef.Subresource
	}
	return e.Verb == r.verb && resource == r.resource && e.ObjectRef.APIGroup == r.group &&
		(r.name == "" || r.name == e.ObjectRef.Name) && (!r.own || e.ObjectRef.Namespace == system)
}

// expand takes rules apart.
func expand(rules []rbacv1.PolicyRule, own bool) []right {
	var out []right
	for _, rule := range rules {
		for _, g := range rule.APIGroups {
			for _, res := range rule.Resources {
				for _, v := range rule.Verbs {
					names := rule.ResourceNames
					if len(names) == 0 {
						names = []string{""}
					}
					for _, n := range names {
						out = append(out, right{own, g, res, v, n})
					}
				}
			}
		}
	}
	return out
}

// rules puts rights together again, but for one.
func rules(rights []right, own bool, without right) []rbacv1.PolicyRule {
	out := []rbacv1.PolicyRule{}
	for _, r := range rights {
		if r.own != own || r == without {
			continue
		}
		rule := rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{r.verb}}
		if r.name != "" {
			rule.ResourceNames = []string{r.name}
		}
		out = append(out, rule)
	}
	return out
}

// granted gives what the chart grants its controller.
func granted(t *testing.T) []right {
	t.Helper()
	cluster := get[rbacv1.ClusterRole](t, rbac+"/clusterroles/bulwark-controller")
	own := get[rbacv1.Role](t, rbac+"/namespaces/"+system+"/roles/bulwark-controller")
	return append(expand(cluster.Rules, false), expand(own.Rules, true)...)
}

// TestRights: the chart's controller may do what it needs, and nothing else.
func TestRights(t *testing.T) {
	quiet(t)
	all := granted(t)
	if len(all) < 40 {
		t.Fatalf("%d rights found: %v", len(all), all)
	}
	t.Logf("%d rights", len(all))
	t.Run("used", func(t *testing.T) { rightsUsed(t, all) })
	t.Run("needed", func(t *testing.T) {
		crd := controltest.Kubectl(t, "get", "crds", "-o", "name")
		if !strings.Contains(crd, "securitypolicies.bulwark.dev") {
			t.Fatal(crd)
		}
		var args []string
		for _, c := range get[appsv1.Deployment](t, "/apis/apps/v1/namespaces/"+system+"/deployments/bulwark-controller").Spec.Template.Spec.Containers {
			args = append(args, c.Args...)
		}
		// First none is missing: what tells a missing right must not tell then.
		for i, r := range append([]right{{}}, all...) {
			name := "nothing missing"
			if r != (right{}) {
				name = "without " + r.String()
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				rightNeeded(t, fmt.Sprintf("rights-%02d", i), all, r, args)
			})
		}
	})
}

// fixture is one object of every kind that the controller reads or writes, of a
// GatewayClass.
func fixture(t *testing.T, ns, class string) string {
	t.Helper()
	ca := newAuthority(t, "fixture")
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: %[1]s}
spec:
  gatewayClassName: %[2]s
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: tls, protocol: TLS, port: 443, hostname: tls.test, tls: {mode: Passthrough}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: %[1]s}
spec:
  parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw}
  listeners: [{name: more, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: http, namespace: %[1]s}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc, namespace: %[1]s}
spec:
  parentRefs: [{name: gw}]
  hostnames: [grpc.test]
  rules: [{backendRefs: [{name: absent, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: tls, namespace: %[1]s}
spec:
  parentRefs: [{name: gw}]
  hostnames: [tls.test]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: echo, namespace: %[1]s}
spec:
  targetRefs: [{group: "", kind: Service, name: echo}]
  validation: {hostname: echo.test, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}
---
`, ns, class) + object(t, "ConfigMap", ns, "ca", nil, map[string]string{"ca.crt": ca.pem}) +
		object(t, "Secret", ns, "key", map[string]string{"keys": ns}, map[string]string{"hash": hashKey("the key of a fixture")}) +
		securityPolicy(ns, "http", "HTTPRoute", "http", "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {keys: "+ns+"}}}}]}\n"+allowed)
}

// churn changes a fixture's Gateway back and forth, so that Services, endpoints
// and ports are made, changed and deleted.
func churn(t *testing.T, ns string, step int) {
	t.Helper()
	listeners := []any{
		map[string]any{"name": "http", "protocol": "HTTP", "port": 80},
		map[string]any{"name": "tls", "protocol": "TLS", "port": 443, "hostname": "tls.test", "tls": map[string]any{"mode": "Passthrough"}},
	}
	addresses := []any{}
	if step%2 == 0 {
		listeners = append(listeners, map[string]any{"name": "second", "protocol": "HTTP", "port": 8081})
	}
	if step/2%2 == 1 {
		addresses = append(addresses, map[string]any{"type": "IPAddress", "value": "10.242.200.1"})
	}
	merge(t, gateways+"/namespaces/"+ns+"/gateways/gw", map[string]any{"spec": map[string]any{"listeners": listeners, "addresses": addresses}})
}

// missing gives the rights that a user has not used with success.
func missing(t *testing.T, user, system string, rights []right) []right {
	t.Helper()
	done := audited(t, user)
	var out []right
	for _, r := range rights {
		if !slices.ContainsFunc(done, func(e auditEvent) bool { return e.ResponseStatus.Code < 300 && r.asks(&e, system) }) {
			out = append(out, r)
		}
	}
	return out
}

// rightsUsed makes the installed controller use every right, and waits until
// the audit log has them all.
func rightsUsed(t *testing.T, all []right) {
	t.Helper()
	const ns = "rights"
	namespace(t, ns)
	apply(t, newBackend(t).service(ns)+fixture(t, ns, "bulwark"))
	ageAuthority(t)
	controltest.Kubectl(t, "rollout", "restart", "deployment/bulwark-controller", "-n", system)
	controltest.Kubectl(t, "rollout", "status", "deployment/bulwark-controller", "-n", system)
	step := 0
	controltest.Until(t, "use of every right", func() error {
		if step++; step%10 == 1 {
			churn(t, ns, step/10)
		}
		if left := missing(t, account, system, all); len(left) > 0 {
			return fmt.Errorf("granted and never used with success: %v", left)
		}
		return nil
	})
}

// ageAuthority makes the authority of the relay nine months old, with the same
// key and name, so that the next controller to look rotates it.
func ageAuthority(t *testing.T) {
	t.Helper()
	path := core + "/namespaces/" + system + "/secrets/bulwark-relay-ca"
	s := get[corev1.Secret](t, path)
	cert, err := x509.ParseCertificate(pemBytes(t, s.Data["tls.crt"]))
	if err != nil {
		t.Fatal(err)
	}
	key := ecKey(t, s.Data["tls.key"])
	const month = 30 * 24 * time.Hour
	cert.NotBefore, cert.NotAfter = time.Now().Add(-9*month), time.Now().Add(3*month)
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	merge(t, path, map[string]any{"data": map[string]any{"tls.crt": text, "ca.crt": append(text, s.Data["ca.crt"]...)}})
}

// rightNeeded runs a controller of its own class, in a namespace of its own, with
// every right but one: it is refused exactly that, and says so.
func rightNeeded(t *testing.T, ns string, all []right, without right, args []string) {
	t.Helper()
	user := "system:serviceaccount:" + ns + ":bulwark-controller"
	namespace(t, ns)
	apply(t, rightsYAML(t, ns, all, without))
	log := runController(t, ns, args)
	step := 0
	controltest.Until(t, "what tells of the missing right", func() error {
		if step++; step%8 == 1 {
			churn(t, ns, step/8)
		}
		if without == (right{}) {
			// What is renewed later, by name, is not used within seconds.
			left := slices.DeleteFunc(missing(t, user, ns, all), func(r right) bool { return r.name != "" })
			if len(left) > 0 {
				return fmt.Errorf("not used yet: %v", left)
			}
			return nil
		}
		if !slices.ContainsFunc(audited(t, user), func(e auditEvent) bool { return e.denied() && without.asks(&e, ns) }) {
			return fmt.Errorf("it was not asked for; the log ends with %q", tail(t, log))
		}
		if where := tells(t, ns, log, without); where == "" {
			return errors.New("it was asked for, refused, and nobody says so")
		}
		return nil
	})
	for _, e := range audited(t, user) {
		if e.denied() && !without.asks(&e, ns) {
			t.Errorf("refused too: %s %s", e.Verb, e.RequestURI)
		}
	}
	if without == (right{}) {
		for _, r := range all {
			if where := tells(t, ns, log, r); where != "" {
				t.Errorf("nothing is missing, but %s says that %s is", where, r)
			}
		}
		foreign(t)
	}
}

// foreign fails if one of two installations wrote into policies of the other.
func foreign(t *testing.T) {
	t.Helper()
	for _, p := range get[v1alpha1.SecurityPolicyList](t, policies+"/namespaces/shop/securitypolicies").Items {
		for _, a := range p.Status.Ancestors {
			if a.ControllerName != controllerName {
				t.Errorf("SecurityPolicy shop/%s has a status of %s: %v", p.Name, a.ControllerName, a.Conditions)
			}
		}
	}
}

// rightsYAML is the world of one controller: its account, what it may do, and a
// fixture of its own class.
func rightsYAML(t *testing.T, ns string, all []right, without right) string {
	t.Helper()
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "bulwark-controller", Namespace: ns}}
	meta := func(cluster bool) map[string]any {
		if cluster {
			return map[string]any{"name": ns}
		}
		return map[string]any{"name": "bulwark-controller", "namespace": ns}
	}
	const group = "rbac.authorization.k8s.io"
	objects := []map[string]any{
		{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(false)},
		{"apiVersion": group + "/v1", "kind": "ClusterRole", "metadata": meta(true), "rules": rules(all, false, without)},
		{"apiVersion": group + "/v1", "kind": "Role", "metadata": meta(false), "rules": rules(all, true, without)},
		{"apiVersion": group + "/v1", "kind": "ClusterRoleBinding", "metadata": meta(true), "subjects": subject, "roleRef": rbacv1.RoleRef{APIGroup: group, Kind: "ClusterRole", Name: ns}},
		{"apiVersion": group + "/v1", "kind": "RoleBinding", "metadata": meta(false), "subjects": subject, "roleRef": rbacv1.RoleRef{APIGroup: group, Kind: "Role", Name: "bulwark-controller"}},
		{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": meta(true), "spec": map[string]any{"controllerName": "rights.test/" + ns}},
	}
	t.Cleanup(func() {
		remove(t, rbac+"/clusterroles/"+ns)
		remove(t, rbac+"/clusterrolebindings/"+ns)
		remove(t, gateways+"/gatewayclasses/"+ns)
	})
	var out strings.Builder
	for _, o := range objects {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(string(b) + "\n---\n")
	}
	// Data planes as its Service would list them; nobody connects there.
	fmt.Fprintf(&out, `
apiVersion: v1
kind: Service
metadata: {name: bulwark-gateway, namespace: %[1]s}
spec: {clusterIP: None, ports: [{name: admin, port: 9400}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: bulwark-gateway-1, namespace: %[1]s, labels: {kubernetes.io/service-name: bulwark-gateway}}
addressType: IPv4
ports: [{name: admin, port: 9400, protocol: TCP}]
endpoints: [{addresses: [10.244.255.1], conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: %[1]s}
spec: {ports: [{name: http, port: 80}]}
---
`, ns)
	// An authority that has expired is replaced, and then its certificates are.
	if without.verb == "update" {
		old := newAuthority(t, "Bulwark relay")
		expired := old.issueExpired(t)
		out.WriteString(object(t, "Secret", ns, "bulwark-relay-ca", map[string]string{"bulwark.dev/relay": "authority"}, map[string]string{
			"tls.crt": certPEM(expired), "tls.key": keyPEM(t, expired), "ca.crt": certPEM(expired),
		}))
	}
	if without.verb == "update" && without.name != "bulwark-relay-ca" {
		pair := newAuthority(t, "nobody").issueExpired(t)
		fmt.Fprintf(&out, `{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/tls","metadata":{"name":"bulwark-relay-client","namespace":%q,"labels":{"bulwark.dev/relay":"client"}},"stringData":{"tls.crt":%q,"tls.key":%q}}
---
`, ns, certPEM(pair), keyPEM(t, pair))
	}
	out.WriteString(fixture(t, ns, ns))
	return out.String()
}

// runController starts the program under test with the chart's arguments, but
// for its own places, and gives the file of its log.
func runController(t *testing.T, ns string, args []string) string {
	t.Helper()
	var token struct{ Status struct{ Token string } }
	if err := call(t.Context(), http.MethodPost, core+"/namespaces/"+ns+"/serviceaccounts/bulwark-controller/token", "application/json",
		map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{}}, &token); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, log := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "log")
	config := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}], users: [{name: u, user: {token: %q}}]}`,
		a.base, filepath.Join(controltest.DataDir(), "pki", "ca.crt"), token.Status.Token)
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	own := slices.Clone(args)
	set := func(flag, value string) {
		own = slices.DeleteFunc(own, func(s string) bool { return strings.HasPrefix(s, "--"+flag+"=") })
		own = append(own, "--"+flag+"="+value)
	}
	set("kubeconfig", kubeconfig)
	set("namespace", ns)
	set("controller-name", "rights.test/"+ns)
	set("relay-listen", "127.0.0.1:0")
	set("admin", adminOf(ns))
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := bulwark(context.Background(), own...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "KUBECONFIG=") }), "POD_NAME="+ns)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
		_ = f.Close()
		if t.Failed() {
			if b, err := os.ReadFile(log); err == nil {
				t.Logf("log of the controller:\n%s", b)
			}
		}
	})
	return log
}

// tail gives the end of a log.
func tail(t *testing.T, log string) string {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[max(0, len(b)-1000):])
}

// adminOf is the admin address of the controller of a namespace.
func adminOf(ns string) string {
	n, err := strconv.Atoi(strings.TrimPrefix(ns, "rights-"))
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", 19400+n)
}

// tells gives where it is said that a right is missing: the log, from warnings
// on, /readyz, or the status of an object. "" is nowhere.
func tells(t *testing.T, ns, log string, r right) string {
	t.Helper()
	resource, _, _ := strings.Cut(r.resource, "/")
	names := func(text string) bool {
		return strings.Contains(text, resource) && strings.Contains(text, r.verb) && strings.Contains(text, r.name) &&
			(strings.Contains(text, "permission") || strings.Contains(text, "forbidden")) &&
			!strings.Contains(text, "being terminated") // which is forbidden whatever the rights
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if (strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, `"level":"WARN"`)) && names(line) {
			return "the log"
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+adminOf(ns)+"/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		defer func() { _ = resp.Body.Close() }()
		var text strings.Builder
		if err := resp.Write(&text); err == nil && resp.StatusCode != http.StatusOK && names(text.String()) {
			return "/readyz"
		}
	}
	for _, kind := range []string{"gateways", "httproutes", "grpcroutes", "tlsroutes", "listenersets"} {
		list := get[json.RawMessage](t, gateways+"/namespaces/"+ns+"/"+kind)
		if i := strings.Index(string(list), `"status":`); i >= 0 && strings.Contains(string(list), "permission") && names(string(list)[i:]) {
			return "status of " + kind
		}
	}
	return ""
}
