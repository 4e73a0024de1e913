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
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/ingest/logfile"
	"bulwark.dev/bulwark/internal/audit/ingest/webhook"
	"bulwark.dev/bulwark/internal/audit/reconcile"
	"bulwark.dev/bulwark/internal/ops"
)

// serverPatience is how long a server that starts waits for whoever writes its trail.
const serverPatience = 10 * time.Second

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
	retention retentionFlags
	responses respondFlags
	expected  []string
	silence   time.Duration
	reconcile string
	// configuration tells these settings from others.
	configuration string
	maxBody       int64
	waiting       int64
	drain         time.Duration
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
metric bulwark_audit_log_full is 1: nothing that was acknowledged is lost.

Should the detections break off, recording goes on: the trail tells it, an alert is
raised, bulwark_audit_detections_running is 0, /status says why, and they are begun
again. /readyz does not fail for it, since API servers must go on sending.

With --expect-server and --silence it is told when an API server sends nothing for too
long. --reconcile compares what went through Bulwark's gateway to an API server with
what that says it was asked: see docs/guide/audit.md.`,
		Example: `  bulwark serve audit --data /var/lib/bulwark/audit --listen :9443 --tls-cert tls.crt --tls-key tls.key --token-file token
  bulwark serve audit --data trail --tail /var/log/kubernetes/audit.log`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.configuration = configurationDigest(cmd.Flags())
			return runProcess(cmd.Context(), env, &f.processFlags, f.drain, func(ctx context.Context, log *slog.Logger, running *stack) error {
				klog.SetSlogLogger(log) // the transparency log's own lines
				return serveAudit(ctx, env, log, &f, running)
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *serveAuditFlags) add(fl *pflag.FlagSet) {
	f.writerFlags.add(fl)
	f.witnesses.add(fl)
	f.notices.add(fl)
	f.retention.add(fl)
	f.responses.add(fl, "respond")
	fl.StringVar(&f.listen, "listen", "", "address on which API servers send their events; empty: nowhere")
	fl.StringVar(&f.cert, "tls-cert", "", "file with the certificate; it is read again when it changes")
	fl.StringVar(&f.key, "tls-key", "", "file with its key")
	fl.StringVar(&f.clientCA, "client-ca", "", "file with authorities of client certificates")
	fl.StringArrayVar(&f.names, "client-name", nil, "common, DNS or URI name of a client certificate that may send, or SERVER=NAME: only under that server's name; may be repeated")
	fl.StringArrayVar(&f.tokens, "token-file", nil, "file with a token that may send, or SERVER=FILE: only under that server's name (/audit/v1/SERVER); it is read again when it changes; may be repeated")
	fl.StringArrayVar(&f.tail, "tail", nil, "file with audit events that grows; may be repeated")
	fl.StringArrayVar(&f.expected, "expect-server", nil, "API server that must send: the name at the end of its path, or of its feed; may be repeated")
	fl.DurationVar(&f.silence, "silence", 0, "tell when a server sends nothing for so long: those of --expect-server (default 2m), and with this flag every one that was heard")
	fl.StringVar(&f.reconcile, "reconcile", "", "file that says how to compare the gateway's events with those of API servers")
	fl.Int64Var(&f.maxBody, "max-batch-bytes", 32<<20, "largest batch")
	fl.Int64Var(&f.waiting, "max-waiting-bytes", 128<<20, "most bytes of batches that wait to be kept")
	fl.DurationVar(&f.drain, "drain", 20*time.Second, "how long requests in flight, and sealing, may take after the signal to stop")
	f.processFlags.add(fl, ":9400", "json")
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
	err = errors.Join(err, f.retention.check())
	if f.silence < 0 {
		err = errors.Join(err, fmt.Errorf("--silence %v: expected a positive time", f.silence))
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
	set, makeEngine, err := f.engines()
	if err != nil {
		return err
	}
	rules, err := f.rules.digest()
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
	registry := newRegistry()
	f.patience = serverPatience
	t, err := openTrail(ctx, env, &f.writerFlags, log)
	if err != nil {
		return err
	}
	running.push(t.close)
	detections, err := newDetections(t, set, makeEngine, log)
	if err != nil {
		return err
	}
	is := t.born(ctx, f.configuration, rules, len(set.Rules), log)
	running.push(t.buried)
	detections.register(registry)
	registry.MustRegister(newTrailMetrics(t), t.countUndelivered(receivers))
	servers, err := f.servers(t, is)
	if err != nil {
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	address := ""
	if f.listen != "" {
		if address, err = f.webhook(ctx, env, log, t, registry, parts); err != nil {
			return errors.Join(badUse(err), parts.Wait())
		}
	}
	admin, err := ops.StartAdmin(ctx, ops.AdminConfig{Address: f.admin, Metrics: registry, Profiles: f.profiles, Log: log, Status: detections.status, Ready: []ops.Check{{Name: "trail", Fn: t.healthy}}})
	if err != nil {
		return badUse(fmt.Errorf("start admin endpoints: %w", err))
	}
	running.push(func(context.Context) error { return admin.Close() })
	for name, to := range receivers {
		parts.Go(func() error {
			return t.part(ctx, "telling "+name, log, func(ctx context.Context) error { return t.notify(ctx, name, to, least, log) })
		})
	}
	for name, k := range keepers { // one that is slow, or away, does not hold up another
		parts.Go(func() error { t.testify(ctx, name, k, log); return nil })
	}
	for _, file := range f.tail {
		parts.Go(func() error {
			return t.part(ctx, "following "+file, log, func(ctx context.Context) error { return t.follow(ctx, file, log) })
		})
	}
	if servers != nil {
		parts.Go(func() error { return t.listen(ctx, servers, f.listenEvery(), is, log) })
	}
	if f.retention.file != "" {
		retention := newRetainer(t, &f.retention, log)
		retention.register(registry)
		parts.Go(func() error { return t.part(ctx, "retention", log, retention.run) })
	}
	if err := f.takeOrders(ctx, env, t, registry, parts, log); err != nil {
		parts.Go(func() error { return err }) // it ends the others
		return parts.Wait()                   //nolint:wrapcheck // likewise
	}
	parts.Go(func() error { return t.confess(ctx, log) })
	parts.Go(func() error { return detections.run(ctx) })
	log.LogAttrs(ctx, slog.LevelInfo, "audit trail", slog.String("data", f.data), slog.String("address", address), slog.String("admin", admin.Addr().String()),
		slog.Any("tail", f.tail), slog.Uint64("last", t.log.Last()), slog.String("publicKey", t.ledger.Verifier()))
	return parts.Wait() //nolint:wrapcheck // the parts say what they did
}

// engines reads the rules and what goes beside them, and gives what makes an engine that
// has observed nothing.
func (f *serveAuditFlags) engines() (*detect.Set, func() (*detect.Engine, error), error) {
	set, err := f.rules.load()
	if err != nil {
		return nil, nil, err
	}
	var compare *reconcile.Config
	if f.reconcile != "" {
		text, err := os.ReadFile(f.reconcile)
		if err != nil {
			return nil, nil, badUse(fmt.Errorf("--reconcile: %w", err))
		}
		cfg, err := reconcile.ParseConfig(text)
		if err != nil {
			return nil, nil, badUse(fmt.Errorf("--reconcile %s: %w", f.reconcile, err))
		}
		compare = &cfg
	}
	engine := func() (*detect.Engine, error) {
		var others []detect.Stateful
		if compare != nil {
			d, err := reconcile.NewDetection(*compare)
			if err != nil {
				return nil, err //nolint:wrapcheck // it says what it was doing
			}
			others = append(others, d)
		}
		return f.rules.engineOf(set, others...)
	}
	_, err = engine() // what is wrong now is wrong for good
	return set, engine, err
}

// How long an expected server may be silent unless the flag says, and how often it is
// looked whether one is.
const (
	defaultSilence = 2 * time.Minute
	looksInSilence = 8
)

// servers listens before the log for API servers; nil where nobody asks.
func (f *serveAuditFlags) servers(t *trail, is life) (*reconcile.Servers, error) {
	if len(f.expected) == 0 && f.silence == 0 {
		return nil, nil
	}
	learn, now := f.silence > 0, t.now()
	if !learn {
		f.silence = defaultSilence
	}
	servers, err := reconcile.NewServers(f.silence, f.expected, learn, now)
	if err != nil {
		return nil, badUse(fmt.Errorf("--expect-server: %w", err))
	}
	for _, name := range is.Servers {
		servers.Hear(name, now) // what fell silent while nobody listened is told of too
	}
	t.sink = hearing{t.log, servers, t.now}
	return servers, nil
}

func (f *serveAuditFlags) listenEvery() time.Duration {
	return max(f.silence/looksInSilence, time.Millisecond)
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
	tail, err := logfile.NewTail(logfile.TailConfig{
		Path: path, Position: filepath.Join(t.dir, "tail", hex.EncodeToString(sum[:8])+".position"), Sink: t.sink, Decode: t.decoder(source).Decode, Source: source, Log: log, Now: t.now,
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
	clients := webhook.Clients{Bound: map[string]string{}}
	for _, text := range f.names {
		server, name := webhook.Binding(text)
		if _, twice := clients.Bound[name]; twice || name == "" {
			return "", fmt.Errorf("--client-name %s: a name is missing, or bound twice", text)
		}
		if server == "" {
			clients.Names = append(clients.Names, name)
		} else {
			clients.Bound[name] = server
		}
	}
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
		if clients.Tokens, err = webhook.OpenTokens(env.Now(), f.tokens...); err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
	}
	hook, err := webhook.New(webhook.Config{
		Sink: t.sink, Decode: t.decoder("webhook").Decode, Clients: clients, MaxBody: f.maxBody, MaxWaiting: f.waiting, Log: log, Now: env.Now,
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
