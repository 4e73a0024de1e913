package action

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

const wary = `
protected: {identities: [root@example.com, admins], namespaces: ['team-*']}
evidence: {api: ['webhook/apiserver-*'], gateway: [webhook/gateway], routes: [edge]}
responses:
- {detection: shell, severity: low, action: quarantine-pod, mode: enforce}
- {detection: token, severity: low, action: revoke-serviceaccount-tokens, from: caller, mode: enforce}
- {detection: grant, severity: low, action: remove-clusterrolebinding, mode: enforce}
- {detection: abuse, severity: low, action: deny-identity, mode: enforce}
`

// answer puts an event into the trail as coming from somewhere, and answers an alert on it.
func (l *lab) answer(rule, source string, e *audit.Event) {
	l.t.Helper()
	e.Source, e.RequestReceived = source, l.clock
	seq := l.event(e)
	if err := l.engine.Respond(l.t.Context(), Alert{Seq: 5000 + seq, ID: fmt.Sprint("alert-", seq), Rule: rule, Time: l.clock, Evidence: []uint64{seq}}, bulwark.SeverityHigh); err != nil {
		l.t.Error(err)
	}
}

// reason is what the last action event says.
func (l *lab) reason() string {
	for _, e := range slices.Backward(l.trail.events) {
		if e.Kind == audit.KindAction {
			return e.Status.Message
		}
	}
	return ""
}

// TestForged: who may send one kind of event, name things, or vouch for names somewhere,
// cannot thereby have somebody else cut off.
func TestForged(t *testing.T) {
	t.Parallel()
	account := func(uid string) *audit.Event {
		e := exec("system:serviceaccount:shop:cart", "shop", "web", 200)
		e.User.UID = uid
		return e
	}
	granted := func(name string, groups ...string) *audit.Event {
		e := exec("eve", "", name, 201)
		e.Object = audit.ObjectRef{APIGroup: "rbac.authorization.k8s.io", Resource: "clusterrolebindings", Name: name}
		e.User.Groups = groups
		return e
	}
	through := func(name, route string, groups ...string) *audit.Event {
		return &audit.Event{
			Kind: audit.KindGateway, User: audit.User{Username: name, Groups: groups, Extra: map[string][]string{"method": {"jwt"}, "issuer": {"https://idp"}}},
			Status: audit.Status{Code: 403}, More: []byte(`{"gateway":{"route":"` + route + `"}}`),
		}
	}
	const server, edge = "webhook/apiserver-0", "HTTPRoute/edge/api/rule-0"
	tests := []struct {
		name, rule, source string
		event              *audit.Event
		want               string // what the refusal says; "" is carried out
	}{
		{"exec", "shell", server, exec("eve", "shop", "web", 101), ""},
		{"exec, told by a gateway", "shell", "webhook/gateway", exec("eve", "shop", "web", 101), "whose word on events of kind api is not taken"},
		{"exec, told by nobody", "shell", "", exec("eve", "shop", "web", 101), "whose word"},
		{"namespace by a star", "shell", server, exec("eve", "team-a", "web", 101), "namespace team-a is protected"},
		{"tokens", "token", server, account("sa-1"), ""},
		{"tokens, of a name without a uid", "token", server, account(""), "does not say by a uid"},
		{"grant", "grant", server, granted("new"), ""},
		{"grant that was there", "grant", server, granted("old"), "was there before"},
		{"grant of kubeadm", "grant", server, granted("kubeadm:cluster-admins"), `group "kubeadm:cluster-admins" is protected`},
		{"grant of accounts of the system", "grant", server, granted("accounts"), "namespace kube-system is protected"},
		{"deny", "abuse", "webhook/gateway", through("eve", edge), ""},
		{"deny, told by an API server", "abuse", server, through("eve", edge), "whose word on events of kind gateway is not taken"},
		{"deny, vouched for by a tenant", "abuse", "webhook/gateway", through("boss", "HTTPRoute/tenant/api/rule-0"), "is not one where names are taken"},
		{"deny, without a route", "abuse", "webhook/gateway", through("boss", ""), "is not one where names are taken"},
		{"deny one of a group", "abuse", "webhook/gateway", through("boss", edge, "admins"), `group "admins" is protected`},
		{"deny one of kubeadm's", "abuse", "webhook/gateway", through("boss", edge, "kubeadm:cluster-admins"), "is protected"},
		{"deny a name with a star", "abuse", "webhook/gateway", through("*", edge), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			binding := func(name, subject string) string {
				return strings.NewReplacer("kind: RoleBinding", "kind: ClusterRoleBinding", "name: eve, namespace: shop", "name: '"+name+"'", "kind: User, name: eve", subject).Replace(rbEve)
			}
			l := newLab(t, wary, podWeb, strings.Replace(podWeb, "shop", "team-a", 1), nsShop, saCart, policy,
				binding("new", "kind: User, name: eve"), binding("old", "kind: User, name: eve"),
				binding("kubeadm:cluster-admins", "kind: Group, name: 'kubeadm:cluster-admins'"), binding("accounts", "kind: Group, name: 'system:serviceaccounts:kube-system'"))
			for key, o := range l.cluster.objects {
				born := l.clock
				if strings.HasSuffix(key, "/old") {
					born = born.Add(-time.Hour)
				}
				o.SetCreationTimestamp(metav1.NewTime(born))
			}
			l.cluster.objects["serviceaccounts shop/cart"].SetUID("sa-1")
			l.answer(tt.rule, tt.source, tt.event)
			if tt.want == "" {
				if !strings.HasSuffix(l.trail.told(), "apply>stand") {
					t.Errorf("told %q: %s", l.trail.told(), l.reason())
				}
				return
			}
			if told := l.trail.told(); told != "plan:Refused" || !strings.Contains(l.reason(), tt.want) || len(l.cluster.writes) > 0 {
				t.Errorf("told %q, %s; wrote %v; want %q", told, l.reason(), l.cluster.writes, tt.want)
			}
		})
	}
	// A star is no star in the rule that the gateway has.
	if got := celString("*"); got != `"\u002a"` {
		t.Errorf("got %s", got)
	}
	for _, text := range []string{"protected: {namespaces: ['a*b']}", "evidence: {api: ['*x']}", "protected: {identities: ['']}", "limits: {perActor: -1}", "evidence: {routes: [' x']}"} {
		if _, err := ParsePolicy([]byte(text), actions(t)); err == nil {
			t.Errorf("taken: %s", text)
		}
	}
}

// TestOneActor: one user's doings do not use up what may be done against all.
func TestOneActor(t *testing.T) {
	t.Parallel()
	documents := []string{nsShop}
	for i := range 8 {
		documents = append(documents, strings.Replace(podWeb, "name: web,", fmt.Sprintf("name: web-%d,", i), 1))
	}
	l := newLab(t, `
limits: {perHour: 4}
responses: [{detection: shell, severity: low, action: quarantine-pod, mode: enforce}]
`, documents...)
	for i := range 5 {
		l.answer("shell", "x", exec("eve", "shop", fmt.Sprintf("web-%d", i), 101))
	}
	if n := len(l.engine.Runs(false)); n != 2 || !strings.Contains(l.reason(), "the most that the policy allows for one") {
		t.Errorf("%d stand: %s", n, l.reason())
	}
	l.start() // it is known after a restart
	l.answer("shell", "x", exec("eve", "shop", "web-5", 101))
	l.answer("shell", "x", exec("mallory", "shop", "web-6", 101))
	if n := len(l.engine.Runs(false)); n != 3 {
		t.Errorf("%d stand: %s", n, l.reason())
	}
}

// TestClockBack: what a clock that went back would leave standing for years ends in time,
// and does not keep alerts from being answered.
func TestClockBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, automatic, podWeb, strings.Replace(podWeb, "name: web,", "name: web-1,", 1), nsShop, node1, node2)
	l.answer("shell", "x", exec("eve", "shop", "web", 101))
	if _, err := l.engine.Apply(t.Context(), Request{Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, By: "ann", Reason: "x", Expiry: 20 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	away := true
	l.cluster.fail = func(verb, _ string, _ bool) error {
		if away && verb == "patch" {
			return errors.New("the API server is away")
		}
		return nil
	}
	l.clock = l.clock.Add(12 * time.Minute) // the quarantine is over, and cannot be taken back yet
	l.engine.Sweep(t.Context())
	l.clock, away = l.clock.AddDate(-3, 0, 0), false
	l.start()
	l.engine.Sweep(t.Context())
	if runs := l.engine.Runs(false); len(runs) != 1 || !runs[0].Until.Equal(l.clock.Add(20*time.Minute)) {
		t.Errorf("stand: %+v", runs)
	}
	l.answer("shell", "x", exec("eve", "shop", "web-1", 101))
	if n := len(l.engine.Runs(false)); n != 2 {
		t.Errorf("%d stand: %s", n, l.reason())
	}
	l.clock = l.clock.Add(20 * time.Minute)
	l.engine.Sweep(t.Context())
	if runs := l.engine.Runs(false); len(runs) != 0 {
		t.Errorf("stand: %+v", runs)
	}
}

// TestTornLedger: a file that was torn is told of and nothing new is done; the rest is
// taken back all the same.
func TestTornLedger(t *testing.T) {
	t.Parallel()
	l := world(t)
	apply := func(action, key, value string) *Run {
		t.Helper()
		r, err := l.engine.Apply(t.Context(), Request{Action: action, Set: map[string]string{key: value}, By: "ann", Reason: "x", Expiry: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	good, torn := apply("cordon-node", "node", "worker-1"), apply("deny-identity", "identity", "eve")
	file := filepath.Join(l.dir, torn.ID+".json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) - 1 { // the last byte is the end of the line
		if _, err := parseRun(whole[:n]); err == nil {
			t.Fatalf("%d of %d bytes are a run", n, len(whole))
		}
	}
	if err := errors.Join(os.WriteFile(file, whole[:len(whole)/2], 0o600), os.WriteFile(file+".new", whole[:10], 0o600)); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.clock = l.clock.Add(2 * time.Minute)
	l.engine.Sweep(t.Context())
	l.engine.Sweep(t.Context())
	if runs := l.engine.Runs(true); len(runs) != 1 || runs[0].ID != good.ID || runs[0].State != StateUndone {
		t.Errorf("got %+v", runs)
	}
	if told := l.trail.told(); strings.Count(told, "fail:Unreadable") != 1 {
		t.Errorf("told %q", told)
	}
	if _, err := l.engine.Apply(t.Context(), Request{Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, By: "ann", Reason: "x"}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), torn.ID) {
		t.Errorf("got %v", err)
	}
	if got := metricsOf(t, l.engine)["bulwark_audit_response_ledger_unreadable"]; got != 1 {
		t.Errorf("unreadable: %v", got)
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.engine.Sweep(t.Context())
	if rules, _ := rulesOf(l.cluster.objects["securitypolicies shop/api"]); len(rules) != 1 {
		t.Errorf("mended, and not taken back: %v", rules)
	}
}

// TestForgedLedger: a file in the folder cannot have anything written that no action writes.
func TestForgedLedger(t *testing.T) {
	t.Parallel()
	const run = `{"id":"r-010101010101","action":"x","state":"undoing","changes":[%s]}`
	const admin = `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"eve"}}`
	for change, ok := range map[string]bool{
		`{"do":"kubernetes.cordon","begun":true,"object":{"apiVersion":"v1","resource":"nodes","kind":"Node","name":"n"}}`:                                                                            true,
		`{"do":"kubernetes.cordon","begun":true,"object":{"apiVersion":"v1","resource":"secrets","kind":"Secret","namespace":"a","name":"n"}}`:                                                        false,
		`{"do":"kubernetes.cordon","begun":true,"object":{}}`:                                                                                                                                         false,
		`{"do":"kubernetes.cordon","begun":true,"object":{"apiVersion":"v1","resource":"nodes","kind":"Node"}}`:                                                                                       false,
		`{"do":"gateway.deny-identity","begun":true,"object":{"apiVersion":"v1","resource":"configmaps","kind":"ConfigMap","namespace":"a","name":"n"}}`:                                              false,
		`{"do":"gateway.deny-identity","begun":true,"object":{"apiVersion":"bulwark.dev/v1alpha1","resource":"securitypolicies","kind":"SecurityPolicy","namespace":"a","name":"n"}}`:                 true,
		`{"do":"kubernetes.delete","begun":true,"object":{"apiVersion":"v1","resource":"secrets","kind":"Secret","namespace":"a","name":"eve"},"body":` + admin + `}`:                                 false,
		`{"do":"kubernetes.delete","begun":true,"object":{"apiVersion":"rbac.authorization.k8s.io/v1","resource":"clusterrolebindings","kind":"ClusterRoleBinding","name":"a"},"body":` + admin + `}`: false,
		`{"do":"format","object":{}}`: false,
		`null`:                        false,
	} {
		if _, err := parseRun(fmt.Appendf(nil, run, change)); (err == nil) != ok {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// metricsOf scrapes; labels stand behind the name, in their order.
func metricsOf(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

// TestMetrics: each end of a response is counted, and what waits has an age.
func TestMetrics(t *testing.T) {
	t.Parallel()
	l := world(t)
	none := len(metricsOf(t, l.engine))
	q := Request{Action: "cordon-node", Set: map[string]string{"node": "worker-1"}, By: "ann", Reason: "x", Expiry: time.Minute}
	apply := func() *Run {
		t.Helper()
		r, err := l.engine.Apply(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := apply()
	if got := metricsOf(t, l.engine)["bulwark_audit_responses_standing cordon-node"]; got != 1 {
		t.Errorf("standing: %v", got)
	}
	if _, err := l.engine.Apply(t.Context(), q); err == nil {
		t.Error("applied twice")
	}
	if _, err := l.engine.Undo(t.Context(), r.ID, "ann", ""); err != nil {
		t.Fatal(err)
	}
	apply()
	l.clock = l.clock.Add(time.Minute)
	l.engine.Sweep(t.Context())
	apply()
	away := true
	l.cluster.fail = func(verb, _ string, dryRun bool) error {
		if away && verb == "patch" && !dryRun {
			return errors.New("the API server is away")
		}
		return nil
	}
	l.clock = l.clock.Add(time.Minute)
	l.trail.full = true
	l.engine.Sweep(t.Context())
	if _, err := l.engine.Plan(t.Context(), Request{Action: "no/such", By: "ann", Reason: "x"}); err == nil {
		t.Error("planned what there is not")
	}
	l.clock = l.clock.Add(30 * time.Second)
	got := metricsOf(t, l.engine)
	for name, v := range got {
		if v == 0 {
			delete(got, name)
		}
	}
	if d := cmp.Diff(map[string]float64{
		"bulwark_audit_responses_total cordon-node planned": 3, "bulwark_audit_responses_total cordon-node applied": 3, "bulwark_audit_responses_total cordon-node refused": 1,
		"bulwark_audit_responses_total cordon-node undone": 1, "bulwark_audit_responses_total cordon-node expired": 1, "bulwark_audit_responses_total other refused": 1,
		"bulwark_audit_responses_standing cordon-node": 1, "bulwark_audit_responses_pending cordon-node": 1, "bulwark_audit_responses_oldest_pending_seconds": 30,
		"bulwark_audit_response_untold_events": 1,
	}, got); d != "" {
		t.Error(d)
	}
	if now := len(metricsOf(t, l.engine)); now != none {
		t.Errorf("%d series, and %d at the start", now, none)
	}
	away, l.trail.full = false, false
	l.clock = l.clock.Add(time.Hour)
	l.engine.Sweep(t.Context())
	got = metricsOf(t, l.engine)
	if got["bulwark_audit_responses_pending cordon-node"]+got["bulwark_audit_responses_oldest_pending_seconds"]+got["bulwark_audit_response_untold_events"] != 0 || got["bulwark_audit_responses_total cordon-node expired"] != 2 {
		t.Errorf("got %v", got)
	}
	if err := os.RemoveAll(l.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.dir, nil, 0o600); err != nil { // nothing can be kept any more
		t.Fatal(err)
	}
	if _, err := l.engine.Apply(t.Context(), q); err == nil || len(l.engine.Runs(false)) > 0 {
		t.Errorf("applied: %v", err)
	}
	if got := metricsOf(t, l.engine)["bulwark_audit_response_ledger_failures_total"]; got != 1 {
		t.Errorf("ledger failures: %v", got)
	}
}
