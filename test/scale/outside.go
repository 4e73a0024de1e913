package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// The variables of the inner run. The last two are those of test/control.
const (
	insideVariable = "SCALE_INSIDE" // the folder with Bulwark's manifest
	binVariable    = "CONTROL_BIN"
	configVariable = "KUBECONFIG"
)

// within reports whether this process runs inside the cluster's namespaces.
func within() bool { return os.Getenv(insideVariable) != "" }

// outside builds what is measured, starts a cluster and runs this program again
// in it, with the same arguments. It gives the inner run's exit status.
func outside(controllers int, args []string) (status int, err error) {
	root, err := repository()
	if err != nil {
		return 0, err
	}
	control, err := output(root, "test/control/build")
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "scale-")
	if err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := install(root, dir, controllers); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("own path: %w", err)
	}
	// go run and go test end with their terminal's signal, and so must the cluster.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	cmd := exec.Command(strings.TrimSpace(control), append([]string{
		"run", "--data-dir", filepath.Join(dir, "cluster"),
		"--image", "bulwark.dev/bulwark=" + filepath.Join(dir, "bulwark"), "--", self,
	}, args...)...)
	cmd.Env = append(os.Environ(), insideVariable+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal above is sent when this thread ends
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start cluster: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case <-ended:
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil // it has said why
	}
	if err != nil {
		return exitMissed, fmt.Errorf("cluster: %w", err)
	}
	return exitFine, nil
}

// repository finds the root of the source tree, here or above.
func repository() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	for dir := at; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test/control/build")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the source tree: no test/control/build in %s or above", at)
		}
	}
}

// output runs a program of the source tree and gives what it printed.
func output(dir, name string, args ...string) (string, error) {
	if strings.Contains(name, "/") {
		name = filepath.Join(dir, name)
	}
	var stdout bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return stdout.String(), nil
}

// install builds Bulwark into dir and renders its chart beside it: as shipped,
// but for what a cluster of one node without a metrics server needs, and with
// profiles served.
func install(root, dir string, controllers int) error {
	if _, err := output(root, "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "bulwark"), "./cmd/bulwark"); err != nil {
		return err
	}
	manifest, err := output(filepath.Join(root, "test/chart"), "go", "run", "./render", "-n", "bulwark-system", "-create-namespace",
		"-set", "gateway.autoscaling.enabled=false", "-set", "gateway.replicas=1", "-set", "gateway.preStopSeconds=0",
		"-set", fmt.Sprintf("controller.replicas=%d", controllers))
	if err != nil {
		return err
	}
	const admin = "- --admin=:9400\n"
	if n := strings.Count(manifest, admin); n != 2 {
		return fmt.Errorf("manifest of the chart: %d containers have an admin address, not 2", n)
	}
	lines := strings.SplitAfter(manifest, "\n")
	for i, l := range lines {
		if indent, ok := strings.CutSuffix(l, admin); ok {
			lines[i] += indent + "- --pprof\n"
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bulwark.yaml"), []byte(strings.Join(lines, "")), 0o644); err != nil {
		return fmt.Errorf("manifest of the chart: %w", err)
	}
	return nil
}
