package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// config is the command line, and what the process outside tells the one inside.
type config struct {
	DataDir        string
	Audit          bool
	AuditPolicy    string
	AuditWebhook   string
	Encryption     string
	Authentication string
	KMSPlugin      string
	APIServerArgs  []string
	ManagerArgs    []string
	Images         []string
	Only           []string
	Publish        []string // HOST=CLUSTER, only outside
	PublishAPI     string   // HOST, only outside
	Verbose        bool
	Command        []string

	Forwards     []forward // set by the process outside
	PublishedAPI string    // the address it got
	SetUsers     bool      // root outside: pods may run as any user
}

// forward is one listener that the process inside inherits.
type forward struct {
	FD     int
	Target string
}

// The parts that --only names.
const (
	partManager   = "kcm"
	partScheduler = "scheduler"
	partKubelet   = "kubelet"
	partServices  = "services"
)

func allParts() []string { return []string{partManager, partScheduler, partKubelet, partServices} }

func (c *config) has(part string) bool { return slices.Contains(c.Only, part) }

type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// parse reads the command line of up and run. Paths become absolute.
func parse(command string, args []string, stderr io.Writer) (*config, error) {
	c := &config{}
	only := ""
	fs := flag.NewFlagSet("control "+command, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&c.DataDir, "data-dir", "", "keep the cluster's `directory`; without it a new one, removed at the end")
	fs.BoolVar(&c.Audit, "audit-log", false, "write audit events to DATA-DIR/audit.log, metadata only unless --audit-policy says more")
	fs.StringVar(&c.AuditPolicy, "audit-policy", "", "audit policy `file`")
	fs.StringVar(&c.AuditWebhook, "audit-webhook-config", "", "kubeconfig `file` of the audit webhook; batching: --apiserver-arg=--audit-webhook-batch-...")
	fs.StringVar(&c.Encryption, "encryption-config", "", "EncryptionConfiguration `file`")
	fs.StringVar(&c.Authentication, "authentication-config", "", "AuthenticationConfiguration `file`")
	fs.StringVar(&c.KMSPlugin, "kms-plugin", "", "run a KMS v2 plugin for tests on this unix `socket`")
	fs.Var((*list)(&c.APIServerArgs), "apiserver-arg", "one more `flag` for kube-apiserver (repeatable)")
	fs.Var((*list)(&c.ManagerArgs), "kcm-arg", "one more `flag` for kube-controller-manager (repeatable)")
	fs.Var((*list)(&c.Images), "image", "`PREFIX=PATH`: images of that prefix run the static binary, or the root directory, at PATH (repeatable)")
	fs.StringVar(&c.PublishAPI, "publish-api", "", "host `address` to publish the API server on, e.g. 127.0.0.1:0; DATA-DIR/kubeconfig then works outside")
	fs.Var((*list)(&c.Publish), "publish", "`HOST=CLUSTER`: publish the cluster's address on the host's (repeatable)")
	fs.StringVar(&only, "only", strings.Join(allParts(), ","), "`parts` to run beside etcd and the API server")
	fs.BoolVar(&c.Verbose, "v", false, "components log to standard error instead of files in DATA-DIR")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	c.Command = fs.Args()
	if only != "" {
		c.Only = strings.Split(only, ",")
	}
	if err := c.check(command); err != nil {
		return nil, err
	}
	return c, c.absolute()
}

func (c *config) check(command string) error {
	for _, p := range c.Only {
		if !slices.Contains(allParts(), p) {
			return fmt.Errorf("--only: no part %q; there are %v", p, allParts())
		}
	}
	for flagName, values := range map[string][]string{"image": c.Images, "publish": c.Publish} {
		for _, v := range values {
			if a, b, ok := strings.Cut(v, "="); !ok || a == "" || b == "" {
				return fmt.Errorf("--%s %q: want two values with = between them", flagName, v)
			}
		}
	}
	if command == "run" && len(c.Command) == 0 {
		return errors.New("run: no command; put it after --")
	}
	if command == "up" && len(c.Command) > 0 {
		return fmt.Errorf("up: takes no command, and got %q", c.Command)
	}
	return nil
}

func (c *config) absolute() error {
	for _, p := range []*string{&c.DataDir, &c.AuditPolicy, &c.AuditWebhook, &c.Encryption, &c.Authentication, &c.KMSPlugin} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("path %q: %w", *p, err)
		}
		*p = abs
	}
	for i, image := range c.Images {
		prefix, path, _ := strings.Cut(image, "=")
		abs, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("image %q: %w", image, err)
		}
		c.Images[i] = prefix + "=" + abs
	}
	return nil
}
