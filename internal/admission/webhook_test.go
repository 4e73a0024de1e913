package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
)

// label is a control that fails for each label "bad-…", with its value as the
// message, and is unknown for "odd".
type label struct {
	id       string
	severity bulwark.Severity
	kinds    []string
	run      func() // before it judges
}

func (l label) Meta() control.Meta {
	return control.Meta{ID: l.id, Title: "Bad label", Severity: l.severity, Category: "test", Why: "why", Remediation: "take it away"}
}

func (l label) Applies(s *control.Subject) bool {
	return len(l.kinds) == 0 || slices.Contains(l.kinds, s.Object.Kind)
}

func (l label) Judge(s *control.Subject) []control.Result {
	if l.run != nil {
		l.run()
	}
	out := []control.Result{}
	for k, v := range s.Object.Labels {
		switch {
		case strings.HasPrefix(k, "bad"):
			out = append(out, control.Result{Verdict: bulwark.VerdictFail, Field: "metadata.labels[\"" + k + "\"]", Key: k, Message: "label is " + v})
		case k == "odd":
			out = append(out, control.Result{Verdict: bulwark.VerdictUnknown, Reason: "it is odd"})
		}
	}
	if len(out) == 0 {
		return []control.Result{{Verdict: bulwark.VerdictPass}}
	}
	return out
}

func config(t *testing.T) Config {
	t.Helper()
	return Config{
		Controls: []control.Single{label{id: "bad-label", severity: bulwark.SeverityHigh}},
		DenyAt:   bulwark.SeverityHigh, WarnAt: bulwark.SeverityLow, Unknown: UnknownRefuse,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
	}
}

func webhook(t *testing.T, cfg Config) *Webhook {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// review writes a review of a ConfigMap in namespace shop.
func review(op admissionv1.Operation, object, old string, edits ...func(*admissionv1.AdmissionRequest)) []byte {
	r := &admissionv1.AdmissionRequest{UID: "1", Operation: op, Namespace: "shop", Name: "a"}
	r.Kind.Version, r.Kind.Kind = "v1", "ConfigMap"
	r.UserInfo.Username, r.UserInfo.Groups = "ann", []string{"system:authenticated", "team"}
	if object != "" {
		r.Object.Raw = []byte(object)
	}
	if old != "" {
		r.OldObject.Raw = []byte(old)
	}
	for _, e := range edits {
		e(r)
	}
	out := admissionv1.AdmissionReview{Request: r}
	out.APIVersion, out.Kind = "admission.k8s.io/v1", "AdmissionReview"
	text, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return text
}

func labelled(labels string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"shop","labels":{` + labels + `}}}`
}

func post(t *testing.T, w http.Handler, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/validate?timeout=10s", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, req)
	return rec
}

func ask(t *testing.T, w http.Handler, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	rec := post(t, w, body)
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || rec.Code != http.StatusOK || out.Response == nil {
		t.Fatalf("status %d, body %s: %v", rec.Code, rec.Body, err)
	}
	if out.Kind != "AdmissionReview" || out.APIVersion != "admission.k8s.io/v1" || out.Response.UID != "1" || out.Response.Patch != nil {
		t.Errorf("answer %s", rec.Body)
	}
	return out.Response
}

// counted gives how many requests had an outcome.
func counted(t *testing.T, w *Webhook, outcome string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.metrics.requests)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == outcome {
			return m.GetCounter().GetValue()
		}
	}
	return 0
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	const create, update = admissionv1.Create, admissionv1.Update
	bad, good := labelled(`"bad":"x"`), labelled(`"fine":"x"`)
	type set = func(*Config)
	namespaced := func(c *Config) { c.ExemptNamespaces = []string{"shop"} }
	cases := map[string]struct {
		set     set
		body    []byte
		outcome string
		want    []string // in the message, warnings or annotations
	}{
		"good":                              {nil, review(create, good, ""), outcomeAllowed, nil},
		"bad":                               {nil, review(create, bad, ""), outcomeDenied, []string{`[high] bad-label: metadata.labels["bad"]: label is x (take it away)`, "denied=bad-label"}},
		"dry run":                           {func(c *Config) { c.DryRun = true }, review(create, bad, ""), outcomeDryRun, []string{"bulwark: would be refused: [high] bad-label", "would-deny=bad-label"}},
		"below":                             {func(c *Config) { c.DenyAt = bulwark.SeverityCritical }, review(create, bad, ""), outcomeAllowed, []string{"bulwark: [high] bad-label", "warned=bad-label"}},
		"silent":                            {func(c *Config) { c.DenyAt, c.WarnAt = bulwark.SeverityCritical, 0 }, review(create, bad, ""), outcomeAllowed, nil},
		"unknown":                           {nil, review(create, labelled(`"odd":""`), ""), outcomeDenied, []string{"it is odd"}},
		"unknown allowed":                   {func(c *Config) { c.Unknown = UnknownAllow }, review(create, labelled(`"odd":""`), ""), outcomeAllowed, []string{"it is odd"}},
		"unknown allowed, but bad":          {func(c *Config) { c.Unknown = UnknownAllow }, review(create, labelled(`"odd":"","bad":"x"`), ""), outcomeDenied, nil},
		"old finding":                       {nil, review(update, bad, bad), outcomeAllowed, []string{"label is x (as before)"}},
		"old finding is worse":              {nil, review(update, labelled(`"bad":"y"`), bad), outcomeDenied, []string{"label is y"}},
		"one more":                          {nil, review(update, labelled(`"bad":"x","bad2":"x"`), bad), outcomeDenied, []string{"denied=bad-label", "(as before)"}},
		"update is better":                  {nil, review(update, good, bad), outcomeAllowed, nil},
		"update is bad":                     {nil, review(update, bad, good), outcomeDenied, nil},
		"delete":                            {nil, review(admissionv1.Delete, "", bad), outcomeNotApplicable, nil},
		"connect":                           {nil, review(admissionv1.Connect, `{"apiVersion":"v1","kind":"PodExecOptions"}`, ""), outcomeNotApplicable, nil},
		"operation of the future":           {nil, review("PATCH", good, ""), outcomeDenied, []string{"is not known"}},
		"no object":                         {nil, review(create, "", ""), outcomeDenied, []string{"has no object"}},
		"no object, unknown allowed":        {func(c *Config) { c.Unknown = UnknownAllow }, review(create, "", ""), outcomeAllowed, []string{"has no object"}},
		"status":                            {nil, review(update, bad, good, func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" }), outcomeNotApplicable, nil},
		"scale":                             {nil, review(update, `{"apiVersion":"autoscaling/v1","kind":"Scale"}`, "", func(r *admissionv1.AdmissionRequest) { r.SubResource = "scale" }), outcomeNotApplicable, nil},
		"ephemeral containers":              {nil, review(update, bad, good, func(r *admissionv1.AdmissionRequest) { r.SubResource = "ephemeralcontainers" }), outcomeDenied, nil},
		"resize":                            {nil, review(update, bad, good, func(r *admissionv1.AdmissionRequest) { r.SubResource = "resize" }), outcomeDenied, nil},
		"exempt namespace":                  {namespaced, review(create, bad, ""), outcomeExempt, []string{"exempt=namespace shop"}},
		"namespace with the same beginning": {func(c *Config) { c.ExemptNamespaces = []string{"sho", "shop2"} }, review(create, bad, ""), outcomeDenied, nil},
		"cluster-scoped object named like an exempt namespace": {namespaced, review(create, strings.Replace(strings.Replace(bad, "ConfigMap", "ClusterRole", 1), `"v1"`, `"rbac.authorization.k8s.io/v1"`, 1), "",
			func(r *admissionv1.AdmissionRequest) {
				r.Namespace, r.Kind.Group, r.Kind.Kind, r.Name = "", "rbac.authorization.k8s.io", "ClusterRole", "shop"
				r.Object.Raw = []byte(strings.ReplaceAll(strings.Replace(string(r.Object.Raw), `"name":"a","namespace":"shop"`, `"name":"shop"`, 1), "", ""))
			}), outcomeDenied, nil},
		"exempt Namespace": {namespaced, review(create, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"bad":"x"}}}`, "",
			func(r *admissionv1.AdmissionRequest) { r.Kind.Kind = "Namespace"; r.Namespace = "" }), outcomeExempt, nil},
		"Namespace that says it is another": {namespaced, review(create, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bank","labels":{"bad":"x"}}}`, "",
			func(r *admissionv1.AdmissionRequest) { r.Kind.Kind = "Namespace"; r.Namespace = "shop" }), outcomeDenied, nil},
		"exempt user":  {func(c *Config) { c.ExemptUsers = []string{"ann"} }, review(create, bad, ""), outcomeExempt, []string{"exempt=user ann"}},
		"exempt group": {func(c *Config) { c.ExemptGroups = []string{"team"} }, review(create, bad, ""), outcomeExempt, []string{"exempt=group team"}},
		"other user":   {func(c *Config) { c.ExemptUsers, c.ExemptGroups = []string{"team"}, []string{"ann"} }, review(create, bad, ""), outcomeDenied, nil},
		"exception": {func(c *Config) {
			c.Except = func(o *inventory.Object, m control.Meta, r control.Result) string {
				return fmt.Sprintf("ticket of %s for %s %s", o, m.ID, r.Key)
			}
		}, review(create, bad, ""), outcomeAllowed, []string{"excepted=bad-label by ticket of ConfigMap shop/a for bad-label bad"}},
		"exception does not cover what is unknown": {func(c *Config) {
			c.Except = func(*inventory.Object, control.Meta, control.Result) string { return "all" }
		}, review(create, labelled(`"odd":""`), ""), outcomeDenied, nil},
		"other kind": {func(c *Config) {
			c.Controls = []control.Single{label{id: "x", severity: bulwark.SeverityHigh, kinds: []string{"Pod"}}}
		}, review(create, bad, ""), outcomeAllowed, nil},
		"control panics": {func(c *Config) {
			c.Controls = []control.Single{label{id: "x", severity: bulwark.SeverityHigh, run: func() { panic("secret") }}}
		}, review(create, good, ""), outcomeDenied, []string{"the control failed"}},
		"namespace only in the address": {nil, review(create, strings.Replace(bad, `,"namespace":"shop"`, "", 1), ""), outcomeDenied, nil},
		"generated name":                {nil, review(create, strings.Replace(bad, `"name":"a"`, `"generateName":"a-"`, 1), "", func(r *admissionv1.AdmissionRequest) { r.Name = "" }), outcomeDenied, nil},
		"line breaks":                   {nil, review(create, labelled(`"bad":"x\nallowed: true\u001b[2J"`), ""), outcomeDenied, []string{"label is x allowed: true [2J"}},
	}
	seen := map[string]int{}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			if c.set != nil {
				c.set(&cfg)
			}
			w := webhook(t, cfg)
			got := ask(t, w, c.body)
			if n := counted(t, w, c.outcome); n != 1 {
				t.Errorf("%v requests counted as %s", n, c.outcome)
			}
			if want := c.outcome != outcomeDenied; got.Allowed != want {
				t.Errorf("allowed %v, want %v", got.Allowed, want)
			}
			var all []string
			if got.Result != nil {
				all = append(all, got.Result.Message)
				if got.Result.Code != 403 || got.Allowed {
					t.Errorf("result %+v", got.Result)
				}
			}
			all = append(all, got.Warnings...)
			for k, v := range got.AuditAnnotations {
				all = append(all, k+"="+v)
			}
			text := strings.Join(all, "\n")
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("it says %q, want %q", text, w)
				}
			}
			if c.outcome == outcomeAllowed && c.want == nil && len(all) > 0 {
				t.Errorf("it says %q, want nothing", text)
			}
		})
		seen[c.outcome]++
	}
	if len(seen) != 5 {
		t.Errorf("outcomes %v, want all five", seen)
	}
}

// What is no review gets a bare status, and nothing about why.
func TestMalformed(t *testing.T) {
	t.Parallel()
	good := labelled("")
	cases := map[string]struct {
		body   string
		status int
	}{
		"empty":              {"", 400},
		"not JSON":           {"{", 400},
		"list":               {"[]", 400},
		"null":               {"null", 400},
		"other version":      {strings.Replace(string(review(admissionv1.Create, good, "")), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), 400},
		"other kind":         {strings.Replace(string(review(admissionv1.Create, good, "")), `"AdmissionReview"`, `"Review"`, 1), 400},
		"no request":         {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400},
		"no uid":             {strings.Replace(string(review(admissionv1.Create, good, "")), `"uid":"1"`, `"uid":""`, 1), 400},
		"object of text":     {string(review(admissionv1.Create, `"x"`, "")), 400},
		"object of lists":    {string(review(admissionv1.Create, `[]`, "")), 400},
		"object of no kind":  {string(review(admissionv1.Create, `{}`, "")), 400},
		"object of another":  {string(review(admissionv1.Create, strings.Replace(good, "ConfigMap", "Secret", 1), "")), 400},
		"of another group":   {string(review(admissionv1.Create, strings.Replace(good, `"v1"`, `"x.example/v1"`, 1), "")), 400},
		"of another place":   {string(review(admissionv1.Create, strings.Replace(good, `"shop"`, `"bank"`, 1), "")), 400},
		"old of another":     {string(review(admissionv1.Update, good, strings.Replace(good, "ConfigMap", "Secret", 1))), 400},
		"metadata of text":   {string(review(admissionv1.Create, `{"apiVersion":"v1","kind":"ConfigMap","metadata":"x"}`, "")), 400},
		"too large":          {strings.Replace(string(review(admissionv1.Create, labelled(`"a":"`+strings.Repeat("x", maxReview)+`"`), "")), `"uid":"1"`, `"uid":""`, 1), 413},
		"large and no JSON":  {strings.Repeat("x", maxReview+1), 413},
		"large, of another":  {`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1","object":"` + strings.Repeat("x", maxReview), 413},
		"large, no request":  {`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":["` + strings.Repeat("x", maxReview), 413},
		"very deep":          {strings.Repeat(`{"a":`, 100000), 400},
		"deep in the object": {strings.Replace(string(review(admissionv1.Create, good, "")), `"labels":{}`, `"labels":`+strings.Repeat("[", 20000), 1), 400},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := webhook(t, config(t))
			rec := post(t, w, []byte(c.body))
			if rec.Code != c.status || strings.TrimSpace(rec.Body.String()) != http.StatusText(c.status) {
				t.Errorf("status %d, body %q; want %d and no more", rec.Code, rec.Body, c.status)
			}
			if n := counted(t, w, "malformed"); n != 1 {
				t.Errorf("%v counted as malformed", n)
			}
		})
	}
	w := webhook(t, config(t))
	for _, c := range []struct {
		method, media string
		status        int
	}{{http.MethodGet, "application/json", 405}, {http.MethodPost, "text/plain", 415}, {http.MethodPost, "", 415}} {
		req := httptest.NewRequestWithContext(t.Context(), c.method, "/", bytes.NewReader(review(admissionv1.Create, good, "")))
		req.Header.Set("Content-Type", c.media)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, req)
		if rec.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.media, rec.Code, c.status)
		}
	}
}

// Running out of time refuses, and so does a webhook with too much to do.
func TestTime(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Timeout = 20 * time.Millisecond
	block := make(chan struct{})
	slow := label{id: "slow", severity: bulwark.SeverityLow, run: func() { <-block }}
	cfg.Controls = []control.Single{slow, label{id: "never", severity: bulwark.SeverityHigh}}
	cfg.Concurrent = 1
	w := webhook(t, cfg)
	first := make(chan *admissionv1.AdmissionResponse)
	go func() { first <- ask(t, w, review(admissionv1.Create, labelled(""), "")) }()
	for len(w.slots) == 0 {
		time.Sleep(time.Millisecond)
	}
	if rec := post(t, w, review(admissionv1.Create, labelled(""), "")); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("the second got %d, want 503", rec.Code)
	}
	time.Sleep(cfg.Timeout)
	close(block)
	if got := <-first; got.Allowed || !strings.Contains(got.Result.Message, "time was not enough") {
		t.Errorf("out of time, it answered %+v", got)
	}
	for query, want := range map[string]time.Duration{"": time.Second, "timeout=10s": time.Second, "timeout=500ms": 450 * time.Millisecond, "timeout=-1s": time.Second, "timeout=x": time.Second} {
		w.cfg.Timeout = time.Second
		req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/?"+query, http.NoBody)
		if got := w.patience(req); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

// What is said stays within what the API server passes on.
func TestSizes(t *testing.T) {
	t.Parallel()
	var labels []string
	for i := range 100 {
		labels = append(labels, fmt.Sprintf(`"bad%d":"%s"`, i, strings.Repeat("é", 300)))
	}
	for _, deny := range []bulwark.Severity{bulwark.SeverityHigh, bulwark.SeverityCritical} {
		cfg := config(t)
		cfg.DenyAt = deny
		got := ask(t, webhook(t, cfg), review(admissionv1.Create, labelled(strings.Join(labels, ",")), ""))
		total := 0
		for _, w := range got.Warnings {
			total += len(w)
			if len(w) > 256 {
				t.Errorf("a warning of %d bytes", len(w))
			}
		}
		if total > 4096 || got.Result != nil && len(got.Result.Message) > maxMessage {
			t.Errorf("%d bytes of warnings; result %v", total, got.Result)
		}
		if got.Allowed && got.Warnings[len(got.Warnings)-1] != "bulwark: and 85 more" {
			t.Errorf("the last warning is %q", got.Warnings[len(got.Warnings)-1])
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Config){
		"no controls":     func(c *Config) { c.Controls = nil },
		"no severity":     func(c *Config) { c.DenyAt = 0 },
		"no unknown":      func(c *Config) { c.Unknown = 0 },
		"odd unknown":     func(c *Config) { c.Unknown = 7 },
		"no log":          func(c *Config) { c.Log = nil },
		"no clock":        func(c *Config) { c.Now = nil },
		"warn above":      func(c *Config) { c.WarnAt = bulwark.SeverityCritical },
		"empty exemption": func(c *Config) { c.ExemptUsers = []string{""} },
	} {
		cfg := config(t)
		set(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("the zero Config was taken")
	}
	registry := prometheus.NewPedanticRegistry()
	w := webhook(t, config(t))
	registry.MustRegister(w)
	ask(t, w, review(admissionv1.Create, labelled(`"bad":"x"`), ""))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	if diff := cmp.Diff([]string{"bulwark_admission_findings_total", "bulwark_admission_requests_total", "bulwark_admission_seconds"}, names); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// TestCatalog sends every example of every control as the API server would: what
// a scan finds is what the webhook says.
func TestCatalog(t *testing.T) {
	t.Parallel()
	controls, err := content.Load(catalog.Controls())
	if err != nil {
		t.Errorf("controls that cannot be read:\n%v", err)
	}
	ran := map[bool]int{}
	for _, c := range controls {
		cfg := config(t)
		cfg.Controls, cfg.DenyAt, cfg.Log = []control.Single{c}, bulwark.SeverityInfo, slog.New(slog.DiscardHandler)
		cfg.WarnAt = bulwark.SeverityInfo
		w := webhook(t, cfg)
		check := func(object map[string]any, allowed bool) {
			text, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			r := review(admissionv1.Create, string(text), "", func(r *admissionv1.AdmissionRequest) {
				apiVersion, _ := object["apiVersion"].(string)
				r.Kind.Kind, _ = object["kind"].(string)
				r.Kind.Group = (bulwark.ObjectRef{APIVersion: apiVersion}).Group()
				meta, _ := object["metadata"].(map[string]any)
				r.Namespace, _ = meta["namespace"].(string)
			})
			ran[allowed]++
			got := ask(t, w, r)
			if got.Allowed != allowed {
				t.Errorf("%s: allowed %v, want %v: %v", c.ID, got.Allowed, allowed, got.Result)
			}
			if !got.Allowed && cmp.Diff(c.ID, got.AuditAnnotations["denied"]) != "" {
				t.Errorf("%s: denied by %q", c.ID, got.AuditAnnotations["denied"])
			}
		}
		for _, o := range slices.Concat(c.Examples.Pass, c.Examples.Skip) {
			check(o, true)
		}
		for _, e := range c.Examples.Fail {
			check(e.Object, false)
		}
	}
	t.Logf("%d controls: %d examples are allowed, %d refused", len(controls), ran[true], ran[false])
	if ran[true] < len(controls) || ran[false] < len(controls) {
		t.Errorf("too few examples ran: %v", ran)
	}
}

func FuzzReview(f *testing.F) {
	f.Add(review(admissionv1.Create, labelled(`"bad":"x"`), ""))
	f.Add(review(admissionv1.Update, labelled(`"bad":"x"`), labelled("")))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1"}}`))
	cfg := Config{
		Controls: []control.Single{label{id: "bad-label", severity: bulwark.SeverityHigh}},
		DenyAt:   bulwark.SeverityHigh, Unknown: UnknownRefuse, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	w, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := post(t, w, body)
		var out admissionv1.AdmissionReview
		if rec.Code != http.StatusOK {
			return
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil || out.Response == nil {
			t.Fatalf("body %s: %v", rec.Body, err)
		}
	})
}

// TestSlowBody: a sender who never ends its body loses its slot when its time is
// over, and others are judged again.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Concurrent, cfg.Timeout = 1, 200*time.Millisecond
	w := webhook(t, cfg)
	srv := httptest.NewServer(w)
	defer srv.Close()
	body, end := io.Pipe()
	defer func() { _ = end.Close() }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("a body without end gets %d, want 400", res.StatusCode)
	}
	if len(w.slots) != 0 {
		t.Error("its slot is still taken")
	}
}
