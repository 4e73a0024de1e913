package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

var (
	errHelloTooLarge = errors.New("tls: the ClientHello is too large")
	errServerName    = errors.New("tls: the server name is not a hostname")
	// errLeftAlone ends crypto/tls's part in a connection that stays encrypted,
	// or is not to be had.
	errLeftAlone = errors.New("tls: the connection is not terminated here")
)

// hello is a client's connection until it is known who ends its TLS. crypto/tls
// reads the ClientHello from it, whatever records it comes in. Until the
// decision nothing is written, not even an alert, and what was read is kept for
// a backend.
type hello struct {
	net.Conn
	limit   int // most bytes before the decision
	kept    []byte
	through bool // decided: TLS ends here
}

// Read gives the client's bytes and keeps them.
func (h *hello) Read(p []byte) (int, error) {
	if h.through {
		return h.Conn.Read(p)
	}
	room := h.limit - len(h.kept)
	if room <= 0 {
		return 0, errHelloTooLarge
	}
	n, err := h.Conn.Read(p[:min(len(p), room)])
	h.kept = append(h.kept, p[:n]...)
	return n, err
}

// Write drops what is written before the decision.
func (h *hello) Write(p []byte) (int, error) {
	if h.through {
		return h.Conn.Write(p)
	}
	return len(p), nil
}

// CloseWrite tells the client that nothing more will come.
func (h *hello) CloseWrite() error {
	if c, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return h.Close()
}

// bySNI reads the ClientHello of a connection to an address that listeners of
// requests and of streams share, and goes on as the listener of its server name
// says. It gives the TLS connection where requests follow; otherwise the
// connection has been served to its end.
//
// A connection that no listener wants is closed without an alert: clients and
// the conformance suite tell a refused connection by its end.
func (c *h1conn) bySNI(key string) *tls.Conn {
	s := c.srv
	st := &stream{srv: s, c: c, key: key, start: s.cfg.Now()}
	defer st.x.Done() // whatever happens, the connection's place is given back
	h := &hello{Conn: c.raw, limit: s.cfg.Limits.HeaderBytes}
	_ = c.raw.SetDeadline(st.start.Add(s.cfg.Limits.HeaderTimeout))
	tc := tls.Server(h, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			cfg, err := st.choose(info.ServerName)
			h.through = cfg != nil
			return cfg, err
		},
	})
	err := tc.HandshakeContext(s.ctx)
	_ = c.raw.SetDeadline(time.Time{})
	switch {
	case st.listener != nil && !st.streams():
		if err != nil {
			c.handshakeFailed(key, err)
			return nil
		}
		return tc
	case st.listener == nil && !errors.Is(err, errLeftAlone) || h.through && err != nil:
		// No hello that could be read, or no handshake after it.
		c.handshakeFailed(key, err)
		st.abandon(err)
	case h.through:
		h.kept = nil
		st.serve(tc, nil)
	default:
		first := h.kept
		h.through, h.kept = true, nil
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			st.serve(tcp, first)
		} else {
			st.serve(h, first)
		}
	}
	return nil
}

func (c *h1conn) handshakeFailed(key string, err error) {
	c.srv.metrics.handshakes.Add(1)
	c.srv.cfg.Log.LogAttrs(c.srv.ctx, slog.LevelDebug, "TLS handshake failed", slog.String("address", key), slog.Any("error", err))
}

// hostOfSNI gives a server name as patterns are written. A backend will see the
// name as it came, so one that is not plainly a hostname is refused (RFC 6066
// section 3 permits neither addresses nor a trailing dot; crypto/tls has refused
// the latter). The empty name is that of a client that sent none.
func hostOfSNI(sni string) (string, error) {
	if sni == "" {
		return "", nil
	}
	host, port, ok := message.SplitHost(sni)
	if !ok || port != "" || strings.HasSuffix(sni, ".") {
		return "", fmt.Errorf("%w: %q", errServerName, sni)
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return "", fmt.Errorf("%w: %q is an address", errServerName, sni)
	}
	return host, nil
}
