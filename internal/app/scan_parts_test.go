package app

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestScanParts scans two overlays of one base, of which one accepts what it has: the
// other fails all the same, and is the one that --fix repairs.
func TestScanParts(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"base/pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec:\n  containers:\n" +
			"  - name: web\n    image: web\n    securityContext: {privileged: true}\n",
		"base/kustomization.yaml": "resources: [pod.yaml]\n",
		"dev/kustomization.yaml": "resources: [../base]\n" +
			"commonAnnotations:\n  bulwark.dev/except.container-privileged: team-a; until 2999-01-31; only in development\n",
		"prod/kustomization.yaml": "resources: [../base]\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scan := func(args ...string) (int, string) {
		var out, bad bytes.Buffer
		code := Main(append([]string{"scan", "--control", "container-privileged"}, args...), Env{
			Context: context.Background(), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &bad, Now: time.Now, Random: func() uint64 { return 1 },
		})
		return code, out.String() + bad.String()
	}
	for _, tt := range []struct {
		paths string
		code  int
	}{{"dev", exitOK}, {"prod", exitFailed}, {"dev prod", exitFailed}, {"prod dev", exitFailed}} {
		if code, out := scan(strings.Fields(tt.paths)...); code != tt.code {
			t.Errorf("%s: ended with %d, want %d: %s", tt.paths, code, tt.code, out)
		}
	}
	if _, out := scan("dev", "prod", "--fix=diff"); !strings.Contains(out, "prod/bulwark-fix-pod-web.yaml") || strings.Contains(out, "dev/bulwark-fix") {
		t.Errorf("the patch: %s", out)
	}
}
