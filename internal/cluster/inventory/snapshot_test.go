package inventory_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

type file string

func (f file) Locate(path string) bulwark.Location {
	return bulwark.Location{File: string(f), Line: 1 + len(path)}
}

func object(tb testing.TB, text string, from inventory.Origin) *inventory.Object {
	tb.Helper()
	o, err := inventory.New([]byte(text), from)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

func TestNew(t *testing.T) {
	t.Parallel()
	o := object(t, ` {"status":{"a":[1,{"b":"\u00e4"}]},"metadata":{"labels":{"x":"1"}},"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{
		"name":"web-1","namespace":"shop","uid":"u1","resourceVersion":"7","labels":{"app":"web","none":null},
		"ownerReferences":[{"uid":"a"},{"uid":"b","controller":true},{"uid":"c","controller":false}]}} `, nil)
	want := []string{"apps/v1", "apps", "ReplicaSet", "shop", "web-1", "u1", "7", "b", "ReplicaSet shop/web-1"}
	got := []string{o.APIVersion, o.Group(), o.Kind, o.Namespace, o.Name, o.UID, o.ResourceVersion, o.Owner, o.String()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"app": "web", "none": ""}, o.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if at := o.Locate("spec"); at != (bulwark.Location{}) || o.Origin() != nil {
		t.Errorf("an object from nowhere is at %v", at)
	}
	if at := object(t, `{"apiVersion":"v1","kind":"Pod"}`, file("a")).Locate("x"); at.Line != 2 {
		t.Errorf("located at %v", at)
	}
	content, err := o.Content()
	if err != nil || content["spec"] != nil || content["status"] == nil {
		t.Errorf("content %v, %v", content, err)
	}
	content["kind"] = "Changed"
	if again, _ := o.Content(); again["kind"] != "ReplicaSet" {
		t.Error("a change of the content is seen by others")
	}

	// Fields have the case that the API writes.
	folded := object(t, `{"apiVersion":"v1","kind":"Pod","Kind":"X","metadata":{"Name":"x","generateName":"web-"}}`, nil)
	if folded.String() != "Pod web-*" {
		t.Error(folded)
	}
	if o := object(t, `{"apiVersion":"v1","kind":"Pod","metadata":null}`, nil); o.String() != "Pod " {
		t.Error(o)
	}
	for text, want := range map[string]string{
		``: "unexpected end", `null`: "expected an object", `[]`: "expected an object", `{}`: "no apiVersion", `{"apiVersion":"v1"}`: "no kind",
		`{"apiVersion":"v1","kind":"Pod"`: "unexpected end", `{"apiVersion":1,"kind":"Pod"}`: "apiVersion is not text",
		`{"apiVersion":"v1","kind":"Pod","metadata":7}`:                                       "metadata",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":7}}`:                              "name is not text",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a":7}}}`:                      "labels: a is not text",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"ownerReferences":{}}}`:                  "ownerReferences",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"ownerReferences":[7]}}`:                 "ownerReferences",
		`{"apiVersion":"v1","kind":"Pod","spec":{"a":tru}}`:                                   "expected a value",
		`{"apiVersion":"v1","kind":"Pod"} {}`:                                                 "unexpected text",
		`{"apiVersion":"v1","kind":"Pod","a":` + strings.Repeat("[", 20_000):                  "too deep",
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\nb\"}}":           "control character",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"metadata":{"name":["b"]} }`: "name is not text",
	} {
		if _, err := inventory.New([]byte(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%.80s): %v, want %q", text, err, want)
		}
	}
}

func TestWithKind(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`: `{"apiVersion":"v1","kind":"Pod"}`, ` { "a" : 1}`: `{"apiVersion":"v1","kind":"Pod","a" : 1}`, `7`: `7`, ``: ``,
		`{"kind":"X"}`: `{"apiVersion":"v1","kind":"Pod","kind":"X"}`,
	} {
		got := string(inventory.WithKind([]byte(text), "v1", "Pod"))
		if got != want || text != "7" && text != "" && !json.Valid([]byte(got)) {
			t.Errorf("WithKind(%s) = %s, want %s", text, got, want)
		}
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	pod := func(ns, name, uid string) *inventory.Object {
		return object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"`+name+`","namespace":"`+ns+`","uid":"`+uid+`"}}`, file("f"+uid))
	}
	objects := []*inventory.Object{
		pod("b", "x", "1"), pod("a", "y", "2"), pod("a", "x", "3"), pod("a", "x", "4"),
		object(t, `{"apiVersion":"networking.k8s.io/v1beta1","kind":"Ingress","metadata":{"name":"x","namespace":"a"}}`, nil),
		object(t, `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"x","namespace":"a"}}`, nil),
		object(t, `{"apiVersion":"extensions/v1beta1","kind":"Ingress","metadata":{"name":"x","namespace":"a"}}`, nil),
		object(t, `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","a":1}`, nil),
		object(t, `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","a":2}`, nil),
		object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"job-","namespace":"a"}}`, nil),
		object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"job-","namespace":"a"}}`, nil),
	}
	given := []inventory.Problem{{What: "an earlier one"}}
	s := inventory.NewSnapshot(objects, inventory.Facts{Live: true}, []inventory.Unreadable{
		{Group: "", Kind: "Secret", Reason: "no permission"}, {Group: "", Kind: "ConfigMap", Namespace: "a", Reason: "timed out"}, {Group: "x.example", Reason: "gone"},
	}, given)
	var got []string
	for _, o := range s.Objects() {
		got = append(got, o.APIVersion+" "+o.String()+" "+o.UID)
	}
	want := []string{
		"extensions/v1beta1 Ingress a/x ", "networking.k8s.io/v1beta1 Ingress a/x ",
		"kubelet.config.k8s.io/v1beta1 KubeletConfiguration  ", "kubelet.config.k8s.io/v1beta1 KubeletConfiguration  ",
		"v1 Pod a/job-* ", "v1 Pod a/job-* ", "v1 Pod a/x 3", "v1 Pod a/y 2", "v1 Pod b/x 1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]inventory.Problem{
		{What: "an earlier one"},
		{Location: bulwark.Location{File: "f4", Line: 1}, What: "Pod a/x is there already, from f3"},
		{What: "Ingress a/x is there already, from the cluster"},
	}, s.Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if len(given) != 1 || cap(given) > 1 && given[:2][1].What != "" {
		t.Error("the problems that were given were changed")
	}
	if o := s.Find("", "Pod", "a", "x"); o == nil || o.UID != "3" {
		t.Errorf("Find: %v", o)
	}
	for _, o := range []*inventory.Object{s.Find("", "Pod", "c", "x"), s.Find("apps", "Pod", "a", "x"), s.Find("kubelet.config.k8s.io", "KubeletConfiguration", "", "")} {
		if o != nil {
			t.Errorf("found %v", o)
		}
	}
	if n := len(s.Kind("", "Pod")); n != 5 {
		t.Errorf("%d Pods", n)
	}
	for _, tt := range []struct{ group, kind, namespace, want string }{
		{"", "Secret", "", "no permission"},
		{"", "Secret", "a", "no permission"},
		{"", "ConfigMap", "", "timed out"},
		{"", "ConfigMap", "a", "timed out"},
		{"", "ConfigMap", "b", ""},
		{"", "Pod", "", ""},
		{"x.example", "Any", "", "gone"},
		{"apps", "Secret", "", ""},
	} {
		if got := s.Unread(tt.group, tt.kind, tt.namespace); got != tt.want {
			t.Errorf("Unread(%v) = %q", tt, got)
		}
	}
	partial := inventory.NewSnapshot(objects, inventory.Facts{Partial: true}, nil, nil)
	if partial.Unread("", "Pod", "") != "" || partial.Unread("", "Secret", "a") == "" {
		t.Error("a partial snapshot does not say what may be missing")
	}
}

// TestRepeated: of files that give one name to different objects all are there, and
// Snapshot.With takes all of them out.
func TestRepeated(t *testing.T) {
	t.Parallel()
	pod := func(image string) *inventory.Object {
		return object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","namespace":"a"},"spec":{"containers":[{"image":"`+image+`"}]}}`, nil)
	}
	first, same, other := pod("good"), pod("good"), pod("bad")
	s := inventory.NewSnapshot([]*inventory.Object{first, same, other}, inventory.Facts{}, nil, nil)
	if len(s.Objects()) != 2 || len(s.Kind("", "Pod")) != 2 || s.Find("", "Pod", "a", "x") != first || len(s.Problems) != 2 {
		t.Errorf("%v, %v", s.Objects(), s.Problems)
	}
	if s := inventory.NewSnapshot([]*inventory.Object{first, other, other, pod("bad"), same}, inventory.Facts{}, nil, nil); len(s.Objects()) != 2 || len(s.Problems) != 4 {
		t.Errorf("of several that say the same: %v, %v", s.Objects(), s.Problems)
	}
	if s := inventory.NewSnapshot([]*inventory.Object{first, other}, inventory.Facts{Live: true}, nil, nil); len(s.Objects()) != 1 {
		t.Errorf("of a cluster: %v", s.Objects())
	}
	if got := s.With([]*inventory.Object{pod("new")}, nil); len(got.Objects()) != 1 || len(got.Kind("", "Pod")) != 1 {
		t.Errorf("with another: %v", got.Objects())
	}
	if got := s.With(nil, []bulwark.ObjectRef{{APIVersion: "v1", Kind: "Pod", Namespace: "a", Name: "x"}}); len(got.Objects()) != 0 || len(got.Kind("", "Pod")) != 0 {
		t.Errorf("without it: %v", got.Objects())
	}
}

func TestWith(t *testing.T) {
	t.Parallel()
	pod := func(name, uid string) *inventory.Object {
		return object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"`+name+`","uid":"`+uid+`"}}`, nil)
	}
	config := `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration"}`
	s := inventory.NewSnapshot([]*inventory.Object{pod("a", "1"), pod("b", "2"), pod("c", "3"), object(t, config, nil)}, inventory.Facts{}, nil, nil)
	got := s.With([]*inventory.Object{pod("b", "4"), pod("ab", "5"), object(t, config, nil)}, []bulwark.ObjectRef{{APIVersion: "v1", Kind: "Pod", Name: "a"}, {APIVersion: "v1", Kind: "Pod", Name: "x"}})
	uids := func(list []*inventory.Object) (out []string) {
		for _, o := range list {
			out = append(out, o.UID)
		}
		return out
	}
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"changed", uids(got.Objects()), []string{"", "", "5", "4", "3"}},
		{"changed, Pods", uids(got.Kind("", "Pod")), []string{"5", "4", "3"}},
		{"first", uids(s.Objects()), []string{"", "1", "2", "3"}},
		{"first, Pods", uids(s.Kind("", "Pod")), []string{"1", "2", "3"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if got.Find("", "Pod", "", "a") != nil || s.Find("", "Pod", "", "a") == nil || got.Find("", "Pod", "", "b").UID != "4" {
		t.Error("Find gives what was taken out, or not what was put in")
	}
}

func BenchmarkNew(b *testing.B) {
	text := sample(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inventory.New(text, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkContent(b *testing.B) {
	o := object(b, string(sample(b)), nil)
	b.SetBytes(int64(len(o.Raw())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.Content(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPodTemplates(b *testing.B) {
	content, err := object(b, string(sample(b)), nil).Content()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(inventory.PodTemplates(content)) != 1 {
			b.Fatal("no template")
		}
	}
}

// sample gives a Deployment as a cluster has it.
func sample(b *testing.B) []byte {
	b.Helper()
	container := map[string]any{
		"name": "app", "image": "registry.shop.example/team/web:1.2.3", "imagePullPolicy": "IfNotPresent",
		"ports":          []any{map[string]any{"containerPort": 8080, "name": "http", "protocol": "TCP"}},
		"env":            []any{map[string]any{"name": "A", "value": "1"}, map[string]any{"name": "B", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "db", "key": "password"}}}},
		"resources":      map[string]any{"limits": map[string]any{"cpu": "1", "memory": "1Gi"}, "requests": map[string]any{"cpu": "100m", "memory": "128Mi"}},
		"livenessProbe":  map[string]any{"httpGet": map[string]any{"path": "/health", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1},
		"readinessProbe": map[string]any{"httpGet": map[string]any{"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1},
		"securityContext": map[string]any{
			"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
			"capabilities": map[string]any{"drop": []any{"ALL"}}, "seccompProfile": map[string]any{"type": "RuntimeDefault"},
		},
		"volumeMounts": []any{map[string]any{"name": "tmp", "mountPath": "/tmp"}}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
	}
	labels := map[string]any{"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web-1", "tier": "front"}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "namespace": "shop", "uid": "0f2b7c4e-0000-4000-8000-000000000000", "resourceVersion": "123456", "labels": labels},
		"spec": map[string]any{
			"replicas": 3, "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{
				"serviceAccountName": "web", "containers": []any{container, container}, "volumes": []any{map[string]any{"name": "tmp", "emptyDir": map[string]any{}}},
			}},
		},
		"status": map[string]any{"replicas": 3, "conditions": []any{map[string]any{"type": "Available", "status": "True", "message": "Deployment has minimum availability."}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return text
}
