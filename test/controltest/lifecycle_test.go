package controltest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/controltest"
)

func TestProbes(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, `
apiVersion: v1
kind: Pod
metadata: {name: probed, labels: {app: probed}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: bulwark.dev/control/pod:1
    args: [serve]
    startupProbe: {exec: {command: [/entrypoint, fetch, "http://127.0.0.1:8080/health"]}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1, failureThreshold: 3}
`)
	waitReady(t, ns, "pod/probed")
	ip := controltest.Kubectl(t, "get", "pod", "probed", "-n", ns, "-o", "jsonpath={.status.podIP}")
	field := func(path string) string {
		return controltest.Kubectl(t, "get", "pod", "probed", "-n", ns, "-o", "jsonpath={.status.containerStatuses[0]."+path+"}")
	}
	if _, err := controltest.TryKubectl(t.Context(), nil, "exec", "-n", ns, "probed", "--", "/entrypoint", "post", "http://"+ip+":8080/sick"); err != nil {
		t.Fatal(err)
	}
	controltest.Until(t, "readiness to be lost", func() error {
		if field("ready") != "false" {
			return errors.New("it is ready")
		}
		return nil
	})
	controltest.Until(t, "the container to be started anew and ready", func() error {
		if n, ready := field("restartCount"), field("ready"); n != "1" || ready != "true" {
			return fmt.Errorf("restarts %s, ready %s", n, ready)
		}
		return nil
	})
	if out := controltest.Kubectl(t, "get", "events", "-n", ns, "--field-selector", "reason=Unhealthy", "-o", "jsonpath={.items[*].message}"); !strings.Contains(out, "liveness probe") {
		t.Errorf("the events say %q", out)
	}
	if out := controltest.Kubectl(t, "logs", "-n", ns, "probed", "--previous"); !strings.Contains(out, "serving as probed") {
		t.Errorf("the log of the run before is %q", out)
	}
}

func TestEndOfPods(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, `
apiVersion: v1
kind: Pod
metadata: {name: failing}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: bulwark.dev/control/pod:1, args: [echo, from init]}
  containers:
  - {name: main, image: bulwark.dev/control/pod:1, args: [exit, "3"]}
  - {name: words, image: bulwark.dev/control/pod:1, args: [file, "+/dev/termination-log"]}
---
apiVersion: v1
kind: Pod
metadata: {name: absent}
spec: {containers: [{name: main, image: example.test/absent}]}
---
apiVersion: v1
kind: Pod
metadata: {name: draining}
spec:
  terminationGracePeriodSeconds: 30
  containers:
  - name: main
    image: bulwark.dev/control/pod:1
    args: [serve, --drain, 1s]
    lifecycle: {preStop: {sleep: {seconds: 1}}}
---
apiVersion: v1
kind: Pod
metadata: {name: stubborn}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: bulwark.dev/control/pod:1, args: [serve, --drain, 1h]}]
`)
	get := func(pod, path string) string {
		return controltest.Kubectl(t, "get", "pod", pod, "-n", ns, "-o", "jsonpath="+path)
	}
	until := func(pod, path, want string) {
		t.Helper()
		controltest.Until(t, pod+" "+path+" to be "+want, func() error {
			if got := get(pod, path); got != want {
				return fmt.Errorf("it is %q", got)
			}
			return nil
		})
	}
	until("failing", "{.status.phase}", "Failed")
	until("failing", `{.status.containerStatuses[?(@.name=="main")].state.terminated.exitCode}`, "3")
	until("failing", `{.status.containerStatuses[?(@.name=="words")].state.terminated.message}`, "pod")
	if got := controltest.Kubectl(t, "logs", "-n", ns, "failing", "-c", "first"); got != "from init\n" {
		t.Errorf("the init container's log is %q", got)
	}
	until("absent", "{.status.containerStatuses[0].state.waiting.reason}", "ErrImageNeverPull")
	for pod, least := range map[string]time.Duration{"draining": 2 * time.Second, "stubborn": time.Second} {
		waitReady(t, ns, "pod/"+pod)
		begun := time.Now()
		controltest.Kubectl(t, "delete", "pod", pod, "-n", ns)
		if took := time.Since(begun); took < least {
			t.Errorf("%s ended after %v, want at least %v", pod, took, least)
		}
	}
}

func TestAPIServerGoesAway(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, web)
	controltest.Kubectl(t, "rollout", "status", "deployment/web", "-n", ns)
	serves := func() {
		t.Helper()
		for range 10 {
			if _, err := get(t, "http://web."+ns+"/"); err != nil {
				t.Error(err)
			}
		}
	}
	api := controltest.API(t)
	for _, end := range []func(){api.Stop, api.Kill} {
		end()
		if out, err := controltest.TryKubectl(t.Context(), nil, "get", "ns"); err == nil {
			t.Errorf("the API server answers: %s", out)
		}
		serves()
		api.Start()
		serves()
		controltest.Kubectl(t, "get", "deployment", "web", "-n", ns)
	}
	controltest.Kubectl(t, "scale", "deployment/web", "-n", ns, "--replicas=3")
	controltest.Kubectl(t, "rollout", "status", "deployment/web", "-n", ns)
}
