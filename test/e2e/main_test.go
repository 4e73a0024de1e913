package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bulwark.dev/bulwark/test/controltest"
)

const (
	system = "bulwark-system" // Bulwark's namespace
	node   = "10.243.0.1"     // the node's address, where the tests' own servers listen
	// controllerName is what the chart's GatewayClass names.
	controllerName = "bulwark.dev/gateway"
)

// values is how the chart is installed: as shipped, but for what a cluster of
// one node needs.
const values = `
controller: {replicas: 2}
gateway:
  replicas: 2
  preStopSeconds: 2
  drainSeconds: 10
  autoscaling: {enabled: false}
`

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// Set by control, so only inside the cluster.
	if os.Getenv("CONTROL_DATA_DIR") != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if err := install(ctx); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "e2e: install Bulwark:", err)
			return 1
		}
	}
	return controltest.Main(m, controltest.Options{Flags: prepare})
}

// prepare builds Bulwark and renders its chart into dir, outside the cluster.
func prepare(dir string) ([]string, error) {
	bin, file := filepath.Join(dir, "bulwark"), filepath.Join(dir, "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/bulwark")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build Bulwark: %w\n%s", err, out)
	}
	manifest, err := render("-n", system, "-f", file)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(manifestFile(dir), manifest, 0o600); err != nil {
		return nil, err
	}
	flags, err := prepareTrail(dir, file)
	if err != nil {
		return nil, err
	}
	// Without WatchList, as in older versions of Kubernetes, kinds are listed
	// before they are watched, so that both permissions are put to use. All other
	// clusters of these tests have it.
	return append(flags, "--audit-log", "--apiserver-arg=--feature-gates=WatchList=false", "--image", "bulwark.dev/bulwark="+bin), nil
}

// render gives the objects of a chart.
func render(args ...string) ([]byte, error) {
	cmd := exec.Command("go", append([]string{"run", "./render"}, args...)...)
	cmd.Dir, cmd.Env = "../chart", append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	manifest, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("render chart: %w", err)
	}
	return manifest, nil
}

func manifestFile(dir string) string { return filepath.Join(dir, "bulwark.yaml") }

// bulwark gives a command of the program under test.
func bulwark(ctx context.Context, args ...string) *exec.Cmd {
	return bulwarkIn(ctx, controltest.DataDir(), args...)
}

// bulwarkIn is bulwark where prepare has put it.
func bulwarkIn(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(dir, "bulwark"), args...)
}

// install is what a user does to get Bulwark, and the shop.
func install(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "../dev/install", "standard", manifestFile(controltest.DataDir()))
	cmd.Env = append(os.Environ(), "CONTROL="+controltest.Bin())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	if _, err := controltest.TryKubectl(ctx, nil, "apply", "-f", "../../examples/kubernetes"); err != nil {
		return err
	}
	_, err := controltest.TryKubectl(ctx, nil, "rollout", "status", "deployment", "-n", "shop")
	return err
}
