package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/test/controltest"
)

// policyPath is where a SecurityPolicy is.
func policyPath(ns, name string) string {
	return policies + "/namespaces/" + ns + "/securitypolicies/" + name
}

// when is a patch of a policy: who may come in.
func when(expression string) any {
	return map[string]any{"spec": map[string]any{"authorization": map[string]any{
		"rules": []any{map[string]any{"name": "edited", "allow": true, "when": expression}},
	}}}
}

// shows waits until a policy's conditions and its row of "kubectl get" say so.
func shows(t *testing.T, ns, name, kind, want string, row ...string) {
	t.Helper()
	controltest.Until(t, "status of SecurityPolicy "+ns+"/"+name, func() error {
		c, err := policyConditions(t.Context(), ns, name)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(c[kind], want) {
			return fmt.Errorf("%s=%s, want %s", kind, c[kind], want)
		}
		return nil
	})
	if len(row) == 0 {
		return
	}
	out := controltest.Kubectl(t, "get", "securitypolicies", "-n", ns, "-o", "wide")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); f[0] == name {
			for _, want := range row {
				if !strings.Contains(line, want) {
					t.Errorf("kubectl get securitypolicies shows %q, want %q in it", line, want)
				}
			}
			return
		}
	}
	t.Errorf("kubectl get securitypolicies does not show %s:\n%s", name, out)
}

// explain runs "bulwark policy explain" on the cluster.
func explain(t *testing.T, route string) string {
	t.Helper()
	out, err := bulwark(t.Context(), "policy", "explain", route, "--kubeconfig", controltest.Kubeconfig()).CombinedOutput()
	if err != nil {
		t.Fatalf("explain %s: %v\n%s", route, err, out)
	}
	return string(out)
}

// said waits for an event on an object.
func said(t *testing.T, ns, kind, name, reason string) {
	t.Helper()
	controltest.Until(t, "event "+reason+" on "+kind+" "+name, func() error {
		list, err := read[eventsv1.EventList](t.Context(), events+"/namespaces/"+ns+"/events")
		if err != nil {
			return err
		}
		var have []string
		for _, e := range list.Items {
			if e.Regarding.Kind == kind && e.Regarding.Name == name {
				have = append(have, e.Reason)
			}
		}
		if !slices.Contains(have, reason) {
			return fmt.Errorf("there are %q", have)
		}
		return nil
	})
}

// TestPolicyChanges: what is edited and deleted takes effect in every gateway
// pod, and status, columns, events and explain say what is in force.
func TestPolicyChanges(t *testing.T) {
	quiet(t)
	const ns = "changes"
	newLab(t, "neighbour") // another Gateway with the same ports, before this one
	l := newLab(t, ns)
	apply(t, object(t, "ConfigMap", ns, "keys", nil, map[string]string{"jwks.json": keySet(t, newSigner(t, "changes of a policy"))})+
		route(ns, "lab", "edited", anyone+"authorization: {rules: [{name: get, allow: true, when: 'request.method == \"GET\"'}]}")+
		route(ns, "lab", "bare", "")+
		route(ns, "lab", "born-broken", anyone+"authorization: {rules: [{name: x, allow: true, when: 'request.nothing == 1'}]}"))
	get, post := request{path: "/edited"}, request{method: http.MethodPost, path: "/edited"}
	everywhere(t, l.doors, "lab.test", 200, get)
	everywhere(t, l.doors, "lab.test", 403, post)
	everywhere(t, l.doors, "lab.test", 403, request{path: "/bare"})
	accepted(t, ns, "edited")

	t.Run("edit", func(t *testing.T) {
		merge(t, policyPath(ns, "edited"), when(`request.method == "POST"`))
		everywhere(t, l.doors, "lab.test", 403, get)
		everywhere(t, l.doors, "lab.test", 200, post)
		accepted(t, ns, "edited")
		shows(t, ns, "edited", "Programmed", "True ", "HTTPRoute", "edited", "True", "Accepted")
		if out := explain(t, ns+"/edited"); !strings.Contains(out, `when: request.method == "POST"`) || !strings.Contains(out, "SecurityPolicy "+ns+"/edited (route)") || strings.Contains(out, "REFUSES") {
			t.Errorf("explain says\n%s", out)
		}
	})

	t.Run("break", func(t *testing.T) {
		merge(t, policyPath(ns, "edited"), when(`request.nothing == 1`))
		shows(t, ns, "edited", "Accepted", "False Invalid: ", "False", "Invalid", "still in force")
		c, err := policyConditions(t.Context(), ns, "edited")
		if err != nil || !strings.Contains(c["Accepted"], "still in force") || !strings.Contains(c["Accepted"], "nothing") {
			t.Errorf("the status does not say what is in force and why: %v %v", c, err)
		}
		said(t, ns, "SecurityPolicy", "edited", "Invalid")
		for range 20 {
			for _, door := range l.doors {
				dial(t, door, "lab.test", nil).want(200, "the last good form", post)
				dial(t, door, "lab.test", nil).want(403, "the last good form", get)
			}
		}
		if out := explain(t, ns+"/edited"); !strings.Contains(out, "nothing") || !strings.Contains(out, "REFUSES every request with 503") {
			t.Errorf("explain knows no past, so it must say that this refuses:\n%s", out)
		}
	})

	t.Run("born broken", func(t *testing.T) {
		shows(t, ns, "born-broken", "Accepted", "False Invalid: ", "False", "Invalid")
		for _, door := range l.doors {
			dial(t, door, "lab.test", nil).want(503, "a policy that never was good", request{path: "/born-broken"})
		}
		if out := explain(t, ns+"/born-broken"); !strings.Contains(out, "REFUSES every request with 503") {
			t.Errorf("explain says\n%s", out)
		}
	})

	t.Run("mend", func(t *testing.T) {
		merge(t, policyPath(ns, "edited"), when(`request.method == "PUT"`))
		everywhere(t, l.doors, "lab.test", 403, post)
		everywhere(t, l.doors, "lab.test", 200, request{method: http.MethodPut, path: "/edited"})
		accepted(t, ns, "edited")
		said(t, ns, "SecurityPolicy", "edited", "Accepted")
	})

	t.Run("what it names goes away", func(t *testing.T) {
		patch := map[string]any{"spec": map[string]any{"authentication": map[string]any{"anyOf": []any{map[string]any{
			"jwt": map[string]any{"issuer": "lab", "audiences": []string{"lab"}, "jwks": map[string]any{"configMapRef": map[string]any{"name": "keys"}}},
		}}}}}
		merge(t, policyPath(ns, "edited"), patch)
		put := request{method: http.MethodPut, path: "/edited"}
		everywhere(t, l.doors, "lab.test", 401, put)
		accepted(t, ns, "edited")
		remove(t, core+"/namespaces/"+ns+"/configmaps/keys")
		shows(t, ns, "edited", "Accepted", "False ")
		// The form before was good and admitted anybody: it must not come back, since
		// nobody asked for it.
		for range 5 {
			for _, door := range l.doors {
				dial(t, door, "lab.test", nil).want(503, "a policy whose keys are gone", put)
			}
		}
	})

	t.Run("delete", func(t *testing.T) {
		remove(t, policyPath(ns, "edited"))
		for _, r := range []request{get, post, {method: http.MethodPut, path: "/edited"}} {
			everywhere(t, l.doors, "lab.test", 403, r)
		}
		if out := explain(t, ns+"/edited"); !strings.Contains(out, "UNPROTECTED") && !strings.Contains(out, "REFUSES") {
			t.Errorf("explain says\n%s", out)
		}
		// One of the same name that is made anew has no past.
		apply(t, securityPolicy(ns, "edited", "HTTPRoute", "edited", anyone+"authorization: {rules: [{name: x, allow: true, when: 'request.nothing == 1'}]}"))
		everywhere(t, l.doors, "lab.test", 503, get)
	})

	t.Run("route goes", func(t *testing.T) {
		remove(t, gateways+"/namespaces/"+ns+"/httproutes/bare")
		everywhere(t, l.doors, "lab.test", 404, request{path: "/bare"})
	})

	t.Run("Gateway goes", func(t *testing.T) {
		remove(t, gateways+"/namespaces/"+ns+"/gateways/lab")
		controltest.Until(t, "end of the Gateway's Service", func() error {
			_, err := read[struct{}](t.Context(), core+"/namespaces/"+ns+"/services/lab-bulwark")
			if err == nil {
				return fmt.Errorf("it is there")
			}
			return nil
		})
		for _, door := range l.doors {
			c := dial(t, door, "lab.test", nil)
			controltest.Until(t, "closed port at "+door, func() error {
				if a, err := c.try(get); err == nil {
					return fmt.Errorf("answered %d", a.status)
				}
				return nil
			})
		}
	})
	if p, err := read[v1alpha1.SecurityPolicy](context.WithoutCancel(t.Context()), policyPath(ns, "born-broken")); err != nil || p.Spec.Authorization == nil {
		t.Errorf("the spec was touched: %v %v", p.Spec, err)
	}
}
