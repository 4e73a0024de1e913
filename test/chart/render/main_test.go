package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("unprotected: allow\ncontroller: {replicas: 4}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		args           []string
		stdout, stderr string // a part of each
		fails          string
	}{
		{nil, "namespace: bulwark-system\n", "", ""},
		{[]string{"-n", "edge", "-create-namespace"}, "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: edge\n", "", ""},
		{[]string{"-f", values}, "replicas: 4\n", "", ""},
		{[]string{"-f", values, "-set", "controller.replicas=5"}, "replicas: 5\n", "", ""},
		{[]string{"-f", values, "-notes"}, "kind: GatewayClass\n", "WARNING: routes that no SecurityPolicy covers are open", ""},
		{[]string{"-set", "nope=1"}, "", "", "'nope' not allowed"},
		{[]string{"-f", "no-such-file.yaml"}, "", "", "no-such-file.yaml"},
		{[]string{"-chart", t.TempDir()}, "", "", "load chart"},
		{[]string{"apply"}, "", "", `unexpected argument "apply"`},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := run(c.args, &stdout, &stderr)
			switch {
			case c.fails == "" && err != nil:
				t.Fatal(err)
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
				t.Errorf("error %v, want one with %q", err, c.fails)
			case c.fails != "" && stdout.Len() > 0:
				t.Errorf("half an output: %.80q", stdout.String())
			}
			if !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("standard output lacks %q, or standard error %q", c.stdout, c.stderr)
			}
		})
	}
}
