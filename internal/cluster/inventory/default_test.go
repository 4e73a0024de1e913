package inventory_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
)

// The objects are those that test/posture/defaults creates on a real API server,
// which is what says that the defaults are the right ones.
const examples = "../../../test/posture/defaults/testdata/*.yaml"

func exampleTexts(tb testing.TB) [][]byte {
	tb.Helper()
	files, err := filepath.Glob(examples)
	if err != nil {
		tb.Fatal(err)
	}
	var out [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		objects, problems := manifest.Decode(file, text)
		if len(problems) > 0 {
			tb.Fatal(problems)
		}
		for _, o := range objects {
			out = append(out, o.Raw())
		}
	}
	if len(out) < 50 {
		tb.Fatalf("found only %d objects", len(out))
	}
	return out
}

// TestDefaultIsIdempotent also holds the values to the types that CEL takes.
func TestDefaultIsIdempotent(t *testing.T) {
	t.Parallel()
	for _, text := range exampleTexts(t) {
		content, err := object(t, string(text), nil).Content()
		if err != nil {
			t.Fatal(err)
		}
		once := clone(t, content)
		inventory.Default(content)
		if diff := cmp.Diff(once, content); diff != "" {
			t.Errorf("%s: once and twice differ:\n%s", text, diff)
		}
		plain(t, content)
	}
}

func clone(tb testing.TB, v map[string]any) map[string]any {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	content, err := inventory.Decode(object(tb, `{"apiVersion":"v1","kind":"X","v":`+string(text)+`}`, nil))
	if err != nil {
		tb.Fatal(err)
	}
	out, _ := content["v"].(map[string]any)
	return out
}

func plain(tb testing.TB, v any) {
	tb.Helper()
	switch v := v.(type) {
	case nil, bool, string, int64, float64:
	case map[string]any:
		for _, e := range v {
			plain(tb, e)
		}
	case []any:
		for _, e := range v {
			plain(tb, e)
		}
	default:
		tb.Errorf("%v is a %T", v, v)
	}
}

func TestDefaultOfOthers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		get  []string
		want any
	}{
		"custom workload":  {`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {template: {spec: {containers: [{name: a, image: x}]}}}}`, []string{"spec", "template", "spec", "dnsPolicy"}, "ClusterFirst"},
		"of it, no other":  {`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {template: {spec: {containers: [{name: a, image: x}]}}}}`, []string{"spec", "replicas"}, nil},
		"unknown kind":     {`{apiVersion: x.example/v1, kind: Service, spec: {ports: [{port: 1}]}}`, []string{"spec", "type"}, nil},
		"old webhook":      {`{apiVersion: admissionregistration.k8s.io/v1beta1, kind: ValidatingWebhookConfiguration, webhooks: [{name: a}]}`, []string{"webhooks", "0", "failurePolicy"}, "Ignore"},
		"spec of text":     {`{apiVersion: v1, kind: Service, spec: x}`, []string{"spec"}, "x"},
		"policy of number": {`{apiVersion: v1, kind: Pod, spec: {dnsPolicy: 7}}`, []string{"spec", "dnsPolicy"}, int64(7)},
		"zero that counts": {`{apiVersion: v1, kind: Pod, spec: {terminationGracePeriodSeconds: 0}}`, []string{"spec", "terminationGracePeriodSeconds"}, int64(0)},
		"bad quantity":     {`{apiVersion: v1, kind: Pod, spec: {resources: {limits: {cpu: many}}, containers: [{resources: {requests: {cpu: x}}}]}}`, []string{"spec", "resources", "requests"}, nil},
		"stringData, bad":  {`{apiVersion: v1, kind: Secret, stringData: {a: 1}}`, []string{"stringData", "a"}, int64(1)},
		"two accounts":     {`{apiVersion: v1, kind: Pod, spec: {serviceAccountName: a, serviceAccount: b}}`, []string{"spec", "serviceAccount"}, "a"},
		"older name only":  {`{apiVersion: v1, kind: Pod, spec: {serviceAccount: b}}`, []string{"spec", "serviceAccountName"}, "b"},
		"no namespace name": {
			`{apiVersion: v1, kind: Namespace, metadata: {generateName: a-}}`, []string{"metadata", "labels"}, nil,
		},
	}
	for name, tt := range tests {
		content := read(t, tt.text)
		inventory.Default(content)
		var got any = content
		for _, step := range tt.get {
			switch v := got.(type) {
			case map[string]any:
				got = v[step]
			case []any:
				got = v[0]
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// FuzzDefault: no content makes it fail, and it is idempotent.
func FuzzDefault(f *testing.F) {
	for _, text := range exampleTexts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := inventory.New(text, nil)
		if err != nil {
			return
		}
		content, err := o.Content()
		if err != nil {
			return // a number out of range
		}
		first, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		inventory.Default(content)
		if second, err := json.Marshal(content); err != nil || string(first) != string(second) {
			t.Fatalf("%s: once and twice differ (%v):\n%s\n%s", text, err, first, second)
		}
		for _, p := range inventory.PodTemplates(content) {
			p.Containers()
		}
	})
}

// TestEndless: quantities that no library can compute with are told apart, and a pod
// with them is read all the same.
func TestEndless(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"1e9999": true, "-1.5E+999999999": true, "12345678901234567890e999999999": true, ".5e-99999": true,
		"": false, "1": false, "12345": false, "1e3": false, "100Mi": false, "1e100": false, "e9999": false, "web-1e9999": false, "rel2024": false, "code20240101": false,
	} {
		if got := inventory.Endless(text); got != want {
			t.Errorf("Endless(%q) = %v", text, got)
		}
	}
	for _, cpu := range []string{"1e999999999", "12345678901234567890e999999999"} {
		content := read(t, `{apiVersion: v1, kind: Pod, spec: {resources: {limits: {memory: 1Gi}}, containers: [{name: a, resources: {requests: {cpu: "`+cpu+`"}, limits: {cpu: "`+cpu+`"}}}, {name: b, resources: {requests: {cpu: 1m}}}]}}`)
		inventory.Default(content)
	}
}
