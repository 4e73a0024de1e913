package admission

import (
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
)

// What is too large to be judged gets an answer all the same: with a bare status
// failurePolicy would decide, and Ignore would let it in.
func TestLarge(t *testing.T) {
	t.Parallel()
	const create, update = admissionv1.Create, admissionv1.Update
	long := labelled(`"a":"` + strings.Repeat("x", maxReview) + `"`)
	many := strings.Replace(labelled(""), `"metadata"`, `"items":[`+strings.Repeat("{},", maxValues)+`{}],"metadata"`, 1)
	for name, c := range map[string]struct {
		set     func(*Config)
		body    []byte
		outcome string
		want    string
	}{
		"long":            {nil, review(create, long, ""), outcomeDenied, "larger than 8388608 bytes"},
		"long before":     {nil, review(update, labelled(""), long), outcomeDenied, "larger than"},
		"many values":     {nil, review(create, many, ""), outcomeDenied, "more than 300000 values"},
		"many before":     {nil, review(update, labelled(""), many), outcomeDenied, "more than 300000 values"},
		"unknown allowed": {func(c *Config) { c.Unknown = UnknownAllow }, review(create, long, ""), outcomeAllowed, "larger than"},
		"dry run":         {func(c *Config) { c.DryRun = true }, review(create, long, ""), outcomeDryRun, "would be refused"},
		"exempt":          {func(c *Config) { c.ExemptNamespaces = []string{"shop"} }, review(create, long, ""), outcomeExempt, ""},
		"exempt user":     {func(c *Config) { c.ExemptUsers = []string{"ann"} }, review(create, many, ""), outcomeExempt, ""},
		"delete":          {nil, review(admissionv1.Delete, "", long), outcomeNotApplicable, ""},
		"status":          {nil, review(update, long, "", func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" }), outcomeNotApplicable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			if c.set != nil {
				c.set(&cfg)
			}
			w := webhook(t, cfg)
			got := ask(t, w, c.body)
			if n := counted(t, w, c.outcome); n != 1 || got.Allowed == (c.outcome == outcomeDenied) {
				t.Errorf("%v counted as %s, allowed %v", n, c.outcome, got.Allowed)
			}
			text := strings.Join(got.Warnings, "\n")
			if got.Result != nil {
				text += got.Result.Message
			}
			if !strings.Contains(text, c.want) {
				t.Errorf("it says %q, want %q", text, c.want)
			}
		})
	}
}

// Requests together take no more memory than one may: others wait.
func TestMemory(t *testing.T) {
	t.Parallel()
	const copies, perValue = 3, 100
	if most := copies*maxReview + perValue*maxValues; most > maxMemory {
		t.Errorf("one request may take %d bytes, and all may take %d", most, maxMemory)
	}
	cfg := config(t)
	cfg.Timeout = 20 * time.Millisecond
	w := webhook(t, cfg)
	if !w.memory.TryAcquire(maxMemory) {
		t.Fatal("a new webhook has memory taken")
	}
	if rec := post(t, w, review(admissionv1.Create, labelled(""), "")); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("with nothing free it answers %d, want 503", rec.Code)
	}
	w.memory.Release(maxMemory)
	w.cfg.Timeout = time.Minute
	ask(t, w, review(admissionv1.Create, labelled(""), ""))
	if !w.memory.TryAcquire(maxMemory) {
		t.Error("what a request took was not given back")
	}
}

// An object that could not be judged before may change in nothing: what cannot be
// judged may hide something new.
func TestUnknownBefore(t *testing.T) {
	t.Parallel()
	odd := func(meta, rest string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"shop","labels":{"odd":""}` + meta + `}` + rest + `}`
	}
	for name, c := range map[string]struct {
		now     string
		allowed bool
	}{
		"the same":   {odd("", ""), true},
		"finalizers": {odd(`,"finalizers":["x/y"],"resourceVersion":"2","generation":3,"managedFields":[]`, ""), true},
		"status":     {odd("", `,"status":{"a":"b"}`), true},
		"data":       {odd("", `,"data":{"a":"b"}`), false},
		"annotation": {odd(`,"annotations":{"a":"b"}`, ""), false},
	} {
		got := ask(t, webhook(t, config(t)), review(admissionv1.Update, c.now, odd("", "")))
		if got.Allowed != c.allowed {
			t.Errorf("%s: allowed %v, want %v: %v", name, got.Allowed, c.allowed, got.Result)
		}
	}
	// What is created has nothing before it, whatever the review says.
	bad := labelled(`"bad":"x"`)
	if got := ask(t, webhook(t, config(t)), review(admissionv1.Create, bad, bad)); got.Allowed {
		t.Error("a new object was allowed for what an old one has")
	}
}

// The API server takes labels and annotations of a Namespace by two subresources.
func TestNamespaceSubresources(t *testing.T) {
	t.Parallel()
	space := func(labels string) string {
		return `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{` + labels + `}}}`
	}
	for _, subresource := range []string{"", "status", "finalize"} {
		for now, allowed := range map[string]bool{space(`"bad":"y"`): false, space(`"bad":"x"`): true, space(""): true} {
			body := review(admissionv1.Update, now, space(`"bad":"x"`), func(r *admissionv1.AdmissionRequest) {
				r.Kind.Kind, r.Name, r.SubResource = "Namespace", "shop", subresource
			})
			if got := ask(t, webhook(t, config(t)), body); got.Allowed != allowed {
				t.Errorf("%q %s: allowed %v, want %v", subresource, now, got.Allowed, allowed)
			}
		}
	}
}

// So it does by the status of what has its settings in annotations.
func TestStatus(t *testing.T) {
	t.Parallel()
	for kind, allowed := range map[[2]string]bool{{"", "Service"}: false, {"networking.k8s.io", "Ingress"}: false, {"apps", "Deployment"}: true, {"", "Pod"}: true} {
		object := func(label string) string {
			apiVersion := strings.TrimPrefix(kind[0]+"/v1", "/")
			return `{"apiVersion":"` + apiVersion + `","kind":"` + kind[1] + `","metadata":{"name":"a","namespace":"shop","labels":{"` + label + `":"x"}}}`
		}
		body := review(admissionv1.Update, object("bad"), object("good"), func(r *admissionv1.AdmissionRequest) {
			r.Kind.Group, r.Kind.Kind, r.SubResource = kind[0], kind[1], "status"
		})
		if got := ask(t, webhook(t, config(t)), body); got.Allowed != allowed {
			t.Errorf("%s: allowed %v, want %v", kind, got.Allowed, allowed)
		}
	}
}

// The API server drops a warning that has any control character, so nobody may put
// one into it.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.DryRun = true
	got := ask(t, webhook(t, cfg), review(admissionv1.Create, labelled(`"bad":"a\u0085b\u009b31mc\u202ed\u2028e"`), ""))
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "label is a b 31mc d e") {
		t.Errorf("warnings %q", got.Warnings)
	}
}
