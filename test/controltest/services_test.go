package controltest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/controltest"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 3
      containers:
      - name: main
        image: bulwark.dev/control/pod:1
        args: [serve]
        readinessProbe: {tcpSocket: {port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp, port: 81, targetPort: 8081}
  - {name: udp, port: 81, targetPort: 8082, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: pods}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
`

func TestServices(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, web)
	controltest.Kubectl(t, "rollout", "status", "deployment/web", "-n", ns)
	field := func(path string) string {
		return controltest.Kubectl(t, "get", "svc", "web", "-n", ns, "-o", "jsonpath="+path)
	}
	var balanced string
	controltest.Until(t, "an address of the load balancer", func() error {
		if balanced = field("{.status.loadBalancer.ingress[0].ip}"); !strings.HasPrefix(balanced, "10.242.") {
			return fmt.Errorf("it is %q", balanced)
		}
		return nil
	})
	addresses := map[string]string{
		"cluster address": field("{.spec.clusterIP}"), "load balancer": balanced, "short name": "web." + ns, "full name": "web." + ns + ".svc.cluster.local",
	}
	for what, addr := range addresses {
		t.Run(what, func(t *testing.T) {
			// That the pods are ready reaches the Deployment and the EndpointSlices, and
			// an address its status and the proxy, in either order.
			controltest.Until(t, "both pods", func() error {
				seen := map[string]bool{}
				for range 20 {
					got, err := get(t, "http://"+addr+"/")
					if err != nil {
						return err
					}
					seen[got] = true
				}
				if len(seen) != 2 {
					return fmt.Errorf("20 requests reached %v", seen)
				}
				return nil
			})
			if got := halfClosed(t, net.JoinHostPort(addr, "81")); !strings.HasPrefix(got, "100000 web-") {
				t.Errorf("the answer after a half-close is %q", got)
			}
			if got := datagram(t, net.JoinHostPort(addr, "81")); !strings.HasSuffix(got, " ping") {
				t.Errorf("the answer to a datagram is %q", got)
			}
		})
	}
	t.Run("node port", func(t *testing.T) {
		if _, err := get(t, "http://10.243.0.1:"+field("{.spec.ports[0].nodePort}")+"/"); err != nil {
			t.Error(err)
		}
	})
	t.Run("from a pod", func(t *testing.T) {
		pod := strings.Fields(controltest.Kubectl(t, "get", "pods", "-n", ns, "-o", "name"))[0]
		for _, name := range []string{"web", "web." + ns, "web." + ns + ".svc", "pods"} {
			if got := inside(t, ns, pod, "lookup", name); got == "" {
				t.Errorf("%s has no address", name)
			}
		}
		if got := inside(t, ns, pod, "fetch", "http://web/"); !strings.HasPrefix(got, "web-") {
			t.Errorf("http://web/ says %q", got)
		}
	})
	t.Run("headless", func(t *testing.T) {
		controltest.Until(t, "both pods' addresses", func() error {
			ips, err := net.DefaultResolver.LookupHost(t.Context(), "pods."+ns+".svc.cluster.local")
			if err == nil && len(ips) != 2 {
				err = fmt.Errorf("they are %v", ips)
			}
			return err
		})
		if _, err := net.DefaultResolver.LookupHost(t.Context(), "absent."+ns+".svc.cluster.local."); err == nil {
			t.Error("a Service that does not exist has an address")
		}
	})
	t.Run("no endpoints", func(t *testing.T) {
		controltest.Kubectl(t, "scale", "deployment/web", "-n", ns, "--replicas=0")
		controltest.Until(t, "connections to be refused", func() error {
			c, err := net.Dial("tcp", net.JoinHostPort(addresses["cluster address"], "80"))
			if err == nil {
				_ = c.Close()
				return errors.New("one was taken")
			}
			return nil
		})
	})
}

// halfClosed sends, ends its sending, and reads the answer.
func halfClosed(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(make([]byte, 100000)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func datagram(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	buf := make([]byte, 1500)
	var n int
	controltest.Until(t, "the answer to a datagram", func() error {
		if _, err := c.Write([]byte("ping")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		n, err = c.Read(buf)
		return err
	})
	return string(buf[:n])
}

func TestLoadBalancerAddresses(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, `
{apiVersion: v1, kind: Service, metadata: {name: asked}, spec: {type: LoadBalancer, loadBalancerIP: 10.242.0.77, ports: [{port: 80}]}}
`)
	address := func(name string) string {
		return controltest.Kubectl(t, "get", "svc", name, "-n", ns, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")
	}
	wait := func(name, want string) {
		t.Helper()
		controltest.Until(t, name+" to have "+want, func() error {
			if got := address(name); got != want {
				return fmt.Errorf("it has %q", got)
			}
			return nil
		})
	}
	wait("asked", "10.242.0.77")
	apply(t, ns, `
{apiVersion: v1, kind: Service, metadata: {name: second}, spec: {type: LoadBalancer, loadBalancerIP: 10.242.0.77, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: foreign}, spec: {type: LoadBalancer, loadBalancerIP: 192.0.2.1, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {type: LoadBalancer, loadBalancerClass: example.test/other, ports: [{port: 80}]}}
`)
	for name, why := range map[string]string{"second": "belongs to Service " + ns + "/asked", "foreign": "is not one of 10.242.0.0/16"} {
		controltest.Until(t, "the event of "+name, func() error {
			got := controltest.Kubectl(t, "get", "events", "-n", ns, "--field-selector", "reason=AddressNotAvailable,involvedObject.name="+name, "-o", "jsonpath={.items[*].message}")
			if !strings.Contains(got, why) {
				return fmt.Errorf("the messages are %q", got)
			}
			return nil
		})
	}
	for _, name := range []string{"second", "foreign", "other"} {
		if got := address(name); got != "" {
			t.Errorf("Service %s was given %s", name, got)
		}
	}
	controltest.Kubectl(t, "delete", "svc", "asked", "-n", ns)
	wait("second", "10.242.0.77")
}

func TestServiceWithoutSelector(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, shell)
	waitReady(t, ns, "pod/one")
	apply(t, ns, fmt.Sprintf(`
{apiVersion: v1, kind: Service, metadata: {name: by-hand}, spec: {type: LoadBalancer, loadBalancerIP: 10.242.0.78, ports: [{name: http, port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-1, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [%s]}]
`, inside(t, ns, "one", "env", "IP")))
	controltest.Until(t, "the Service to answer", func() error {
		got, err := get(t, "http://10.242.0.78/")
		if err == nil && got != "one" {
			err = fmt.Errorf("it says %q", got)
		}
		return err
	})
}
