package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/ingest/logfile"
	"bulwark.dev/bulwark/internal/audit/ingest/webhook"
)

func newAuditImport(env *Env) *cobra.Command {
	f := &writerFlags{}
	quick := false
	source := ""
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Take past events into the trail, and let the detections look at them",
		Long: `Take past events into a trail, which is made if there is none: audit logs of API
servers (JSON lines, lists), exports of EKS (CloudWatch), AKS and GKE, and the
gateway's events, also compressed with gzip or zstd. FILE "-" is standard input.
Secrets are taken out on the way. Then the detections look at everything; see
"bulwark audit alerts".

What cannot be read becomes an event that says so, and is counted. An event that is
imported twice is there twice.

Exit codes: 0; 1, something could not be read; 2, wrong usage, or the trail cannot be
written. What was taken before an error stays.`,
		Example: `  bulwark audit import audit.log --data trail
  zcat /var/log/kubernetes/audit-*.gz | bulwark audit import - --data trail`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			return f.importAll(cmd.Context(), env, files, source, quick)
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVar(&source, "source", "import", "name of the feed that the events say they come from")
	fl.BoolVar(&quick, "no-detect", false, "do not let the detections look at them; the next writer of the trail does")
	return cmd
}

func (f *writerFlags) importAll(ctx context.Context, env *Env, files []string, source string, quick bool) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	logger, err := newLog(env.Stderr, "text", "warn")
	if err != nil {
		return err
	}
	var engine *detect.Engine
	if !quick {
		if engine, err = f.rules.engine(); err != nil {
			return err
		}
	}
	for _, file := range files {
		// All of them, before anything is written.
		if info, err := os.Stat(file); file != "-" && (err != nil || info.IsDir()) {
			return badUse(fmt.Errorf("%s: expected a file: %w", file, errors.Join(err, os.ErrInvalid)))
		}
	}
	klog.SetSlogLogger(logger) // the transparency log's own lines
	t, err := openTrail(ctx, env, f, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close(context.WithoutCancel(ctx))) }()
	bad := false
	for _, file := range files {
		counts, err := t.importOne(ctx, env, file, source)
		if err != nil {
			return badUse(err)
		}
		_, _ = fmt.Fprintf(env.Stderr, "%s: %d events, %d of them could not be read\n", file, counts.Events, counts.Unreadable)
		if counts.Truncated != "" {
			_, _ = fmt.Fprintf(env.Stderr, "%s ends in the middle of something: %s\n", file, counts.Truncated)
		}
		bad = bad || counts.Unreadable > 0 || counts.Truncated != ""
	}
	if engine != nil {
		alerts := 0
		if err := t.observe(ctx, engine, detect.RunConfig{Now: env.Now, Once: true, OnAlert: func(detect.Alert) { alerts++ }}); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(env.Stderr, "%d alerts\n", alerts)
	}
	if bad {
		return errPrinted
	}
	return nil
}

func (t *trail) importOne(ctx context.Context, env *Env, file, source string) (logfile.Counts, error) {
	input, total := env.Stdin, int64(0)
	if file != "-" {
		in, err := os.Open(file) // #nosec G304 -- the person who runs it names it
		if err != nil {
			return logfile.Counts{}, fmt.Errorf("import: %w", err)
		}
		defer func() { _ = in.Close() }()
		if info, err := in.Stat(); err == nil {
			total = info.Size()
		}
		input = io.Reader(in)
	}
	p := newProgress(env)
	defer p.done()
	return logfile.Import(ctx, logfile.ImportConfig{ //nolint:wrapcheck // it says what it was doing
		Sink: t.log, Decode: t.decoder(source).Decode, Source: source, Now: env.Now,
		Progress: func(c logfile.Counts) {
			if total > 0 {
				p.say("%s: %d%%, %d events", file, c.Bytes*100/total, c.Events)
			} else {
				p.say("%s: %d MiB, %d events", file, c.Bytes>>20, c.Events)
			}
		},
	}, input, filepath.Base(file))
}

// engine reads the rules and makes the detections ready.
func (f *ruleFlags) engine() (*detect.Engine, error) {
	set, err := f.load()
	if err != nil {
		return nil, err
	}
	return f.engineOf(set)
}

// engineOf makes the detections ready: those of the set, and others beside them that
// have observed nothing.
func (f *ruleFlags) engineOf(set *detect.Set, others ...detect.Stateful) (*detect.Engine, error) {
	engine, err := detect.NewEngine(set, detect.Config{Stateful: others})
	if err != nil {
		return nil, badUse(fmt.Errorf("make the rules ready: %w", err))
	}
	return engine, nil
}

// observe lets the detections look at what they have not seen, until ctx ends.
func (t *trail) observe(ctx context.Context, engine *detect.Engine, config detect.RunConfig) error {
	return detect.Run(ctx, t.log, t.log, engine, t.detections(), config) //nolint:wrapcheck // it says what it was doing
}

// newAuditWebhookConfig prints what an API server needs to send its audit events.
func newAuditWebhookConfig(env *Env) *cobra.Command {
	var c webhook.Setup
	policy, file := "", ""
	cmd := &cobra.Command{
		Use:   "webhook-config",
		Short: "Print the API server's audit webhook configuration",
		Long: `Print the kubeconfig for the API server's --audit-webhook-config-file. The flags that
go with it are told on standard error. Files are named as they stand on the API
server's machine.`,
		Example: `  bulwark audit webhook-config --url https://bulwark-audit.bulwark-system:9443/audit/v1/apiserver-0 \
    --ca-file /etc/kubernetes/bulwark/ca.crt --token-file /etc/kubernetes/bulwark/token > webhook.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := c.Kubeconfig()
			if err != nil {
				return badUse(err)
			}
			for _, flag := range webhook.Flags(policy, file) {
				_, _ = fmt.Fprintln(env.Stderr, flag)
			}
			_, err = env.Stdout.Write(text)
			return err //nolint:wrapcheck // standard output
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&c.URL, "url", "", "URL of the webhook: https://HOST:PORT/audit/v1/NAME")
	fl.StringVar(&c.CAFile, "ca-file", "", "authority of the webhook's certificate")
	fl.StringVar(&c.TokenFile, "token-file", "", "file with the token that the API server shows")
	fl.StringVar(&c.CertFile, "cert-file", "", "client certificate that the API server shows")
	fl.StringVar(&c.KeyFile, "key-file", "", "its key")
	fl.StringVar(&policy, "policy-file", "/etc/kubernetes/audit-policy.yaml", "audit policy, for the flags that are told")
	fl.StringVar(&file, "config-file", "/etc/kubernetes/audit-webhook.yaml", "where the printed file will stand, for the flags that are told")
	return cmd
}
