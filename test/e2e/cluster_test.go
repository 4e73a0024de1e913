package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/test/controltest"
)

// Where the kinds that the tests read are.
const (
	core      = "/api/v1"
	gateways  = "/apis/gateway.networking.k8s.io/v1"
	policies  = "/apis/bulwark.dev/v1alpha1"
	discovery = "/apis/discovery.k8s.io/v1"
	rbac      = "/apis/rbac.authorization.k8s.io/v1"
	leases    = "/apis/coordination.k8s.io/v1"
	events    = "/apis/events.k8s.io/v1"
)

// api is the API server as one who may do everything sees it.
type api struct {
	base   string
	client *http.Client
}

// connect makes the client once: its connections are kept.
var connect = sync.OnceValues(func() (*api, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", controltest.Kubeconfig())
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(cfg)
	return &api{strings.TrimSuffix(cfg.Host, "/"), client}, err
})

// statusError is an answer of the API server that is not a success.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.text) }

// call sends body, JSON of what contentType says, and decodes the answer
// where into is not nil.
func call(ctx context.Context, method, path, contentType string, body, into any) error {
	a, err := connect()
	if err != nil {
		return err
	}
	var sent io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, sent)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s %s: %w", method, path, &statusError{resp.StatusCode, string(b)})
	case into == nil:
		return nil
	}
	return json.Unmarshal(b, into)
}

// read gives one object or list.
func read[T any](ctx context.Context, path string) (T, error) {
	var v T
	err := call(ctx, http.MethodGet, path, "", nil, &v)
	return v, err
}

// get is read for what must be there.
func get[T any](t *testing.T, path string) T {
	t.Helper()
	v, err := read[T](t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// merge patches what must be there.
func merge(t *testing.T, path string, patch any) {
	t.Helper()
	if err := call(t.Context(), http.MethodPatch, path, "application/merge-patch+json", patch, nil); err != nil {
		t.Fatal(err)
	}
}

// remove deletes an object, which may have gone already.
func remove(t *testing.T, path string) {
	t.Helper()
	// Not t.Context: clean-up comes after its end.
	err := call(context.Background(), http.MethodDelete, path, "application/json", map[string]any{"propagationPolicy": "Background"}, nil)
	var gone *statusError
	if err != nil && (!errors.As(err, &gone) || gone.code != http.StatusNotFound) {
		t.Fatal(err)
	}
}

// apply puts YAML in place for good: namespaces are thrown away as a whole.
func apply(t *testing.T, yaml string) {
	t.Helper()
	if _, err := controltest.TryKubectl(t.Context(), strings.NewReader(yaml), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// namespace makes one for a test and deletes it at the end.
func namespace(t *testing.T, name string) {
	t.Helper()
	apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+"}}")
	t.Cleanup(func() { remove(t, core+"/namespaces/"+name) })
}

// address waits for a Gateway's address.
func address(t *testing.T, namespace, name string) string {
	t.Helper()
	var found string
	controltest.Until(t, "address of Gateway "+namespace+"/"+name, func() error {
		g, err := read[gwv1.Gateway](t.Context(), gateways+"/namespaces/"+namespace+"/gateways/"+name)
		if err != nil {
			return err
		}
		for _, c := range g.Status.Conditions {
			if c.Type == string(gwv1.GatewayConditionProgrammed) && c.Status == "True" && len(g.Status.Addresses) > 0 {
				found = g.Status.Addresses[0].Value
				return nil
			}
		}
		return fmt.Errorf("not programmed: %v", g.Status.Conditions)
	})
	return found
}

// doors waits for the addresses at which the gateway pods serve a Gateway's
// port, as many as there are pods, without a load balancer between.
func doors(t *testing.T, namespace, gateway string, port int32) []string {
	t.Helper()
	var found []string
	controltest.Until(t, "endpoints of Gateway "+namespace+"/"+gateway, func() error {
		found = nil
		svc := gateway + "-bulwark"
		s, err := read[corev1.Service](t.Context(), core+"/namespaces/"+namespace+"/services/"+svc)
		if err != nil {
			return err
		}
		list, err := read[discoveryv1.EndpointSliceList](t.Context(), discovery+"/namespaces/"+namespace+
			"/endpointslices?labelSelector="+discoveryv1.LabelServiceName+"%3D"+svc)
		if err != nil {
			return err
		}
		for _, want := range s.Spec.Ports {
			for _, slice := range list.Items {
				for _, p := range slice.Ports {
					for _, e := range slice.Endpoints {
						if want.Port == port && *p.Name == want.Name && *e.Conditions.Ready {
							found = append(found, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
						}
					}
				}
			}
		}
		if n := len(ready(t, "gateway")); len(found) != n || n == 0 {
			return fmt.Errorf("%d endpoints and %d ready pods", len(found), n)
		}
		return nil
	})
	return found
}

// ready gives the pods of a component of Bulwark that are ready and stay.
func ready(t *testing.T, component string) []corev1.Pod {
	t.Helper()
	var out []corev1.Pod
	for _, p := range pods(t, component) {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// pods gives all pods of a component of Bulwark.
func pods(t *testing.T, component string) []corev1.Pod {
	t.Helper()
	return get[corev1.PodList](t, core+"/namespaces/"+system+"/pods?labelSelector=app.kubernetes.io/component%3D"+component).Items
}

// adminPage fetches a page of a pod's admin port.
func adminPage(t *testing.T, pod *corev1.Pod, page string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(pod.Status.PodIP, "9400")+page, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// policyConditions gives the conditions of a SecurityPolicy for its first
// Gateway by the installed controller, as "Type=Status Reason: Message".
func policyConditions(ctx context.Context, namespace, name string) (map[string]string, error) {
	p, err := read[v1alpha1.SecurityPolicy](ctx, policies+"/namespaces/"+namespace+"/securitypolicies/"+name)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, a := range p.Status.Ancestors {
		if a.ControllerName != controllerName {
			continue // another installation's
		}
		for _, c := range a.Conditions {
			if c.ObservedGeneration != p.Generation {
				return nil, fmt.Errorf("condition %s is of generation %d, the policy of %d", c.Type, c.ObservedGeneration, p.Generation)
			}
			if _, ok := out[c.Type]; !ok {
				out[c.Type] = fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
			}
		}
	}
	return out, nil
}

// accepted waits until policies are in force as asked for.
func accepted(t *testing.T, namespace string, names ...string) {
	t.Helper()
	for _, name := range names {
		controltest.Until(t, "SecurityPolicy "+namespace+"/"+name+" in force", func() error {
			c, err := policyConditions(t.Context(), namespace, name)
			if err != nil {
				return err
			}
			for _, kind := range []string{"Accepted", "Programmed"} {
				if !strings.HasPrefix(c[kind], "True ") {
					return fmt.Errorf("%s=%s", kind, c[kind])
				}
			}
			return nil
		})
	}
}

// served waits until every gateway pod serves as many routes of a namespace, all
// of them as asked for.
func served(t *testing.T, namespace string, routes int) {
	t.Helper()
	for _, pod := range ready(t, "gateway") {
		controltest.Until(t, "configuration of "+pod.Name, func() error {
			_, page := adminPage(t, &pod, "/status")
			var status struct {
				Conditions []struct {
					Object, Condition, Status, Message string
					Bad                                bool
				}
			}
			if err := json.Unmarshal([]byte(page), &status); err != nil {
				return fmt.Errorf("%s: %w", page, err)
			}
			have := map[string]bool{}
			for _, c := range status.Conditions {
				switch {
				case c.Bad && !strings.HasPrefix(c.Object, "Gateway ") && (strings.Contains(c.Object, " "+namespace+"/") || strings.Contains(c.Object, "/"+namespace+"/")):
					return fmt.Errorf("%s: %s=%s: %s", c.Object, c.Condition, c.Status, c.Message)
				case strings.HasPrefix(c.Object, "HTTPRoute "+namespace+"/"):
					have[c.Object] = true
				}
			}
			if len(have) != routes {
				return fmt.Errorf("%d routes, want %d", len(have), routes)
			}
			return nil
		})
	}
}
