package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/admission"
	"bulwark.dev/bulwark/internal/ops"
)

// admissionFlags are the settings of "bulwark serve admission".
type admissionFlags struct {
	processFlags
	judge      scanControls
	listen     string
	cert, key  string
	clientCA   string
	denyAt     string
	warnAt     string
	unknown    string
	dryRun     bool
	namespaces []string
	users      []string
	groups     []string
	exceptions []string
	timeout    time.Duration
	drain      time.Duration
	print      bool
	webhook    webhookFlags
	forward    forwardFlags
}

func newServeAdmission(env *Env) *cobra.Command {
	var f admissionFlags
	cmd := &cobra.Command{
		Use:   "admission",
		Short: "Refuse objects that fail controls, as a validating webhook of the API server",
		Long: `Judge objects as they are created and changed, by the controls of "bulwark scan"
that look at one object. What fails at --deny-at or above is refused, and what
fails at --warn-at or above warned of. An update is refused only for what the
object did not have before. DELETE and CONNECT are always allowed, and so are
subresources other than ephemeralcontainers and resize.

What cannot be judged is refused (--unknown). Begin with --dry-run, which refuses
nothing and warns instead, and read bulwark_admission_findings_total.

The API server calls the webhook after it was told to: --print-configuration
prints the ValidatingWebhookConfiguration for these flags and ends.`,
		Example: `  bulwark serve admission --tls-cert tls.crt --tls-key tls.key --dry-run
  bulwark serve admission --print-configuration --service bulwark-system/bulwark-admission --ca-bundle ca.crt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.print {
				return printConfiguration(env, &f)
			}
			return runProcess(cmd.Context(), env, &f.processFlags, f.drain, func(ctx context.Context, log *slog.Logger, running *stack) error {
				return serveAdmission(ctx, env, log, &f, running)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", ":8443", "address on which the API server calls")
	fl.StringVar(&f.cert, "tls-cert", "", "file with the certificate; it is read again when it changes")
	fl.StringVar(&f.key, "tls-key", "", "file with its key")
	fl.StringVar(&f.clientCA, "client-ca", "", "file with authorities; callers must then show a certificate of one of them")
	fl.StringVar(&f.denyAt, "deny-at", "high", "refuse what fails at this severity or above")
	fl.StringVar(&f.warnAt, "warn-at", "low", "warn of what fails at this severity or above")
	fl.StringVar(&f.unknown, "unknown", "refuse", "what becomes of what cannot be judged: refuse or allow")
	fl.BoolVar(&f.dryRun, "dry-run", false, "refuse nothing, and warn instead")
	fl.StringArrayVar(&f.namespaces, "exempt-namespace", nil, "allow everything in this namespace; may be repeated")
	fl.StringArrayVar(&f.users, "exempt-user", nil, "allow everything that this user does; may be repeated")
	fl.StringArrayVar(&f.groups, "exempt-group", nil, "allow everything that members of this group do; may be repeated")
	fl.StringArrayVar(&f.exceptions, "exceptions", nil, "file with exceptions; may be repeated. Annotations of objects except nothing here")
	fl.StringArrayVar(&f.judge.only, "control", nil, "judge only by this control; may be repeated")
	fl.StringArrayVar(&f.judge.dirs, "controls", nil, "folder with controls of your own; may be repeated")
	fl.StringVar(&f.judge.parameters, "parameters", "", "file with values for the parameters of controls")
	fl.DurationVar(&f.timeout, "timeout", 5*time.Second, "longest time for one request")
	fl.DurationVar(&f.drain, "drain", 10*time.Second, "how long requests in flight may take after the signal to stop")
	fl.BoolVar(&f.print, "print-configuration", false, "print the ValidatingWebhookConfiguration and end")
	f.webhook.add(fl)
	f.forward.add(fl, "required with --audit-url")
	f.add(fl, ":9400", "json")
	return cmd
}

// settings gives what the webhook does, but for its controls and exceptions.
func (f *admissionFlags) settings(env *Env, log *slog.Logger) (admission.Config, error) {
	err := oneOf("unknown", f.unknown, "refuse", "allow")
	severity := func(flag, name string) bulwark.Severity {
		s, wrong := bulwark.ParseSeverity(name)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("--%s %w", flag, wrong))
		}
		return s
	}
	cfg := admission.Config{
		DenyAt: severity("deny-at", f.denyAt), WarnAt: severity("warn-at", f.warnAt), Unknown: admission.UnknownRefuse, DryRun: f.dryRun,
		ExemptNamespaces: f.namespaces, ExemptUsers: f.users, ExemptGroups: f.groups, Timeout: f.timeout, Log: log, Now: env.Now,
	}
	if f.unknown == "allow" {
		cfg.Unknown = admission.UnknownAllow
	}
	if f.timeout <= 0 || f.drain < 0 {
		err = errors.Join(err, errors.New("--timeout and --drain: expected positive times"))
	}
	return cfg, err
}

// handler makes the webhook with its controls and exceptions, and gives the controls.
func (f *admissionFlags) handler(env *Env, log *slog.Logger) (*admission.Webhook, *controlSet, error) {
	cfg, err := f.settings(env, log)
	if err != nil {
		return nil, nil, err
	}
	set, err := f.judge.load()
	if err != nil {
		return nil, nil, err
	}
	cfg.Controls = set.single
	if cfg.Except, err = excepted(env, f.exceptions, set.never); err != nil {
		return nil, nil, err
	}
	webhook, err := admission.New(cfg)
	return webhook, set, err //nolint:wrapcheck // it says what it was doing
}

// serveAdmission answers the API server until ctx ends.
func serveAdmission(ctx context.Context, env *Env, log *slog.Logger, f *admissionFlags, running *stack) error {
	cert, err := ops.OpenCertificate(f.cert, f.key, log)
	if err != nil {
		return badUse(fmt.Errorf("--tls-cert, --tls-key: %w", err))
	}
	secure, err := f.tls(cert)
	if err != nil {
		return badUse(err)
	}
	if err := f.forward.check(); err != nil {
		return badUse(err)
	}
	way, log, err := f.forward.start(env, log, "admission", running) //nolint:contextcheck // it outlives ctx, to send the rest
	if err != nil {
		return err
	}
	webhook, set, err := f.handler(env, log) //nolint:contextcheck // it only reads files
	if err != nil {
		return badUse(err)
	}
	// It takes seconds: after all that can be wrong with the flags, and not while the
	// first request waits.
	if err := set.compile(); err != nil {
		return badUse(err)
	}
	registry := newRegistry()
	registry.MustRegister(append(way.metrics(), webhook, cert.Expiry("bulwark_admission_certificate_expires_seconds"))...)
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return badUse(fmt.Errorf("open admission listener: %w", err))
	}
	mux := http.NewServeMux()
	mux.Handle("/validate", webhook)
	srv := &http.Server{
		Handler: mux, TLSConfig: secure, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	admin, err := startAdmissionAdmin(ctx, f, log, registry, env, cert)
	if err != nil {
		return errors.Join(badUse(err), ln.Close())
	}
	running.push(func(context.Context) error { return admin.Close() })
	log.LogAttrs(ctx, slog.LevelInfo, "admission webhook", slog.String("address", ln.Addr().String()), slog.String("admin", admin.Addr().String()),
		slog.Int("controls", len(set.single)), slog.String("denyAt", f.denyAt), slog.Bool("dryRun", f.dryRun), slog.Time("certificateExpires", cert.Expires()),
		slog.Any("exemptNamespaces", f.namespaces), slog.Any("exemptUsers", f.users), slog.Any("exemptGroups", f.groups))
	parts, ctx := errgroup.WithContext(ctx)
	serveTLS(ctx, parts, "admission", srv, ln, cert, f.drain)
	return parts.Wait() //nolint:wrapcheck // the parts say what they did
}

func startAdmissionAdmin(ctx context.Context, f *admissionFlags, log *slog.Logger, registry *prometheus.Registry, env *Env, cert *ops.Certificate) (*ops.Admin, error) {
	admin, err := ops.StartAdmin(ctx, ops.AdminConfig{
		Address: f.admin, Metrics: registry, Profiles: f.profiles, Log: log,
		Ready: []ops.Check{{Name: "certificate", Fn: func() error {
			if !env.Now().Before(cert.Expires()) {
				return fmt.Errorf("it expired at %s", cert.Expires().Format(time.RFC3339))
			}
			return nil
		}}},
	})
	if err != nil {
		return nil, fmt.Errorf("start admin endpoints: %w", err)
	}
	return admin, nil
}

// tls gives how callers connect.
func (f *admissionFlags) tls(cert *ops.Certificate) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.Get}
	if f.clientCA == "" {
		return out, nil
	}
	text, err := os.ReadFile(f.clientCA)
	if err != nil {
		return nil, fmt.Errorf("--client-ca: %w", err)
	}
	out.ClientCAs, out.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !out.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--client-ca: no certificate in %s", f.clientCA)
	}
	return out, nil
}
