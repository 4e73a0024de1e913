package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/app"
)

// TestEndlessChart ends a scan while the template of a chart runs, which has no end
// that anyone would live to see.
func TestEndlessChart(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("bulwark")
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string]string{
		"c/Chart.yaml":       "apiVersion: v2\nname: c\nversion: 0.1.0\n",
		"c/templates/a.yaml": strings.Repeat("{{ range until 1000000 }}", 5) + strings.Repeat("{{ end }}", 5),
	})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel) // by then it runs; before that, the end is the same
	var out, bad bytes.Buffer
	code := app.Main([]string{"scan", filepath.Join(dir, "c")}, app.Env{
		Context: ctx, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &bad, Now: time.Now, Random: rand.Uint64, Program: program,
	})
	if code != 2 || out.Len() > 0 || !strings.Contains(bad.String(), "canceled") {
		t.Errorf("code %d, %s%s", code, &out, &bad)
	}
}
