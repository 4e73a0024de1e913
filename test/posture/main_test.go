package posture

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"bulwark.dev/bulwark/test/controltest"
)

func TestMain(m *testing.M) { os.Exit(controltest.Main(m, controltest.Options{Flags: prepare})) }

// prepare builds Bulwark into dir, outside the cluster.
func prepare(dir string) ([]string, error) {
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "bulwark"), "./cmd/bulwark")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build Bulwark: %w\n%s", err, out)
	}
	return nil, nil
}

// bulwark gives a command of the program under test.
func bulwark(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(controltest.DataDir(), "bulwark"), args...)
}

// admin is a connection with every right.
func admin(t *testing.T) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", controltest.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	return cfg
}
