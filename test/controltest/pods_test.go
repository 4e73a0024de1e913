package controltest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"bulwark.dev/bulwark/test/controltest"
)

// namespace makes one for the test; deleting it ends everything in it.
func namespace(t *testing.T) string {
	t.Helper()
	name := strings.NewReplacer("/", "-", "_", "-").Replace(strings.ToLower(t.Name()))
	controltest.Apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+"}}")
	controltest.Until(t, "its default ServiceAccount", func() error {
		_, err := controltest.TryKubectl(t.Context(), nil, "get", "sa", "default", "-n", name)
		return err
	})
	return name
}

// apply applies YAML to the namespace; the namespace's end deletes it.
func apply(t *testing.T, ns, yaml string) {
	t.Helper()
	if _, err := controltest.TryKubectl(t.Context(), strings.NewReader(yaml), "apply", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

func waitReady(t *testing.T, ns, what string) {
	t.Helper()
	controltest.Until(t, what+" to be ready", func() error {
		_, err := controltest.TryKubectl(t.Context(), nil, "wait", "--for=condition=Ready", "--timeout=5s", "-n", ns, what)
		return err
	})
}

// inside runs the pods' program in a pod and gives what it printed.
func inside(t *testing.T, ns, pod string, command ...string) string {
	t.Helper()
	out := controltest.Kubectl(t, append([]string{"exec", "-n", ns, pod, "--", "/entrypoint"}, command...)...)
	return strings.TrimSpace(out)
}

func get(t *testing.T, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	return string(b), err
}

const shell = `
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}, annotations: {note: hello}}
spec:
  securityContext: {runAsNonRoot: true}
  containers:
  - name: main
    image: bulwark.dev/control/pod:1
    command: [/pod]
    args: [serve, --http, ":$(PORT)"]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /health, port: http}}
    securityContext: {readOnlyRootFilesystem: true}
    env:
    - {name: PORT, value: "8080"}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: SECRET, valueFrom: {secretKeyRef: {name: things, key: word}}}
    - {name: NOTHING, valueFrom: {configMapKeyRef: {name: absent, key: x, optional: true}}}
    resources: {limits: {cpu: 1500m}}
    volumeMounts:
    - {name: scratch, mountPath: /scratch}
    - {name: things, mountPath: /things}
    - {name: token, mountPath: /token}
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: things, secret: {secretName: things}}
  - name: token
    projected: {sources: [{serviceAccountToken: {audience: elsewhere, path: jwt}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: things}
stringData: {word: first}
`

func TestPod(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, shell)
	waitReady(t, ns, "pod/one")
	ip := inside(t, ns, "one", "env", "IP")
	if got, err := get(t, "http://"+ip+":8080/"); err != nil || got != "one" {
		t.Errorf("the pod's address says %q, %v", got, err)
	}
	for name, want := range map[string]string{
		"NOTE": "hello", "CPUS": "2", "SECRET": "first", "NOTHING": "", "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443",
	} {
		if got := inside(t, ns, "one", "env", name); got != want {
			t.Errorf("$%s is %q, want %q", name, got, want)
		}
	}
	if got := inside(t, ns, "one", "file", "+/scratch/x"); got != "written" {
		t.Errorf("emptyDir: %q", got)
	}
	for _, path := range []string{"/x", "/things/x", "/tmp/x", "/entrypoint"} {
		if _, err := controltest.TryKubectl(t.Context(), nil, "exec", "-n", ns, "one", "--", "/pod", "file", "+"+path); err == nil {
			t.Errorf("%s could be written", path)
		}
	}
	t.Run("user", func(t *testing.T) {
		want := "65532:65532"
		if !root() {
			want = "0:0" // of a user namespace that maps one user
		}
		if got := inside(t, ns, "one", "id"); got != want {
			t.Errorf("the pod runs as %s, want %s", got, want)
		}
	})
	t.Run("token", func(t *testing.T) {
		token := inside(t, ns, "one", "file", "/var/run/secrets/kubernetes.io/serviceaccount/token")
		who := "system:serviceaccount:" + ns + ":default"
		if out := controltest.Kubectl(t, "--kubeconfig", anonymous(t), "--token", token, "auth", "whoami"); !strings.Contains(out, who) {
			t.Errorf("the pod's token is not %s: %s", who, out)
		}
		other := inside(t, ns, "one", "file", "/token/jwt")
		if out, err := controltest.TryKubectl(t.Context(), nil, "--kubeconfig", anonymous(t), "--token", other, "auth", "whoami"); err == nil {
			t.Errorf("a token for another audience was taken: %s", out)
		}
	})
	t.Run("volume follows its secret", func(t *testing.T) {
		controltest.Kubectl(t, "patch", "secret", "things", "-n", ns, "-p", `{"stringData":{"word":"second","more":"x"}}`)
		controltest.Until(t, "the new content", func() error {
			if got := inside(t, ns, "one", "file", "/things/word"); got != "second" {
				return fmt.Errorf("it is %q", got)
			}
			return nil
		})
		if got := inside(t, ns, "one", "file", "/things/more"); got != "x" {
			t.Errorf("the new key has %q", got)
		}
	})
}

// anonymous gives a kubeconfig without credentials.
func anonymous(t *testing.T) string {
	t.Helper()
	out := controltest.Kubectl(t, "config", "view", "--raw", "--minify", "-o",
		`jsonpath={.clusters[0].cluster.certificate-authority-data}`)
	path := t.TempDir() + "/config"
	text := `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c"}}],` +
		`"clusters":[{"name":"c","cluster":{"server":"https://10.243.0.1:6443","certificate-authority-data":"` + out + `"}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// root tells whether the cluster was started by root: its user namespace maps
// everyone then.
func root() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && len(strings.Fields(string(b))) == 3 && strings.Fields(string(b))[2] != "1"
}

func TestExec(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, shell)
	waitReady(t, ns, "pod/one")
	big := strings.Repeat("0123456789abcdef", 1<<15)
	out, err := controltest.TryKubectl(t.Context(), strings.NewReader(big), "exec", "-i", "-n", ns, "one", "--", "/entrypoint", "cat")
	if err != nil || out != big {
		t.Errorf("half a MiB through cat came back as %d bytes, %v", len(out), err)
	}
	_, err = controltest.TryKubectl(t.Context(), nil, "exec", "-n", ns, "one", "--", "/entrypoint", "exit", "7")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit 7 ended with %v", err)
	}
	if _, err := controltest.TryKubectl(t.Context(), nil, "exec", "-n", ns, "one", "--", "/bin/absent"); err == nil || !strings.Contains(err.Error(), "no such program") {
		t.Errorf("an absent program: %v", err)
	}
	if _, err := controltest.TryKubectl(t.Context(), nil, "exec", "-n", ns, "one", "-c", "absent", "--", "/pod", "id"); err == nil {
		t.Error("an absent container was entered")
	}
	t.Run("terminal", func(t *testing.T) {
		// The size comes in a stream of its own, maybe after the program has looked.
		controltest.Until(t, "the terminal's size", func() error {
			tty := openTerminal(t, 33, 77)
			cmd := controltest.Command(t.Context(), "exec", "-it", "-n", ns, "one", "--", "/entrypoint", "size")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tty.far, tty.far, tty.far
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, tty.printed())
			}
			if got := tty.printed(); !strings.Contains(got, "33x77") {
				return fmt.Errorf("inside it is %q", got)
			}
			return nil
		})
	})
	t.Run("port-forward", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cmd := controltest.Command(ctx, "port-forward", "-n", ns, "pod/one", "18080:8080", "--address", "127.0.0.1")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil { // it listens now
			t.Fatal(err)
		}
		for range 3 {
			if got, err := get(t, "http://127.0.0.1:18080/"); err != nil || got != "one" {
				t.Errorf("through the forwarded port: %q, %v", got, err)
			}
		}
		cancel()
		_ = cmd.Wait() // killed
	})
}

func TestAttachAndLogs(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, `
apiVersion: v1
kind: Pod
metadata: {name: cat}
spec:
  restartPolicy: Never
  containers: [{name: main, image: bulwark.dev/control/pod:1, args: [cat], stdin: true, stdinOnce: true}]
`)
	waitReady(t, ns, "pod/cat")
	follow := controltest.Command(t.Context(), "logs", "-f", "-n", ns, "cat")
	followed := make(chan string, 1)
	go func() {
		out, err := follow.Output()
		followed <- fmt.Sprint(string(out), err)
	}()
	in, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, "a\nb\nc\n")
		_ = w.Close()
	}()
	out, err := controltest.TryKubectl(t.Context(), in, "attach", "-i", "-n", ns, "cat")
	if err != nil || !strings.Contains(out, "a\nb\nc\n") {
		t.Errorf("attached to cat: %q, %v", out, err)
	}
	controltest.Until(t, "the pod to succeed", func() error {
		if p := controltest.Kubectl(t, "get", "pod", "cat", "-n", ns, "-o", "jsonpath={.status.phase}"); p != "Succeeded" {
			return errors.New(p)
		}
		return nil
	})
	if got := <-followed; got != "a\nb\nc\n<nil>" {
		t.Errorf("logs -f: %q", got)
	}
	for want, args := range map[string][]string{
		"a\nb\nc\n": nil, "c\n": {"--tail=1"}, "": {"--tail=0"}, "a\nb": {"--limit-bytes=3"},
	} {
		if got := controltest.Kubectl(t, append([]string{"logs", "-n", ns, "cat"}, args...)...); got != want {
			t.Errorf("logs %v: %q, want %q", args, got, want)
		}
	}
	stamped := controltest.Kubectl(t, "logs", "-n", ns, "cat", "--timestamps", "--since=1h")
	if lines := strings.Split(stamped, "\n"); len(lines) != 4 || !strings.HasSuffix(lines[2], "Z c") {
		t.Errorf("logs with times: %q", stamped)
	}
}
