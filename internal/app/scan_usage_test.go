package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// scanIn runs a scan in this process, in the current folder.
func scanIn(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, bad bytes.Buffer
	code = Main(append([]string{"scan"}, args...), Env{
		Context: ctx, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &bad, Now: time.Now, Random: func() uint64 { return 1 },
	})
	return code, out.String(), bad.String()
}

// unpack writes the files of an archive into a new folder and goes there.
func unpack(t *testing.T, archive string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range txtar.Parse([]byte(archive)).Files {
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What cannot be meant ends with code 2, says why, and writes nothing.
func TestScanUsage(t *testing.T) {
	unpack(t, usageFiles)
	for args, want := range map[string]string{
		"--severity awful":                             `--severity: "awful" is no severity`,
		"--fail-on sometimes":                          `--fail-on: "sometimes" is no severity.*, or never`,
		"-o yaml --output-file out":                    `--output "yaml": expected one of`,
		"nowhere --output-file out":                    `nowhere`,
		"ok.yaml nowhere --output-file out":            `nowhere`,
		"--framework cis-9":                            `--framework "cis-9": expected one of .*cis-2.0.1`,
		"--control privileged":                         `--control "privileged": there is no such control; do you mean .*container-privileged`,
		"--control zzz":                                `docs/reference/controls.md`,
		"ok.yaml --kubeconfig kube":                    `expected one of them`,
		"--kubeconfig nowhere":                         `nowhere`,
		"--kubeconfig kube --output-file out":          `read the cluster`,
		"--kubeconfig kube --context other":            `other`,
		"--kubernetes-version one":                     `write it as 1.34`,
		"ok.yaml -f values.yaml":                       `no PATH is one`,
		"ok.yaml --controls nowhere":                   `--controls nowhere`,
		"ok.yaml --controls empty":                     `no control in it`,
		"ok.yaml --controls broken":                    `broken|check`,
		"ok.yaml --controls twice":                     `two controls named "container-privileged"`,
		"ok.yaml --parameters p1.yaml":                 `no control "no-such-control"`,
		"ok.yaml --parameters p2.yaml":                 `there is no parameter "x"`,
		"ok.yaml --parameters p3.yaml":                 `paramz`,
		"ok.yaml --baseline ok.yaml":                   `--baseline ok.yaml: not a baseline`,
		"ok.yaml --baseline nowhere --output-file out": `--baseline: open nowhere`,
		"ok.yaml --exceptions ok.yaml":                 `ok.yaml:1: not a PostureException|ok.yaml:1: is a ConfigMap`,
		"ok.yaml --output-file no/such/folder":         `no/such/folder`,
		"- --fix":                                      `standard input is none`,
		"ok.yaml --fix=all":                            `expected --fix or --fix=diff`,
		"- -":                                          `"-" was given twice`,
		"chart -f nowhere --output-file out":           `nowhere`,
		"chart --set x=1,hunter2 --output-file out":    `values set by hand: "x"`,
	} {
		code, stdout, stderr := scanIn(t.Context(), strings.Fields(args)...)
		if code != 2 || !regexp.MustCompile(want).MatchString(stderr) || stdout != "" {
			t.Errorf("%s: code %d, %s%s", args, code, stdout, stderr)
		}
		if strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: %s", args, stderr)
		}
		if _, err := os.Stat("out"); err == nil {
			t.Fatalf("%s writes a file", args)
		}
	}
}

const usageFiles = `
-- ok.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
-- kube --
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
current-context: c
-- chart/Chart.yaml --
apiVersion: v2
name: c
version: 0.1.0
-- empty/readme --
-- broken/broken.yaml --
id: broken
title: Broken
-- twice/container-privileged.yaml --
id: container-privileged
title: Twice
severity: low
category: own
why: Because.
remediation: None.
appliesTo: {pods: true}
check: 'false'
message: '"x"'
examples:
  pass:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
  fail:
  - {want: [""], object: {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}}
-- p1.yaml --
parameters: {no-such-control: {a: 1}}
-- p2.yaml --
parameters: {image-registry-not-allowed: {x: 1}}
-- p3.yaml --
paramz: {}
`

// What each combination of inputs ends with, and what is told of it.
func TestScanCodes(t *testing.T) {
	unpack(t, codeFiles)
	for args, want := range map[string]struct {
		code   int
		stdout string // "" for nothing that matters
		stderr string // "" for nothing at all
	}{
		"bad.yaml":                         {1, "Pod shop/bad", ""},
		"./bad.yaml bad.yaml":              {1, "container-privileged, 1 object", ""},
		"bad.yaml good.yaml":               {1, "2 objects", ""},
		"bad.yaml --fail-on never":         {0, "Pod shop/bad", ""},
		"good.yaml":                        {0, "nothing fails", ""},
		"good.yaml --fail-on info":         {0, "nothing fails", ""},
		"broken.yaml bad.yaml":             {2, "Pod shop/bad", "broken.yaml: nothing could be read"},
		"half.yaml":                        {2, "Pod shop/half", "half.yaml: a part could not be read"},
		"half.yaml --fail-on never":        {2, "Pod shop/half", "half.yaml: a part could not be read"},
		"nothing":                          {2, "", "nothing: there are no Kubernetes objects"},
		"nothing bad.yaml":                 {2, "Pod shop/bad", "nothing: there are no Kubernetes objects"},
		"other.yaml":                       {2, "", "other.yaml: nothing could be read"},
		"unknown.yaml":                     {0, "nothing fails", ""},
		"mixed":                            {1, "Pod shop/bad", "mixed/broken.yaml"},
		"mixed --fail-on never":            {0, "Not everything could be read: 1 problem", "mixed/broken.yaml"},
		"mixed/broken.yaml mixed/bad.yaml": {2, "Pod shop/bad", "mixed/broken.yaml: nothing could be read"},
		"badchart":                         {2, "", "badchart: nothing could be read"},
		".":                                {1, "Pod shop/bad", "badchart/templates/a.yaml"},
		"halfchart":                        {2, "Pod c", "halfchart: a part could not be read"},
		"charts":                           {1, "Pod c", "charts/half/templates/b.yaml:1: .* no name"},
		"badoverlay":                       {2, "", "badoverlay: nothing could be read"},
		"both":                             {1, "Pod overlaid", ""},
		"both --fail-on critical":          {1, "Pod charted", ""},
		"in":                               {1, "Pod inner", ""},
		"overlays":                         {1, "Pod shop/bad", "overlays/prod/stray.yaml: is not judged: no overlay takes it in"},
		"overlays --severity critical":     {1, "Pod shop/deep", "overlays/prod/used/beside.yaml: is not judged"},
		"remote":                           {1, "Pod shop/base", "nothing is fetched"},
		"named":                            {1, "Pod shop/hidden", ""},
		"--changed-files bad.yaml":         {1, "Pod shop/bad", ""},
		"--changed-files other.yaml":       {0, "nothing fails", ""},
		"--changed-files broken.yaml":      {2, "", "broken.yaml: nothing could be read"},
		"--changed-files both/values.yaml": {1, "Pod charted", ""},
	} {
		code, stdout, stderr := scanIn(t.Context(), append(strings.Fields(args), "--control", "container-privileged")...)
		if code != want.code || !strings.Contains(stdout, want.stdout) || (want.stderr == "") != (stderr == "") || !regexp.MustCompile(want.stderr).MatchString(stderr) {
			t.Errorf("%s: code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := scanIn(t.Context(), "good.yaml", "--save", "snap.gz"); code != 0 && code != 1 {
		t.Errorf("save: code %d, %s", code, stderr)
	}
	if code, stdout, stderr := scanIn(t.Context(), "snap.gz", "bad.yaml"); code != 2 || stdout != "" || !strings.Contains(stderr, "give it alone") {
		t.Errorf("a saved cluster with more: code %d, %s%s", code, stdout, stderr)
	}
	for _, args := range []string{"overlays", "named"} { // neither bases nor patches by themselves
		if _, stdout, _ := scanIn(t.Context(), args, "--control", "container-privileged"); !strings.Contains(stdout, "2 objects, 1 control judged") {
			t.Errorf("%s: %s", args, stdout)
		}
	}
}

// A packed chart in a folder is told of, and another archive is none of ours.
func TestScanPacked(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, inner := range map[string]string{"c.tgz": "c/Chart.yaml", "other.tgz": "c/readme"} {
		var buf bytes.Buffer
		zip := gzip.NewWriter(&buf)
		out := tar.NewWriter(zip)
		text := "apiVersion: v2\nname: c\nversion: 0.1.0\n"
		if err := out.WriteHeader(&tar.Header{Name: inner, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, text); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(out.Close(), zip.Close(), os.WriteFile(name, buf.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{".": "c.tgz: is a packed chart, which is not opened in a folder", "c.tgz": "c.tgz: there are no Kubernetes objects"} {
		code, _, stderr := scanIn(t.Context(), path, "--control", "container-privileged")
		if code != 2 || !strings.Contains(stderr, want) || strings.Contains(stderr, "other") {
			t.Errorf("%s: code %d, %s", path, code, stderr)
		}
	}
}

const codeFiles = `
-- bad.yaml --
apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: shop}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- good.yaml --
apiVersion: v1
kind: Pod
metadata: {name: good, namespace: shop}
spec: {containers: [{name: c}]}
-- broken.yaml --
apiVersion: v1
kind: Pod
metadata: {name: a
-- half.yaml --
apiVersion: v1
kind: Pod
metadata: {name: half, namespace: shop}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b
-- other.yaml --
a: b
-- nothing/readme.txt --
none
-- unknown.yaml --
apiVersion: example.com/v1
kind: Gadget
metadata: {name: g, namespace: shop}
-- mixed/bad.yaml --
apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: shop}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- mixed/broken.yaml --
apiVersion: v1
kind: Pod
metadata: {name: a
-- halfchart/Chart.yaml --
apiVersion: v2
name: half
version: 0.1.0
-- halfchart/templates/a.yaml --
apiVersion: v1
kind: Pod
metadata: {name: c}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- halfchart/templates/b.yaml --
{{ fail "no name" }}
-- charts/half/Chart.yaml --
apiVersion: v2
name: half
version: 0.1.0
-- charts/half/templates/a.yaml --
apiVersion: v1
kind: Pod
metadata: {name: c}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- charts/half/templates/b.yaml --
{{ fail "no name" }}
-- badchart/Chart.yaml --
apiVersion: v2
name: bad
version: 0.1.0
-- badchart/templates/a.yaml --
a: {{ fail "no" }}
-- badoverlay/kustomization.yaml --
resources: [gone.yaml]
-- both/Chart.yaml --
apiVersion: v2
name: both
version: 0.1.0
-- both/values.yaml --
name: charted
-- both/templates/a.yaml --
apiVersion: v1
kind: Pod
metadata: {name: "{{ .Values.name }}"}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- both/kustomization.yaml --
resources: [pod.yaml]
-- both/pod.yaml --
apiVersion: v1
kind: Pod
metadata: {name: overlaid}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- in/readme.yaml --
# A folder of manifests with a chart in it.
apiVersion: v1
kind: ConfigMap
metadata: {name: x, namespace: shop}
-- in/chart/Chart.yaml --
apiVersion: v2
name: in
version: 0.1.0
-- in/chart/templates/a.yaml --
apiVersion: v1
kind: Pod
metadata: {name: inner}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- overlays/base/kustomization.yaml --
resources: [pod.yaml]
-- overlays/base/pod.yaml --
apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: shop}
spec: {containers: [{name: c}]}
-- overlays/prod/kustomization.yaml --
resources: [../base, used/deep.yaml]
patches: [{path: patch.yaml}]
-- overlays/prod/patch.yaml --
apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: shop}
spec: {containers: [{name: c, securityContext: {privileged: true}}, {name: patch}]}
-- overlays/prod/stray.yaml --
apiVersion: v1
kind: Pod
metadata: {name: stray, namespace: shop}
-- overlays/prod/values.yaml --
not: an object
-- overlays/prod/used/deep.yaml --
apiVersion: v1
kind: Pod
metadata: {name: deep, namespace: shop}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- overlays/prod/used/beside.yaml --
apiVersion: v1
kind: Pod
metadata: {name: beside, namespace: shop}
-- remote/base/kustomization.yaml --
resources: [pod.yaml]
-- remote/base/pod.yaml --
apiVersion: v1
kind: Pod
metadata: {name: base, namespace: shop}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
-- remote/prod/kustomization.yaml --
resources: [../base, "https://example.com/x.yaml"]
-- named/kustomization/kustomization.yaml --
resources: [a.yaml]
commonAnnotations: {note: hidden, other: hidden/pod.yaml}
-- named/kustomization/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
-- named/kustomization/hidden/pod.yaml --
apiVersion: v1
kind: Pod
metadata: {name: hidden, namespace: shop}
spec: {containers: [{name: c, securityContext: {privileged: true}}]}
`

// A scan that is ended from outside has found nothing out: neither 0 nor 1.
func TestScanEnded(t *testing.T) {
	unpack(t, codeFiles)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, path := range []string{"bad.yaml", "both", "overlays/prod", "overlays", "mixed"} {
		code, stdout, stderr := scanIn(ctx, path)
		if code != 2 || stdout != "" || !strings.Contains(stderr, "canceled") {
			t.Errorf("%s: code %d, %s%s", path, code, stdout, stderr)
		}
	}
}
