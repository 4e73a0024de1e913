package cluster

import (
	"strings"
	"testing"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// TestPolicyKeepsItsSay: a policy that another version of the CRD allows must
// not lose what it demands.
func TestPolicyKeepsItsSay(t *testing.T) {
	const head = `{"apiVersion":"bulwark.dev/v1alpha1","kind":"SecurityPolicy","metadata":{"name":"p","namespace":"shop"},"spec":{` +
		`"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","name":"orders"}],`
	tests := []struct {
		name, spec, unread string
	}{
		{"known", `"authentication":{"anyOf":[{"anonymous":{}}]}}}`, ""},
		{"new field", `"authentication":{"anyOf":[{"anonymous":{}}]},"deny":{"all":true}}}`, "spec.deny"},
		{"new credential", `"authentication":{"anyOf":[{"passkey":{}},{"jwt":{"issuer":"a","dpop":true}}]}}}`, "spec.authentication.anyOf[0].passkey, spec.authentication.anyOf[1].jwt.dpop"},
		{"other case", `"authentication":{"AnyOf":[{"anonymous":{}}]}}}`, "spec.authentication.AnyOf"},
		{"other type", `"authentication":{"anyOf":"any"}}}`, "read JSON"},
		{"bad duration", `"lockOut":{"window":"soon"}}}`, "read JSON"},
	}
	for _, tt := range tests {
		obj, err := Decode("bulwark.dev/v1alpha1", "SecurityPolicy", []byte(head+tt.spec))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		p, ok := obj.(*v1alpha1.SecurityPolicy)
		if !ok || p.Name != "p" || len(p.Spec.TargetRefs) != 1 {
			t.Errorf("%s: it is not known what the policy is attached to: %+v", tt.name, obj)
			continue
		}
		got := p.Annotations[v1alpha1.AnnotationUnread]
		if got != tt.unread && (tt.unread == "" || !strings.HasPrefix(got, tt.unread+": ")) {
			t.Errorf("%s: unread %q, want %q", tt.name, got, tt.unread)
		}
		invalid := false
		for _, e := range v1alpha1.Validate(v1alpha1.Default(p)) {
			invalid = invalid || e.Field == "metadata.annotations[bulwark.dev/unread]"
		}
		if invalid != (tt.unread != "") {
			t.Errorf("%s: invalid %v", tt.name, invalid)
		}
	}
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name, apiVersion, kind, text string
		want                         string // kind of the object, "" for none
		fails                        bool
	}{
		{"newer server", "gateway.networking.k8s.io/v1", "HTTPRoute", `{"metadata":{"name":"a","novel":1},"spec":{"rules":[{"novel":{}}]}}`, "HTTPRoute", false},
		{"older version", "gateway.networking.k8s.io/v1beta1", "Gateway", `{"metadata":{"name":"a"},"spec":{}}`, "Gateway", false},
		{"alpha", "gateway.networking.k8s.io/v1alpha3", "BackendTLSPolicy", `{"metadata":{"name":"a"},"spec":{}}`, "BackendTLSPolicy", false},
		{"status of another form", "gateway.networking.k8s.io/v1", "HTTPRoute", `{"metadata":{"name":"a"},"spec":{},"status":"fine"}`, "HTTPRoute", false},
		{"unknown version", "gateway.networking.k8s.io/v7", "HTTPRoute", `{"metadata":{"name":"a"}}`, "", true},
		{"unknown kind", "v1", "Pod", `{"metadata":{"name":"a"}}`, "", true},
		{"bad version", "a/b/c", "HTTPRoute", `{}`, "", true},
		{"no JSON", "v1", "Service", `{"metadata":`, "", true},
		{"no metadata", "v1", "Service", `{"metadata":5}`, "", true},
		{"broken spec", "gateway.networking.k8s.io/v1", "HTTPRoute", `{"metadata":{"name":"a"},"spec":{"rules":{}}}`, "Undecoded", true},
		{"broken targets", "bulwark.dev/v1alpha1", "SecurityPolicy", `{"metadata":{"name":"a"},"spec":{"targetRefs":1}}`, "Undecoded", true},
	}
	for _, tt := range tests {
		obj, err := Decode(tt.apiVersion, tt.kind, []byte(tt.text))
		got := ""
		switch o := obj.(type) {
		case nil:
		case *Undecoded:
			got = "Undecoded"
			if o.Err == nil || o.Kind != tt.kind || o.Name != "a" {
				t.Errorf("%s: %+v does not say what it stands for", tt.name, o)
			}
		default:
			got = kindOf(o).name
			if o.GetObjectKind().GroupVersionKind() != kindOf(o).gvk() {
				t.Errorf("%s: the object says %s", tt.name, o.GetObjectKind().GroupVersionKind())
			}
		}
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s: %q, error %v; want %q, error %v", tt.name, got, err, tt.want, tt.fails)
		}
	}
}
