package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/ops"
)

// serveAuditFlags are the settings of "bulwark serve audit".
type serveAuditFlags struct {
	processFlags
	writerFlags
	listen    string
	cert, key string
	clientCA  string
	names     []string
	tokens    []string
	tail      []string
	witnesses witnessFlags
	notices   notifyFlags
	maxBody   int64
	waiting   int64
	drain     time.Duration
}

func newServeAudit(env *Env) *cobra.Command {
	var f serveAuditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Keep the audit trail: take events, seal them, and raise alerts",
		Long: `Take audit events from API servers (--listen, their audit webhook) and from files that
grow (--tail), keep them in a trail that cannot be changed unseen (--data), and let
the detections look at each.

A batch is acknowledged when it is on disk. Who may send shows a token (--token-file)
or a client certificate (--client-ca and --client-name); without either nobody may.
"bulwark audit webhook-config" prints what an API server needs.

When the disk is full nothing is accepted, senders are told to come back, and the
metric bulwark_audit_log_full is 1: nothing that was acknowledged is lost.`,
		Example: `  bulwark serve audit --data /var/lib/bulwark/audit --listen :9443 --tls-cert tls.crt --tls-key tls.key --token-file token
  bulwark serve audit --data trail --tail /var/log/kubernetes/audit.log`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runProcess(cmd.Context(), env, &f.processFlags, f.drain, func(ctx context.Context, log *slog.Logger, running *stack) error {
				return serveAudit(ctx, env, log, &f, running)
			})
		},
	}
	fl := cmd.Flags()
	f.writerFlags.add(fl)
	f.witnesses.add(fl)
	f.notices.add(fl)
	fl.StringVar(&f.listen, "listen", "", "address on which API servers send their events; empty: nowhere")
	fl.StringVar(&f.cert, "tls-cert", "", "file with the certificate; it is read again when it changes")
	fl.StringVar(&f.key, "tls-key", "", "file with its key")
	fl.StringVar(&f.clientCA, "client-ca", "", "file with authorities of client certificates")
	fl.StringArrayVar(&f.names, "client-name", nil, "common, DNS or URI name of a client certificate that may send; may be repeated")
	fl.StringArrayVar(&f.tokens, "token-file", nil, "file with a token that may send; it is read again when it changes; may be repeated")
	fl.StringArrayVar(&f.tail, "tail", nil, "file with audit events that grows; may be repeated")
	fl.Int64Var(&f.maxBody, "max-batch-bytes", 32<<20, "largest batch")
	fl.Int64Var(&f.waiting, "max-waiting-bytes", 128<<20, "most bytes of batches that wait to be kept")
	fl.DurationVar(&f.drain, "drain", 20*time.Second, "how long requests in flight, and sealing, may take after the signal to stop")
	f.processFlags.add(fl, ":9400", "json")
	return cmd
}

func (f *serveAuditFlags) check() error {
	err := f.writerFlags.check()
	switch {
	case f.listen == "" && len(f.tail) == 0:
		err = errors.Join(err, errors.New("no events would ever come: give --listen or --tail"))
	case f.listen == "" && (f.cert != "" || f.key != "" || f.clientCA != "" || len(f.names) > 0 || len(f.tokens) > 0):
		err = errors.Join(err, errors.New("--tls-cert, --tls-key, --client-ca, --client-name and --token-file go with --listen"))
	case f.listen != "" && len(f.tokens) == 0 && (f.clientCA == "" || len(f.names) == 0):
		err = errors.Join(err, errors.New("nobody could send: give --token-file, or --client-ca and --client-name"))
	case (f.clientCA == "") != (len(f.names) == 0):
		err = errors.Join(err, errors.New("--client-ca and --client-name go together"))
	}
	if f.maxBody <= 0 || f.waiting < f.maxBody || f.drain < 0 {
		err = errors.Join(err, errors.New("--max-batch-bytes, --max-waiting-bytes and --drain: expected positive values, and room for one batch at least"))
	}
	if err != nil {
		return badUse(err)
	}
	return nil
}

// serveAudit keeps the trail until ctx ends.
func serveAudit(ctx context.Context, env *Env, log *slog.Logger, f *serveAuditFlags, running *stack) error {
	if err := f.check(); err != nil {
		return err
	}
	engine, err := f.rules.engine()
	if err != nil {
		return err
	}
	keepers, err := f.witnesses.keepers()
	if err != nil {
		return badUse(err)
	}
	if f.kept, err = f.witnesses.kept(); err != nil {
		return badUse(err)
	}
	receivers, err := f.notices.receivers()
	if err != nil {
		return badUse(err)
	}
	least, err := bulwark.ParseSeverity(f.notices.least)
	if err != nil {
		return badUse(fmt.Errorf("--notify-severity %w", err))
	}
	klog.SetSlogLogger(log) // the transparency log's own lines
	registry := newRegistry()
	t, err := openTrail(ctx, env, &f.writerFlags, log)
	if err != nil {
		return err
	}
	running.push(t.close)
	registry.MustRegister(newTrailMetrics(t, engine))
	parts, ctx := errgroup.WithContext(ctx)
	address := ""
	if f.listen != "" {
		if address, err = f.webhook(ctx, env, log, t, registry, parts); err != nil {
			return errors.Join(badUse(err), parts.Wait())
		}
	}
	admin, err := ops.StartAdmin(ctx, ops.AdminConfig{Address: f.admin, Metrics: registry, Profiles: f.profiles, Log: log, Ready: []ops.Check{{Name: "trail", Fn: t.healthy}}})
	if err != nil {
		return badUse(fmt.Errorf("start admin endpoints: %w", err))
	}
	running.push(func(context.Context) error { return admin.Close() })
	for name, to := range receivers {
		parts.Go(func() error { return t.notify(ctx, name, to, least, log) })
	}
	if len(keepers) > 0 {
		parts.Go(func() error { t.testify(ctx, keepers, log); return nil })
	}
	for _, file := range f.tail {
		parts.Go(func() error { return t.follow(ctx, file, log) })
	}
	parts.Go(func() error {
		return t.observe(ctx, engine, detect.RunConfig{Now: env.Now, OnAlert: func(a detect.Alert) {
			log.LogAttrs(ctx, slog.LevelWarn, "alert", slog.String("rule", a.Rule), slog.String("severity", a.Severity.String()), slog.String("actor", a.Actor),
				slog.String("summary", a.Summary), slog.Any("evidence", a.Evidence), slog.String("id", a.ID))
		}})
	})
	log.LogAttrs(ctx, slog.LevelInfo, "audit trail", slog.String("data", f.data), slog.String("address", address), slog.String("admin", admin.Addr().String()),
		slog.Any("tail", f.tail), slog.Uint64("last", t.log.Last()), slog.String("publicKey", t.ledger.Verifier()))
	return parts.Wait() //nolint:wrapcheck // the parts say what they did
}

// healthy is an error while the trail accepts nothing.
func (t *trail) healthy() error {
	if s := t.log.Stats(); s.Full {
		return fmt.Errorf("the disk is full: %s", s.LastTrouble)
	}
	return nil
}

// follow tails one file.
func (t *trail) follow(ctx context.Context, file string, log *slog.Logger) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("tail %s: %w", file, err)
	}
	source := "file/" + filepath.Base(path)
	sum := sha256.Sum256([]byte(path))
	tail, err := ingest.NewTail(ingest.TailConfig{
		Path: path, Position: filepath.Join(t.dir, "tail", hex.EncodeToString(sum[:8])+".position"), Sink: t.log, Decode: t.decoder(source).Decode, Source: source, Log: log, Now: t.now,
	})
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	return tail.Run(ctx) //nolint:wrapcheck // likewise
}

// webhook opens the listener for API servers and serves it as a part.
func (f *serveAuditFlags) webhook(ctx context.Context, env *Env, log *slog.Logger, t *trail, registry *prometheus.Registry, parts *errgroup.Group) (string, error) {
	cert, err := ops.OpenCertificate(f.cert, f.key, log)
	if err != nil {
		return "", fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.Get}
	clients := ingest.Clients{Names: f.names}
	if f.clientCA != "" {
		text, err := os.ReadFile(f.clientCA)
		if err != nil {
			return "", fmt.Errorf("--client-ca: %w", err)
		}
		secure.ClientCAs, secure.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if len(f.tokens) == 0 {
			secure.ClientAuth = tls.RequireAndVerifyClientCert
		}
		if !secure.ClientCAs.AppendCertsFromPEM(text) {
			return "", fmt.Errorf("--client-ca: no certificate in %s", f.clientCA)
		}
	}
	if len(f.tokens) > 0 {
		if clients.Tokens, err = ingest.OpenTokens(env.Now(), f.tokens...); err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
	}
	hook, err := ingest.NewWebhook(ingest.WebhookConfig{
		Sink: t.log, Decode: t.decoder("webhook").Decode, Clients: clients, MaxBody: f.maxBody, MaxWaiting: f.waiting, Log: log, Now: env.Now,
	})
	if err != nil {
		return "", err //nolint:wrapcheck // it says what it was doing
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return "", fmt.Errorf("--listen: %w", err)
	}
	registry.MustRegister(hook, cert.Expiry("bulwark_audit_certificate_expires_seconds"))
	srv := &http.Server{
		Handler: hook, TLSConfig: secure, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	serveTLS(ctx, parts, "the audit webhook", srv, ln, cert, f.drain)
	return ln.Addr().String(), nil
}

// trailMetrics are counts of the log and the detections.
type trailMetrics struct {
	t      *trail
	engine *detect.Engine
	descs  map[string]*prometheus.Desc
}

// counters are the metrics by name, with what they say.
var trailCounters = map[string]string{ //nolint:gochecknoglobals // read only
	"bulwark_audit_log_events_total":         "Events that the trail took since the start.",
	"bulwark_audit_log_refused_events_total": "Events that were refused because they could not be written.",
	"bulwark_audit_log_commits_total":        "Writes to disk, each of one batch or several.",
	"bulwark_audit_log_segments_total":       "Segments that were sealed since the start.",
	"bulwark_audit_log_troubles_total":       "Failures of the disk or of sealing.",
}

var trailGauges = map[string]string{ //nolint:gochecknoglobals // read only
	"bulwark_audit_log_last_event":       "Number of the last event.",
	"bulwark_audit_log_waiting_segments": "Parts of the trail that wait to be sealed.",
	"bulwark_audit_log_full":             "1 while the disk is full and nothing is accepted.",
}

func newTrailMetrics(t *trail, engine *detect.Engine) *trailMetrics {
	m := &trailMetrics{t: t, engine: engine, descs: map[string]*prometheus.Desc{}}
	for _, all := range []map[string]string{trailCounters, trailGauges} {
		for name, help := range all {
			m.descs[name] = prometheus.NewDesc(name, help, nil, nil)
		}
	}
	return m
}

// Describe says which metrics there are.
func (m *trailMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		out <- d
	}
}

// Collect reads them.
func (m *trailMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.t.log.Stats()
	full := 0.0
	if s.Full {
		full = 1
	}
	for name, value := range map[string]float64{
		"bulwark_audit_log_events_total": float64(s.Events), "bulwark_audit_log_refused_events_total": float64(s.Refused), "bulwark_audit_log_commits_total": float64(s.Commits),
		"bulwark_audit_log_segments_total": float64(s.Sealed), "bulwark_audit_log_troubles_total": float64(s.Troubles),
	} {
		out <- prometheus.MustNewConstMetric(m.descs[name], prometheus.CounterValue, value)
	}
	for name, value := range map[string]float64{
		"bulwark_audit_log_last_event": float64(s.Last), "bulwark_audit_log_waiting_segments": float64(s.Waiting), "bulwark_audit_log_full": full,
	} {
		out <- prometheus.MustNewConstMetric(m.descs[name], prometheus.GaugeValue, value)
	}
}
