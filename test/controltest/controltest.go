// Package controltest runs a package's tests inside a cluster of their own: a
// real control plane, one node, Services, load balancer and DNS, in namespaces
// that nothing outside sees (test/control). A package asks for it in TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(controltest.Main(m, controltest.Options{})) }
//
// Its tests then reach pods, Services and the API server by their addresses and
// names, and the same fixed ports are free in every cluster. Where namespaces
// cannot be made the run fails: it never skips.
package controltest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Options says what the cluster is to have.
type Options struct {
	// Images maps image prefixes to static binaries or root directories, beside
	// bulwark.dev/control/pod, which is always there.
	Images map[string]string
	// Flags gives more flags of "control run", and may write files for them into
	// dir, which is DataDir for the tests. It runs outside the cluster.
	Flags func(dir string) ([]string, error)
}

// The variables that the inner run finds: the last three are control's own.
const (
	insideVariable = "CONTROLTEST_INSIDE"
	dataVariable   = "CONTROL_DATA_DIR"
	binVariable    = "CONTROL_BIN"
	configVariable = "KUBECONFIG"
)

// Main runs m's tests inside a new cluster and gives the exit status. Called
// outside, it builds the control program when needed (minutes, once for each
// version) and runs this test binary again, with its own arguments, inside.
func Main(m *testing.M, o Options) int {
	flag.Parse()
	if os.Getenv(insideVariable) != "" || flag.Lookup("test.list").Value.String() != "" {
		return m.Run()
	}
	status, err := outside(o)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "controltest:", err)
		return max(status, 1)
	}
	return status
}

func outside(o Options) (status int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	bin, err := Build(ctx)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "controltest-")
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args := []string{"run", "--data-dir", dir}
	for prefix, path := range o.Images {
		args = append(args, "--image", prefix+"="+path)
	}
	if o.Flags != nil {
		more, err := o.Flags(dir)
		if err != nil {
			return 0, fmt.Errorf("flags of the cluster: %w", err)
		}
		args = append(args, more...)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("own path: %w", err)
	}
	cmd := exec.Command(bin, append(append(args, "--", self), os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The cluster ends with this process, also when go test kills it for its time.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start cluster: %w", err)
	}
	unhook := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer unhook()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil // it has said why
	}
	if err != nil {
		return 1, fmt.Errorf("cluster: %w", err)
	}
	return 0, nil
}

// Build gives the path of the control program, building it when it is not in
// the cache. kubectl and the pods' test program lie beside it.
func Build(ctx context.Context) (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find test/control: %w", err)
	}
	script := ""
	for dir := at; script == ""; dir = filepath.Dir(dir) {
		for _, s := range []string{"control/build", "test/control/build"} {
			if _, err := os.Stat(filepath.Join(dir, s)); err == nil {
				script = filepath.Join(dir, s)
			}
		}
		if script == "" && dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no control/build in %s or above", at)
		}
	}
	var stdout bytes.Buffer
	cmd := exec.CommandContext(ctx, script)
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build the control plane by %s: %w", script, err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// variable gives what control told the inner run; outside there is none.
func variable(name string) string {
	v := os.Getenv(name)
	if v == "" {
		panic("controltest: " + name + " is not set: the tests do not run inside a cluster; call controltest.Main in TestMain")
	}
	return v
}

// Kubeconfig gives the path of a kubeconfig with every right.
func Kubeconfig() string { return variable(configVariable) }

// DataDir gives the cluster's directory: audit.log, logs of the components, and
// what Options.Flags wrote.
func DataDir() string { return variable(dataVariable) }

// Bin gives the path of the control program.
func Bin() string { return variable(binVariable) }

// Kubectl runs kubectl and gives what it printed; the test fails when it fails.
func Kubectl(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := TryKubectl(tb.Context(), nil, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TryKubectl runs kubectl with stdin (nil for none) and gives what it printed.
// The error has the command and its standard error, and wraps an *exec.ExitError.
func TryKubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := Command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// Command gives a kubectl that has not started.
func Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, Bin(), append([]string{"kubectl"}, args...)...)
}

// Apply applies YAML documents, and deletes the objects when the test ends.
func Apply(tb testing.TB, yaml string) {
	tb.Helper()
	if _, err := TryKubectl(tb.Context(), strings.NewReader(yaml), "apply", "-f", "-"); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_, err := TryKubectl(context.Background(), strings.NewReader(yaml),
			"delete", "--ignore-not-found", "--wait=false", "-f", "-")
		if err != nil {
			tb.Errorf("clean up: %v", err)
		}
	})
}

// Until calls try until it gives nil. There is no limit but that of the whole
// run: a slow machine is no failure. What it waits for is logged now and then.
func Until(tb testing.TB, what string, try func() error) {
	tb.Helper()
	const remind = 10 * time.Second
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for said := time.Now(); ; {
		err := try()
		if err == nil {
			return
		}
		if time.Since(said) > remind {
			said = time.Now()
			tb.Logf("still waiting for %s: %v", what, err)
		}
		select {
		case <-tb.Context().Done():
			tb.Fatalf("gave up waiting for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

// APIServer is the cluster's kube-apiserver, a process of its own: it can go
// away while pods, Services and etcd go on.
type APIServer struct{ tb testing.TB }

// API gives the API server to stop and start. When the test ends it runs again.
func API(tb testing.TB) APIServer {
	tb.Helper()
	a := APIServer{tb}
	tb.Cleanup(func() {
		if err := a.order(context.Background(), "start"); err != nil {
			tb.Errorf("clean up: %v", err)
		}
	})
	return a
}

// Stop ends it and returns when it is gone.
func (a APIServer) Stop() { a.tb.Helper(); a.must("stop") }

// Kill ends it as a crash would.
func (a APIServer) Kill() { a.tb.Helper(); a.must("stop", "--kill") }

// Start starts it, over the same data, and returns when it serves.
func (a APIServer) Start() { a.tb.Helper(); a.must("start") }

func (a APIServer) must(args ...string) {
	a.tb.Helper()
	if err := a.order(a.tb.Context(), args...); err != nil {
		a.tb.Fatal(err)
	}
}

func (a APIServer) order(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, Bin(), append([]string{"apiserver"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("control apiserver %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
