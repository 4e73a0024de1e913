// Command render is "helm template" without Helm's binary: it prints the
// objects of Bulwark's chart, in the order of installation, for kubectl apply.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"bulwark.dev/bulwark/test/chart"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "render: %v\n", err)
		os.Exit(2)
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func run(args []string, stdout, stderr io.Writer) error {
	var o chart.Options
	var makeNamespace, notes bool
	fl := flag.NewFlagSet("render", flag.ContinueOnError)
	fl.SetOutput(stderr)
	fl.StringVar(&o.Dir, "chart", "", "folder of the chart (default: deploy/helm/bulwark here or above)")
	fl.StringVar(&o.Release, "release", "bulwark", "name of the release")
	fl.StringVar(&o.Namespace, "n", "bulwark-system", "namespace of the release")
	fl.StringVar(&o.KubeVersion, "kube-version", "v1.36.3", "version of the cluster")
	fl.Var((*list)(&o.Values), "f", "file with values; may be repeated")
	fl.Var((*list)(&o.Set), "set", "value as key.sub=value; may be repeated")
	fl.BoolVar(&makeNamespace, "create-namespace", false, "begin with the Namespace, restricted Pod Security enforced")
	fl.BoolVar(&notes, "notes", false, "print what helm install would tell, on standard error")
	if err := fl.Parse(args); err != nil {
		return fmt.Errorf("flags: %w", err)
	}
	if fl.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fl.Arg(0))
	}
	if o.Dir == "" {
		dir, err := chart.Find(".")
		if err != nil {
			return err
		}
		o.Dir = dir
	}
	release, err := chart.Render(o)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(stdout)
	if makeNamespace {
		_, _ = fmt.Fprintf(w, namespace, o.Namespace)
	}
	_, _ = w.WriteString(release.YAML())
	if notes {
		_, _ = fmt.Fprintln(stderr, release.Notes)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print objects: %w", err)
	}
	return nil
}

const namespace = `---
apiVersion: v1
kind: Namespace
metadata:
  name: %s
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
`
