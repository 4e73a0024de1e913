package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/test/controltest"
)

// outage is how long the API server is away: longer than leases, timeouts and
// back-offs of the controller.
const outage = time.Minute

// guarded makes a lab with an open and a closed route and gives the questions
// whose answers never change.
func guarded(t *testing.T, ns string) (*lab, []question) {
	t.Helper()
	l := newLab(t, ns)
	apply(t, object(t, "Secret", ns, "key", map[string]string{"keys": ns}, map[string]string{"hash": hashKey("the key of an outage")})+
		route(ns, "lab", "open", open)+
		route(ns, "lab", "closed", anyone+"authorization: {rules: [{name: none, when: 'true'}]}")+
		route(ns, "lab", "keyed", "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {keys: "+ns+"}}}}]}\n"+allowed))
	key := []string{"X-API-Key: the key of an outage"}
	questions := []question{
		{request{path: "/open"}, 200},
		{request{path: "/closed"}, 403},
		{request{path: "/keyed", fields: key}, 200},
		{request{path: "/keyed"}, 401},
	}
	for _, q := range questions {
		everywhere(t, l.doors, "lab.test", q.want, q.request)
	}
	return l, questions
}

// TestAPIServerAway: with the API server gone for a minute nobody gets another
// answer, and afterwards changes take effect again.
func TestAPIServerAway(t *testing.T) {
	provoked(t) // a server that has just started refuses what it will allow in a moment
	l, questions := guarded(t, "outage")
	load := newLoad(t, net.JoinHostPort(l.address, "80"), "lab.test", questions...)
	server := controltest.API(t)
	before := load.answers()
	server.Kill()
	select {
	case <-time.After(outage): // the time away is what is tested
	case <-t.Context().Done():
		t.Fatal("ended early")
	}
	if n := load.answers() - before; n < 100 {
		t.Errorf("%d answers during the outage", n)
	}
	server.Start()
	// A request through the old policy and one through the new, on every pod.
	controltest.Until(t, "an edit after the outage", func() error {
		return call(t.Context(), http.MethodPatch, policyPath(l.ns, "open"), "application/merge-patch+json",
			map[string]any{"metadata": map[string]any{"labels": map[string]string{"after": "outage"}}}, nil)
	})
	apply(t, route(l.ns, "lab", "after", open))
	everywhere(t, l.doors, "lab.test", 200, request{path: "/after"})
	accepted(t, l.ns, "after")
	load.clean()
	merge(t, policyPath(l.ns, "open"), when("false"))
	everywhere(t, l.doors, "lab.test", 403, request{path: "/open"})
	accepted(t, l.ns, "open")
}

// leader gives the pod that holds the controllers' Lease.
func leader(ctx context.Context) (string, error) {
	l, err := read[coordinationv1.Lease](ctx, leases+"/namespaces/"+system+"/leases/bulwark-controller")
	if err != nil {
		return "", err
	}
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
		return "", errors.New("nobody leads")
	}
	return *l.Spec.HolderIdentity, nil
}

// TestFailover: the leading controller is killed. The other one takes over,
// writes the status of what is new, and nobody gets another answer meanwhile.
func TestFailover(t *testing.T) {
	quiet(t)
	l, questions := guarded(t, "failover")
	load := newLoad(t, net.JoinHostPort(l.address, "80"), "lab.test", questions...)
	old, err := leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	controltest.Kubectl(t, "delete", "pod", old, "-n", system, "--grace-period=0", "--force")
	apply(t, route(l.ns, "lab", "new", open))
	// Data planes learn of it from the controller that is left, before it leads.
	everywhere(t, l.doors, "lab.test", 200, request{path: "/new"})
	controltest.Until(t, "another leader", func() error {
		now, err := leader(t.Context())
		if err == nil && now == old {
			err = fmt.Errorf("%s is said to lead still", old)
		}
		return err
	})
	accepted(t, l.ns, "new")
	controltest.Until(t, "status of the new route", func() error {
		r, err := read[gwv1.HTTPRoute](t.Context(), gateways+"/namespaces/"+l.ns+"/httproutes/new")
		if err == nil && len(r.Status.Parents) != 1 {
			err = fmt.Errorf("status %v", r.Status)
		}
		return err
	})
	controltest.Kubectl(t, "rollout", "status", "deployment/bulwark-controller", "-n", system)
	load.clean()
}

// TestRollout: all gateway pods are replaced without a failed request.
func TestRollout(t *testing.T) {
	quiet(t)
	l, questions := guarded(t, "rollout")
	load := newLoad(t, net.JoinHostPort(l.address, "80"), "lab.test", questions...)
	was := map[string]bool{}
	for _, p := range pods(t, "gateway") {
		was[p.Name] = true
	}
	controltest.Kubectl(t, "rollout", "restart", "deployment/bulwark-gateway", "-n", system)
	controltest.Kubectl(t, "rollout", "status", "deployment/bulwark-gateway", "-n", system)
	controltest.Until(t, "end of the pods before", func() error {
		for _, p := range pods(t, "gateway") {
			if was[p.Name] {
				return fmt.Errorf("%s is there", p.Name)
			}
		}
		return nil
	})
	load.clean()
	for _, door := range doors(t, l.ns, "lab", 80) {
		for _, q := range questions {
			dial(t, door, "lab.test", nil).want(q.want, "a new pod", q.request)
		}
	}
}

// TestNoController: a gateway pod that starts while no controller runs is alive,
// not ready, and listens on no Gateway's port; the pods before go on.
func TestNoController(t *testing.T) {
	quiet(t)
	l, questions := guarded(t, "orphan")
	_, port, err := net.SplitHostPort(l.doors[0])
	if err != nil {
		t.Fatal(err)
	}
	load := newLoad(t, net.JoinHostPort(l.address, "80"), "lab.test", questions...)
	scale := func(component string, n int) {
		t.Helper()
		merge(t, "/apis/apps/v1/namespaces/"+system+"/deployments/bulwark-"+component, map[string]any{"spec": map[string]any{"replicas": n}})
	}
	t.Cleanup(func() {
		for component, n := range map[string]int{"controller": 2, "gateway": 2} {
			if err := call(context.Background(), http.MethodPatch, "/apis/apps/v1/namespaces/"+system+"/deployments/bulwark-"+component,
				"application/merge-patch+json", map[string]any{"spec": map[string]any{"replicas": n}}, nil); err != nil {
				t.Error(err)
			}
			if _, err := controltest.TryKubectl(context.Background(), nil, "rollout", "status", "deployment/bulwark-"+component, "-n", system); err != nil {
				t.Error(err)
			}
		}
	})
	scale("controller", 0)
	controltest.Until(t, "end of the controllers", func() error {
		if n := len(pods(t, "controller")); n > 0 {
			return fmt.Errorf("%d are there", n)
		}
		return nil
	})
	was := map[string]bool{}
	for _, p := range pods(t, "gateway") {
		was[p.Name] = true
	}
	scale("gateway", 3)
	fresh := ""
	controltest.Until(t, "a pod that is alive", func() error {
		for _, p := range pods(t, "gateway") {
			if was[p.Name] || p.Status.PodIP == "" {
				continue
			}
			if code, text := adminPage(t, &p, "/healthz"); code != 200 {
				return fmt.Errorf("/healthz: %d %s", code, text)
			}
			fresh = p.Status.PodIP
			if code, text := adminPage(t, &p, "/readyz"); code != 503 || !strings.Contains(text, "no configuration yet") {
				t.Errorf("without configuration /readyz says %d %s", code, text)
			}
			return nil
		}
		return errors.New("there is none")
	})
	if a, err := dial(t, net.JoinHostPort(fresh, port), "lab.test", nil).try(request{path: "/open"}); err == nil {
		t.Errorf("a gateway without configuration answers %d", a.status)
	}
	if n := len(ready(t, "gateway")); n != len(was) {
		t.Errorf("%d pods are ready, want the %d that were", n, len(was))
	}
	scale("controller", 2)
	controltest.Until(t, "the new pod ready", func() error {
		if n := len(ready(t, "gateway")); n != 3 {
			return fmt.Errorf("%d pods are ready", n)
		}
		return nil
	})
	everywhere(t, doors(t, l.ns, "lab", 80), "lab.test", 200, request{path: "/open"})
	scale("gateway", 2)
	controltest.Kubectl(t, "rollout", "status", "deployment/bulwark-gateway", "-n", system)
	load.clean()
}
