package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/test/controltest"
)

// TestTenancy: who may write everything in one namespace gets nothing of
// another one, and nothing that the leader keeps for itself.
func TestTenancy(t *testing.T) {
	quiet(t)
	victim, thief := newLab(t, "victim"), newLab(t, "thief")
	for _, l := range []*lab{victim, thief} {
		apply(t, route(l.ns, "lab", "who", open+"transform: {response: {setHeaders: [{name: X-Lab, value: "+l.ns+"}]}}"))
		everywhere(t, l.doors, "lab.test", 200, request{path: "/who"})
	}
	apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: mallory, namespace: thief}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}]
`)
	answers := func(l *lab, at string) error {
		a, err := dial(t, at, "lab.test", nil).try(request{path: "/who"})
		if err == nil && (a.status != 200 || a.header.Get("X-Lab") != l.ns) {
			err = fmt.Errorf("%d of %q", a.status, a.header.Get("X-Lab"))
		}
		return err
	}
	t.Run("edited Service and endpoints", func(t *testing.T) { editedService(t, victim, thief, answers) })
	t.Run("foreign Service", func(t *testing.T) { foreignService(t) })
	t.Run("Secret of another namespace", func(t *testing.T) { foreignSecret(t, victim, thief) })
}

// as runs kubectl as the tenant of the namespace thief.
func as(t *testing.T, stdin string, args ...string) error {
	t.Helper()
	_, err := controltest.TryKubectl(t.Context(), strings.NewReader(stdin), append([]string{"--as=mallory", "-n", "thief"}, args...)...)
	return err
}

// editedService points a tenant's own Service at the port of another Gateway,
// and takes its marks off: nothing is bound anew, and it is put right.
func editedService(t *testing.T, victim, thief *lab, answers func(*lab, string) error) {
	t.Helper()
	ports := func() map[string]string {
		all := get[corev1.ConfigMap](t, core+"/namespaces/"+system+"/configmaps/bulwark-ports").Data
		own := map[string]string{}
		for port, owner := range all {
			if strings.HasPrefix(owner, "victim/") || strings.HasPrefix(owner, "thief/lab:") {
				own[port] = owner
			}
		}
		if len(own) != 4 {
			t.Fatalf("ports are %v", all)
		}
		return own
	}
	before := ports()
	_, stolen, err := net.SplitHostPort(victim.doors[0])
	if err != nil {
		t.Fatal(err)
	}
	var slice discoveryv1.EndpointSlice
	list := get[discoveryv1.EndpointSliceList](t, discovery+"/namespaces/thief/endpointslices?labelSelector="+discoveryv1.LabelServiceName+"%3Dlab-bulwark")
	if len(list.Items) == 0 {
		t.Fatal("no EndpointSlice")
	}
	slice = list.Items[0]
	good := slice.Ports
	service := get[corev1.Service](t, core+"/namespaces/thief/services/lab-bulwark")

	load := newLoad(t, net.JoinHostPort(victim.address, "80"), "lab.test", question{request{path: "/who"}, 200})
	for _, edit := range [][]string{
		{"patch", "endpointslice", slice.Name, "--type=json", "-p", `[{"op":"replace","path":"/ports/0/port","value":` + stolen + `}]`},
		{"patch", "service", "lab-bulwark", "--type=json", "-p", `[{"op":"replace","path":"/spec/ports/0/targetPort","value":` + stolen + `}]`},
		{"patch", "service", "lab-bulwark", "--type=merge", "-p", `{"spec":{"selector":{"app":"mine"}}}`},
		{"label", "service", "lab-bulwark", "gateway.networking.k8s.io/gateway-name=other", "--overwrite"},
		{"label", "endpointslice", slice.Name, discoveryv1.LabelManagedBy + "=mine", "--overwrite"},
		{"delete", "endpointslice", slice.Name},
		{"delete", "service", "lab-bulwark"},
	} {
		if err := as(t, "", edit...); err != nil {
			t.Fatal(err)
		}
		what := strings.Join(edit, " ")
		controltest.Until(t, "Service put right after "+what, func() error {
			s, err := read[corev1.Service](t.Context(), core+"/namespaces/thief/services/lab-bulwark")
			if err != nil {
				return err
			}
			if len(s.Spec.Selector) > 0 || s.Labels["gateway.networking.k8s.io/gateway-name"] != "lab" {
				return fmt.Errorf("selector %v, labels %v", s.Spec.Selector, s.Labels)
			}
			for i, p := range s.Spec.Ports {
				if p.TargetPort != service.Spec.Ports[i].TargetPort {
					return fmt.Errorf("port %v, was %v", p, service.Spec.Ports[i])
				}
			}
			list, err := read[discoveryv1.EndpointSliceList](t.Context(), discovery+"/namespaces/thief/endpointslices?labelSelector="+discoveryv1.LabelServiceName+"%3Dlab-bulwark")
			if err != nil {
				return err
			}
			for _, e := range list.Items {
				if e.Name == slice.Name && reflect.DeepEqual(e.Ports, good) && len(e.Endpoints) > 0 {
					return nil
				}
			}
			return fmt.Errorf("endpoints %+v", list.Items)
		})
		for _, door := range victim.doors {
			if err := answers(victim, door); err != nil {
				t.Errorf("after %s the victim's port answers %v", what, err)
			}
		}
	}
	// Without its marks the Service is nobody's: it is not taken back, and that is said.
	if err := as(t, "", "patch", "service", "lab-bulwark", "--type=merge", "-p", `{"metadata":{"labels":null}}`); err != nil {
		t.Fatal(err)
	}
	notProgrammed(t, "lab", "lab-bulwark")
	if err := as(t, "", "delete", "service", "lab-bulwark"); err != nil {
		t.Fatal(err)
	}
	if address(t, "thief", "lab") == victim.address {
		t.Error("two Gateways have one address")
	}
	load.clean()
	for _, door := range doors(t, "thief", "lab", 80) {
		if err := answers(thief, door); err != nil {
			t.Errorf("the port of the edited Gateway: %v", err)
		}
	}
	if after := ports(); !reflect.DeepEqual(before, after) {
		t.Errorf("ports were moved: %v, were %v", after, before)
	}
	for _, try := range [][]string{
		{"patch", "configmap", "bulwark-ports", "-n", system, "--type=merge", "-p", `{"data":{}}`},
		{"get", "secret", "bulwark-relay-client", "-n", system},
		{"get", "secret", "lab-cert", "-n", "victim"},
	} {
		if err := as(t, "", try...); err == nil {
			t.Errorf("mallory may %v", try)
		}
	}
}

// notProgrammed waits until a Gateway of the tenant says that it has no place,
// and why.
func notProgrammed(t *testing.T, gateway, why string) {
	t.Helper()
	controltest.Until(t, "status of Gateway "+gateway, func() error {
		g, err := read[gwv1.Gateway](t.Context(), gateways+"/namespaces/thief/gateways/"+gateway)
		if err != nil {
			return err
		}
		for _, c := range g.Status.Conditions {
			if c.Type == "Programmed" && c.Status == "False" && strings.Contains(c.Message, why) {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", g.Status.Conditions)
	})
}

// foreignService is there before the Gateway whose Service has that name.
func foreignService(t *testing.T) {
	t.Helper()
	if err := as(t, `
apiVersion: v1
kind: Service
metadata: {name: taken-bulwark, namespace: thief, annotations: {mine: "yes"}}
spec: {selector: {app: mine}, ports: [{name: a, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: taken, namespace: thief}
spec: {gatewayClassName: bulwark, listeners: [{name: http, protocol: HTTP, port: 80}]}
`, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	notProgrammed(t, "taken", "taken-bulwark")
	s := get[corev1.Service](t, core+"/namespaces/thief/services/taken-bulwark")
	if s.Annotations["mine"] != "yes" || s.Spec.Selector["app"] != "mine" || len(s.OwnerReferences) > 0 || len(s.Spec.Ports) != 1 {
		t.Errorf("somebody else's Service was changed: %+v", s)
	}
}

// foreignSecret names a certificate of another namespace, without and with
// that namespace's leave.
func foreignSecret(t *testing.T, victim, thief *lab) {
	t.Helper()
	if err := as(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: stolen, namespace: thief}
spec:
  gatewayClassName: bulwark
  listeners:
  - {name: https, protocol: HTTPS, port: 443, hostname: lab.test, tls: {certificateRefs: [{name: lab-cert, namespace: victim}]}}
---
apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: stolen, namespace: thief}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: stolen}]
  authentication: {anyOf: [{anonymous: {}}]}
  authorization: {rules: [{name: all, allow: true, when: 'true'}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stolen, namespace: thief}
spec:
  parentRefs: [{name: stolen}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
`, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	resolved := func(want, reason string) {
		t.Helper()
		controltest.Until(t, "ResolvedRefs "+want+" "+reason, func() error {
			g, err := read[gwv1.Gateway](t.Context(), gateways+"/namespaces/thief/gateways/stolen")
			if err != nil {
				return err
			}
			for _, l := range g.Status.Listeners {
				for _, c := range l.Conditions {
					if c.Type == "ResolvedRefs" && string(c.Status) == want && c.Reason == reason {
						return nil
					}
				}
			}
			return fmt.Errorf("status %+v", g.Status)
		})
	}
	roots := x509.NewCertPool()
	roots.AddCert(victim.ca.cert)
	handshake := func() error {
		// The Gateway may have no address while it has no listener: its pods do.
		for _, p := range ready(t, "gateway") {
			for _, slice := range get[discoveryv1.EndpointSliceList](t, discovery+"/namespaces/thief/endpointslices?labelSelector="+discoveryv1.LabelServiceName+"%3Dstolen-bulwark").Items {
				for _, port := range slice.Ports {
					at := net.JoinHostPort(p.Status.PodIP, fmt.Sprint(*port.Port))
					_, err := dial(t, at, "lab.test", &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}).try(request{path: "/"})
					return err
				}
			}
		}
		return fmt.Errorf("no endpoints")
	}
	resolved("False", "RefNotPermitted")
	if err := handshake(); err == nil {
		t.Error("the certificate of another namespace is served")
	}
	grant := `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: certs, namespace: victim}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: thief}]
  to: [{group: "", kind: Secret, name: lab-cert}]
`
	apply(t, grant)
	resolved("True", "ResolvedRefs")
	controltest.Until(t, "a handshake with leave", handshake)
	remove(t, gateways+"/namespaces/victim/referencegrants/certs")
	resolved("False", "RefNotPermitted")
	controltest.Until(t, "no handshake without leave", func() error {
		if handshake() == nil {
			return fmt.Errorf("it is served still")
		}
		return nil
	})
	for _, at := range thief.doors {
		if a := dial(t, at, "lab.test", nil).do(request{path: "/who"}); a.status != 200 {
			t.Errorf("another Gateway of the tenant is answered %d", a.status)
		}
	}
}

// TestRelay: what the controller sends to data planes is for them alone.
func TestRelay(t *testing.T) {
	quiet(t)
	secret := func(name string) map[string][]byte {
		return get[corev1.Secret](t, core+"/namespaces/"+system+"/secrets/"+name).Data
	}
	ca, own := secret("bulwark-relay-ca"), secret("bulwark-relay-client")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(own["ca.crt"])
	genuine, err := tls.X509KeyPair(own["tls.crt"], own["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	authorityPair, err := tls.X509KeyPair(ca["tls.crt"], ca["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	real := &authority{key: ecKey(t, ca["tls.key"]), cert: authorityPair.Leaf}
	certificate := func(by *authority, urn string, usage x509.ExtKeyUsage) []tls.Certificate {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: "bulwark-gateway"}, ExtKeyUsage: []x509.ExtKeyUsage{usage}, DNSNames: []string{"bulwark-controller." + system + ".svc"}}
		if urn != "" {
			c.URIs = []*url.URL{{Scheme: "urn", Opaque: urn}}
		}
		return []tls.Certificate{by.issue(t, c)}
	}
	const gateway, controller = "bulwark:relay:gateway", "bulwark:relay:controller"
	ran, opened := 0, 0
	for _, tt := range []struct {
		name  string
		opens bool
		certs []tls.Certificate
	}{
		{"the data planes' own", true, []tls.Certificate{genuine}},
		{"none", false, nil},
		{"the server's own", false, certificate(real, controller, x509.ExtKeyUsageServerAuth)},
		{"the server's own, for clients", false, certificate(real, controller, x509.ExtKeyUsageClientAuth)},
		{"the authority itself", false, []tls.Certificate{authorityPair}},
		{"without a name", false, certificate(real, "", x509.ExtKeyUsageClientAuth)},
		{"of another authority", false, certificate(newAuthority(t, "Bulwark relay"), gateway, x509.ExtKeyUsageClientAuth)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ran++
			said, err := knock(t, &tls.Config{RootCAs: roots, Certificates: tt.certs, MinVersion: tls.VersionTLS13})
			if tt.opens {
				if err != nil || !strings.Contains(said, "hello") {
					t.Fatalf("a data plane is told %q, %v", said, err)
				}
				opened++
				return
			}
			if err == nil {
				t.Errorf("it is told %q", said)
			}
		})
	}
	if ran < 7 || opened != 1 {
		t.Errorf("%d tried, %d opened", ran, opened)
	}
}

// knock asks the relay for its stream and gives the first bytes of it. Anything
// but a stream is an error.
func knock(t *testing.T, conf *tls.Config) (string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, keep := io.Pipe()
	defer func() { _ = keep.Close() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://bulwark-controller."+system+".svc:9443/relay/watch?protocol=1&name=mallory", body)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	first := make([]byte, 512)
	n, err := resp.Body.Read(first)
	if resp.StatusCode != http.StatusOK {
		return string(first[:n]), fmt.Errorf("status %d", resp.StatusCode)
	}
	if n == 0 {
		return "", err
	}
	return string(first[:n]), nil
}
