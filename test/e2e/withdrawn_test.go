package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"bulwark.dev/bulwark/test/controltest"
)

// TestRightsWithdrawn takes rights away from the installed controller, under
// load. Requests go on; what cannot be read refuses what depends on it.
func TestRightsWithdrawn(t *testing.T) {
	provoked(t)
	l, questions := guarded(t, "withdrawn")
	const path = rbac + "/clusterroles/bulwark-controller"
	role := get[rbacv1.ClusterRole](t, path)
	set := func(ctx context.Context, rules []rbacv1.PolicyRule) error {
		return call(ctx, http.MethodPatch, path, "application/merge-patch+json", map[string]any{"rules": rules}, nil)
	}
	t.Cleanup(func() {
		if err := set(context.Background(), role.Rules); err != nil {
			t.Error(err)
		}
		for _, verb := range []string{"restart", "status"} {
			if _, err := controltest.TryKubectl(context.Background(), nil, "rollout", verb, "deployment/bulwark-controller", "-n", system); err != nil {
				t.Error(err)
			}
		}
	})
	without := func(drop func(r right) bool) {
		t.Helper()
		if err := set(t.Context(), rules(slices.DeleteFunc(expand(role.Rules, false), drop), false, right{})); err != nil {
			t.Fatal(err)
		}
	}
	at := net.JoinHostPort(l.address, "80")

	t.Run("all writing", func(t *testing.T) {
		load := newLoad(t, at, "lab.test", questions...)
		without(func(r right) bool { return r.verb != "list" && r.verb != "watch" })
		// What is new is in force, but nobody is told by its status.
		apply(t, route(l.ns, "lab", "unwritten", anyone+"authorization: {rules: [{name: get, allow: true, when: 'request.method == \"GET\"'}]}"))
		everywhere(t, l.doors, "lab.test", 200, request{path: "/unwritten"})
		everywhere(t, l.doors, "lab.test", 403, request{method: http.MethodPost, path: "/unwritten"})
		controltest.Until(t, "log of the missing permission", func() error {
			for _, p := range ready(t, "controller") {
				if log := controltest.Kubectl(t, "logs", p.Name, "-n", system); strings.Contains(log, "patch securitypolicies/status in bulwark.dev") {
					return nil
				}
			}
			return errors.New("no controller says it")
		})
		if c, err := policyConditions(t.Context(), l.ns, "unwritten"); err != nil || len(c) > 0 {
			t.Errorf("a status was written: %v %v", c, err)
		}
		load.clean()
	})

	t.Run("reading Secrets", func(t *testing.T) {
		load := newLoad(t, at, "lab.test", questions[:2]...) // what needs no Secret
		without(func(r right) bool { return r.resource == "secrets" })
		controltest.Kubectl(t, "rollout", "restart", "deployment/bulwark-controller", "-n", system)
		controltest.Kubectl(t, "rollout", "status", "deployment/bulwark-controller", "-n", system)
		for _, q := range questions[2:] {
			everywhere(t, l.doors, "lab.test", 503, q.request)
		}
		controltest.Until(t, "status that names the permission", func() error {
			c, err := policyConditions(t.Context(), l.ns, "keyed")
			if err == nil && !strings.Contains(c["Accepted"], "no permission to list") {
				err = fmt.Errorf("Accepted=%s", c["Accepted"])
			}
			return err
		})
		if err := set(t.Context(), role.Rules); err != nil {
			t.Fatal(err)
		}
		for _, q := range questions {
			everywhere(t, l.doors, "lab.test", q.want, q.request)
		}
		accepted(t, l.ns, "keyed", "unwritten")
		load.clean()
	})
}
