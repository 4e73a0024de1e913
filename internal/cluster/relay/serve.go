package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// goodbye is how long data planes have to hear that the controller stops.
const goodbye = 2 * time.Second

// Serve answers data planes on ln until ctx ends, then closes s and ln and
// gives nil. Conf is that of package identity; a configuration that does not
// verify client certificates is refused, at the latest in the handshake.
func (s *Server) Serve(ctx context.Context, ln net.Listener, conf *tls.Config) error {
	secured, err := verifying(conf)
	if err != nil {
		_ = ln.Close() // the error above tells more
		return fmt.Errorf("serve data planes on %s: %w", ln.Addr(), err)
	}
	srv := &http.Server{
		Handler: s, TLSConfig: secured,
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		// Whoever does not take the goodbye in time is cut off. Cutting at once
		// would lose it on the way.
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
		cut := context.AfterFunc(limit, func() { _ = srv.Close() })
		defer cut()
		s.Close()
		_ = srv.Shutdown(limit)
	})
	// Connections that never come to a handshake are bounded too.
	err = srv.ServeTLS(netutil.LimitListener(ln, s.cfg.MaxClients+256), "", "")
	if !stop() {
		<-stopped
	}
	s.Close()
	if err = errors.Join(err, srv.Close()); ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve data planes on %s: %w", ln.Addr(), err)
}

// verifying gives conf with HTTP/2 alone, and with what makes sure that nobody
// connects without a certificate that was verified.
func verifying(conf *tls.Config) (*tls.Config, error) {
	check := func(c *tls.Config) (*tls.Config, error) {
		if c.ClientAuth != tls.RequireAndVerifyClientCert || c.ClientCAs == nil {
			return nil, errors.New("the TLS configuration does not verify client certificates")
		}
		c = c.Clone()
		c.NextProtos = []string{"h2"}
		c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
		c.SessionTicketsDisabled = true // each connection shows its certificate again
		return c, nil
	}
	if conf == nil {
		return nil, errors.New("no TLS configuration")
	}
	choose := conf.GetConfigForClient
	if choose == nil {
		return check(conf)
	}
	outer := conf.Clone()
	outer.NextProtos, outer.MinVersion = []string{"h2"}, max(conf.MinVersion, tls.VersionTLS13)
	outer.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		inner, err := choose(h)
		switch {
		case err != nil:
			return nil, err
		case inner == nil:
			return check(conf)
		}
		return check(inner)
	}
	return outer, nil
}
