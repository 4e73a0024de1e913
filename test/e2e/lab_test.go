package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"testing"
)

// lab is a namespace with a Gateway, and a backend of the test's own behind it.
type lab struct {
	t       *testing.T
	ns      string
	backend *backend
	ca      *authority // of the https listener
	address string     // of the load balancer
	doors   []string   // of each gateway pod, for the http listener
}

// newLab makes a namespace with a Gateway "lab" that listens on 80 and, as
// lab.test, on 443.
func newLab(t *testing.T, ns string) *lab {
	t.Helper()
	namespace(t, ns)
	l := &lab{t: t, ns: ns, backend: newBackend(t), ca: newAuthority(t, "lab")}
	apply(t, l.backend.service(ns)+tlsSecret(t, ns, "lab-cert", l.ca.issue(t, &x509.Certificate{DNSNames: []string{"lab.test"}}))+fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: lab, namespace: %s}
spec:
  gatewayClassName: bulwark
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: https, protocol: HTTPS, port: 443, hostname: lab.test, tls: {certificateRefs: [{name: lab-cert}]}}
`, ns))
	l.address = address(t, ns, "lab")
	l.doors = doors(t, ns, "lab", 80)
	return l
}

// plain calls the http listener through the load balancer.
func (l *lab) plain() *client { return dial(l.t, net.JoinHostPort(l.address, "80"), "lab.test", nil) }

// pod calls the http listener of one gateway pod. Limits count in each pod.
func (l *lab) pod() *client { return dial(l.t, l.doors[0], "lab.test", nil) }

// secure calls the https listener, with a client certificate or without.
func (l *lab) secure(certs ...tls.Certificate) *client {
	roots := x509.NewCertPool()
	roots.AddCert(l.ca.cert)
	return dial(l.t, net.JoinHostPort(l.address, "443"), "lab.test", &tls.Config{RootCAs: roots, Certificates: certs, MinVersion: tls.VersionTLS12})
}
