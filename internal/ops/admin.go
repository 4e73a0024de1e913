package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one condition of readiness. Its error tells an operator why not.
type Check struct {
	Name string
	Fn   func() error
}

// Admin serves /healthz, /readyz, /metrics and, where asked for, /debug/pprof on
// a listener of its own, which is not for callers of the guarded APIs.
type Admin struct {
	srv  *http.Server
	ln   net.Listener
	done chan error
}

// AdminConfig is what an Admin serves.
type AdminConfig struct {
	Address string
	Metrics *prometheus.Registry
	Ready   []Check
	// Profiles turns /debug/pprof on. It shows memory: keep it off the network.
	Profiles bool
	// Status, where set, is served as JSON on /status.
	Status func() any
	Log    *slog.Logger
}

// StartAdmin listens and serves until Close.
func StartAdmin(ctx context.Context, cfg AdminConfig) (*Admin, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("open admin listener: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", readyz(cfg.Ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{}))
	if cfg.Status != nil {
		mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			_ = enc.Encode(cfg.Status())
		})
	}
	if cfg.Profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	}
	a := &Admin{
		ln: ln, done: make(chan error, 1),
		srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)},
	}
	go func() { a.done <- a.srv.Serve(ln) }()
	return a, nil
}

// Addr is where it listens.
func (a *Admin) Addr() net.Addr { return a.ln.Addr() }

// Close stops serving.
func (a *Admin) Close() error {
	err := a.srv.Close()
	if served := <-a.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func readyz(checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		var out []byte
		status := http.StatusOK
		for _, c := range checks {
			if err := c.Fn(); err != nil {
				status = http.StatusServiceUnavailable
				out = fmt.Appendf(out, "%s: %v\n", c.Name, err)
				continue
			}
			out = fmt.Appendf(out, "%s: ok\n", c.Name)
		}
		w.WriteHeader(status)
		_, _ = w.Write(out)
	}
}
