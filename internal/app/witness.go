package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/proof/witness"
	"bulwark.dev/bulwark/internal/ops"
)

// serveWitnessFlags are the settings of "bulwark serve witness".
type serveWitnessFlags struct {
	processFlags
	listen    string
	cert, key string
	keyFile   string
	origins   []string
	data      string
	drain     time.Duration
}

func newServeWitness(env *Env) *cobra.Command {
	var f serveWitnessFlags
	cmd := &cobra.Command{
		Use:   "witness",
		Short: "Sign checkpoints of audit trails that only ever grew, for others",
		Long: `Answer "bulwark serve audit --witness-url", or any other log that speaks C2SP
tlog-witness: sign a checkpoint if it grew out of the one that was signed last, and
refuse if it did not. Run it on another machine than the trail, for other people: then
nobody can put the trail back to an older state, or write its past anew, unseen.

It signs for the logs whose public keys it is given (--origin-key, the trail's
keys/log.pub) and needs no other knowledge of who asks. What it signed last stands in
--data. Losing that folder makes it sign an older past again: back it up, and never
run two on copies of it. "bulwark audit witness-key" makes its key.`,
		Example: `  bulwark audit witness-key --name example.org/witness --key-file witness.key > witness.pub
  bulwark serve witness --listen :9643 --tls-cert tls.crt --tls-key tls.key --key-file witness.key --origin-key log.pub --data witnessed`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runProcess(cmd.Context(), env, &f.processFlags, f.drain, func(ctx context.Context, log *slog.Logger, running *stack) error {
				return serveWitness(ctx, env, log, &f, running)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", ":9643", "address on which logs ask")
	fl.StringVar(&f.cert, "tls-cert", "", "file with the certificate; it is read again when it changes")
	fl.StringVar(&f.key, "tls-key", "", "file with its key")
	fl.StringVar(&f.keyFile, "key-file", "", "file with the key that signs, made by \"bulwark audit witness-key\"")
	fl.StringArrayVar(&f.origins, "origin-key", nil, "file with the public key of a log to sign for, as keys/log.pub of a trail; may be repeated")
	fl.StringVar(&f.data, "data", "", "folder for what was signed last")
	fl.DurationVar(&f.drain, "drain", 10*time.Second, "how long requests in flight may take after the signal to stop")
	f.add(fl, ":9400", "json")
	return cmd
}

func (f *serveWitnessFlags) check() error {
	var err error
	for flag, v := range map[string]string{"key-file": f.keyFile, "data": f.data, "tls-cert": f.cert, "tls-key": f.key} {
		if v == "" {
			err = errors.Join(err, fmt.Errorf("--%s is required", flag))
		}
	}
	if len(f.origins) == 0 {
		err = errors.Join(err, errors.New("nothing would ever be signed: give --origin-key"))
	}
	if f.drain < 0 {
		err = errors.Join(err, errors.New("--drain: expected a positive time"))
	}
	return err
}

// server reads the keys and makes the witness.
func (f *serveWitnessFlags) server() (*witness.Server, error) {
	info, err := os.Stat(f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("--key-file: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("--key-file: %s can be read by everybody (mode %o): who has read it can be this witness", f.keyFile, info.Mode().Perm())
	}
	secret, err := os.ReadFile(f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("--key-file: %w", err)
	}
	var logs []string
	for _, file := range f.origins {
		text, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
		if err != nil {
			return nil, fmt.Errorf("--origin-key: %w", err)
		}
		logs = append(logs, strings.TrimSpace(string(text)))
	}
	return witness.NewServer(witness.ServerConfig{Dir: f.data, Signer: string(secret), Logs: logs}) //nolint:wrapcheck // it says what it was doing
}

// maxWitnessed is how many requests are under way at once; each is small and short.
const maxWitnessed = 64

// serveWitness signs until ctx ends.
func serveWitness(ctx context.Context, env *Env, log *slog.Logger, f *serveWitnessFlags, running *stack) error {
	if err := f.check(); err != nil {
		return badUse(err)
	}
	cert, err := ops.OpenCertificate(f.cert, f.key, log)
	if err != nil {
		return badUse(fmt.Errorf("--tls-cert, --tls-key: %w", err))
	}
	signer, err := f.server()
	if err != nil {
		return badUse(err)
	}
	unlock, err := lockFolder(filepath.Join(f.data, "lock"))
	if err != nil {
		return badUse(fmt.Errorf("--data %s: is another witness using it? %w", f.data, err))
	}
	running.push(func(context.Context) error { return unlock() })
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return badUse(fmt.Errorf("--listen: %w", err))
	}
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bulwark_witness_requests_total", Help: "Requests by the status of their answer: 200 signed, 409 and 422 another past or an older one.",
	}, []string{"code"})
	for _, code := range []int{http.StatusOK, http.StatusConflict, http.StatusUnprocessableEntity} {
		answers.WithLabelValues(strconv.Itoa(code))
	}
	registry := newRegistry()
	registry.MustRegister(answers, cert.Expiry("bulwark_witness_certificate_expires_seconds"))
	admin, err := ops.StartAdmin(ctx, ops.AdminConfig{Address: f.admin, Metrics: registry, Profiles: f.profiles, Log: log, Ready: []ops.Check{{Name: "certificate", Fn: func() error {
		if !env.Now().Before(cert.Expires()) {
			return fmt.Errorf("it expired at %s", cert.Expires().Format(time.RFC3339))
		}
		return nil
	}}}})
	if err != nil {
		return errors.Join(badUse(fmt.Errorf("start admin endpoints: %w", err)), ln.Close())
	}
	running.push(func(context.Context) error { return admin.Close() })
	srv := &http.Server{
		Handler: counted(signer, answers, log), TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.Get},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	log.LogAttrs(ctx, slog.LevelInfo, "witness", slog.String("address", ln.Addr().String()), slog.String("admin", admin.Addr().String()),
		slog.Int("logs", len(f.origins)), slog.String("data", f.data), slog.Time("certificateExpires", cert.Expires()))
	parts, ctx := errgroup.WithContext(ctx)
	serveTLS(ctx, parts, "the witness", srv, ln, cert, f.drain)
	return parts.Wait() //nolint:wrapcheck // the parts say what they did
}

// answered remembers what was answered.
type answered struct {
	http.ResponseWriter
	code int
}

func (s *answered) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// counted bounds and counts the requests to a witness, and tells the operator of those
// that it refused to sign: they are why it is there.
func counted(h http.Handler, answers *prometheus.CounterVec, log *slog.Logger) http.Handler {
	slots := make(chan struct{}, maxWitnessed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &answered{ResponseWriter: w, code: http.StatusOK}
		select {
		case slots <- struct{}{}:
			h.ServeHTTP(s, r)
			<-slots
		default:
			s.Header().Set("Retry-After", "1")
			http.Error(s, "too many requests at once", http.StatusServiceUnavailable)
		}
		answers.WithLabelValues(strconv.Itoa(s.code)).Inc()
		if s.code != http.StatusOK {
			log.LogAttrs(r.Context(), slog.LevelWarn, "checkpoint was not signed", slog.String("remote", r.RemoteAddr), slog.Int("status", s.code))
		}
	})
}

// newAuditWitnessKey makes the key of a witness.
func newAuditWitnessKey(env *Env) *cobra.Command {
	name, file := "", ""
	cmd := &cobra.Command{
		Use:   "witness-key",
		Short: "Make the key of a witness, and print its public half",
		Long: `Make a key for "bulwark serve witness". The secret half goes into --key-file, which must
not be there yet; the public half is printed. Trails name it with --witness-key, and
"bulwark audit verify" with --witness.`,
		Example: "  bulwark audit witness-key --name example.org/witness --key-file witness.key > witness.pub",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if name == "" || file == "" || strings.ContainsAny(name, "+ \t\r\n") || len(name) > 255 {
				return badUse(errors.New("--name and --key-file are required; the name is one word of at most 255 bytes without a plus, such as example.org/witness"))
			}
			secret, plain, err := note.GenerateKey(rand.Reader, name)
			if err != nil {
				return badUse(fmt.Errorf("make a key for witness %q: %w", name, err))
			}
			public, err := fnote.VKeyToCosignatureV1(plain)
			if err != nil {
				return fmt.Errorf("make a key for witness %q: %w", name, err)
			}
			if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
				return badUse(fmt.Errorf("--key-file: %s is there already; a witness keeps its key for life", file))
			}
			if err := proof.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
				return fmt.Errorf("store the witness's key: %w", err)
			}
			_, err = fmt.Fprintln(env.Stdout, public)
			return err //nolint:wrapcheck // standard output
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&name, "name", "", "name of the witness, such as example.org/witness")
	fl.StringVar(&file, "key-file", "", "file for the secret half")
	return cmd
}
