package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// session is one data plane's connection, seen from the controller.
type session struct {
	server *Server
	client Client // guarded by server.mu, but for Name and Remote
	rc     *http.ResponseController
	out    *bufio.Writer
	// have is the state that the data plane has been brought to.
	have *state
}

// validName is that of a pod, or of a machine.
var validName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// ServeHTTP serves one data plane until it leaves, falls silent or the Server
// closes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &session{server: s, rc: http.NewResponseController(w), client: Client{Remote: r.RemoteAddr, Since: s.cfg.Now()}}
	status, why := c.judge(r)
	if why == "" {
		if why = s.enter(c); why != "" {
			status = http.StatusServiceUnavailable
		}
	}
	if why != "" {
		s.count.refused.Add(1)
		s.log(r.Context(), slog.LevelWarn, "data plane is turned away", c, slog.String("reason", why))
		http.Error(w, why, status)
		return
	}
	defer s.leave(c)
	c.out = bufio.NewWriterSize(&timedWriter{w: w, c: c}, 64<<10)
	s.log(r.Context(), slog.LevelInfo, "data plane connected", c, slog.String("version", c.client.Version))
	err := c.serve(w, r)
	level := slog.LevelWarn
	if errors.Is(err, errTooOld) || errors.Is(err, errClosing) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		level = slog.LevelInfo
	}
	s.log(r.Context(), level, "data plane disconnected", c, slog.Any("error", err))
}

// judge says why a request is not served, or "".
func (c *session) judge(r *http.Request) (status int, why string) {
	q := r.URL.Query()
	switch {
	case r.TLS == nil || len(r.TLS.VerifiedChains) == 0:
		return http.StatusForbidden, "a client certificate is required"
	case r.URL.Path != Path:
		return http.StatusNotFound, "nothing is served here; data planes connect to " + Path
	case r.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "data planes connect with POST"
	case r.ProtoMajor != 2:
		return http.StatusHTTPVersionNotSupported, "the stream needs HTTP/2"
	case q.Get("protocol") != strconv.Itoa(Protocol):
		return http.StatusConflict, fmt.Sprintf("relay protocol %s of data plane version %s is not protocol %d of controller version %s; install the same version of both",
			plain(q.Get("protocol")), plain(q.Get("version")), Protocol, c.server.cfg.Version)
	case !validName.MatchString(q.Get("name")):
		return http.StatusBadRequest, "name is not that of a pod"
	}
	c.client.Name, c.client.Version = q.Get("name"), plain(q.Get("version"))
	return 0, ""
}

// serve runs the stream and gives the reason of its end, never nil.
func (c *session) serve(w http.ResponseWriter, r *http.Request) error {
	s := c.server
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	listening := make(chan struct{})
	// A deadline that has passed ends the reading below.
	defer func() {
		cancel(nil) // first: listen sets its deadline, then looks at ctx
		_ = c.rc.SetReadDeadline(time.Unix(1, 0))
		<-listening
	}()
	go func() {
		defer close(listening)
		cancel(c.listen(ctx, r.Body))
	}()

	w.Header().Set("Content-Type", "application/vnd.bulwark.relay")
	_, _ = c.out.Write(line(verbHello, hello{
		Protocol: Protocol, Version: s.cfg.Version, Kinds: kindIDs(), HeartbeatMS: s.cfg.Heartbeat.Milliseconds(),
	}))
	if err := c.flush(); err != nil {
		return err
	}
	err := c.feed(ctx, r)
	if errors.Is(err, errTooOld) || errors.Is(err, errClosing) || errors.Is(err, errExpired) || errors.Is(err, errUnready) {
		_, _ = c.out.Write(line(verbBye, notice{Reason: err.Error()}))
		_ = c.flush() // it may be gone already
	}
	return err
}

var errUnready = errors.New("this controller has not read the cluster yet")

// feed sends each newest state, and signs of life.
func (c *session) feed(ctx context.Context, r *http.Request) error {
	s := c.server
	age, why := c.age(r)
	end := time.NewTimer(age)
	defer end.Stop()
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	digest := r.URL.Query().Get("have")
	for {
		cur, changed := s.state()
		if cur != nil && cur != c.have {
			if err := c.send(cur, digest); err != nil {
				return err
			}
			digest = ""
			continue // there may be a newer one
		}
		select {
		case <-changed:
		case <-beat.C:
			if cur == nil {
				// Another replica may know more.
				return errUnready
			}
			_, _ = c.out.WriteString(verbPing + "\n")
			if err := c.flush(); err != nil {
				return err
			}
		case <-end.C:
			return why
		case <-s.closing:
			return errClosing
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// age is how long the connection may live, and why not longer: connections end
// at different times, and none outlives the certificate behind it.
func (c *session) age(r *http.Request) (time.Duration, error) {
	s := c.server
	age := s.cfg.MaxAge - time.Duration(unit(s.cfg.Random)*float64(s.cfg.MaxAge)/5)
	if left := r.TLS.PeerCertificates[0].NotAfter.Sub(s.cfg.Now()); left < age {
		return max(left, 0), errExpired
	}
	return age, errTooOld
}

// send brings the data plane to a state. Digest is that of what it had before
// it connected.
func (c *session) send(cur *state, digest string) error {
	s := c.server
	switch {
	case c.have != nil:
		s.count.deltas.Add(1)
	case cur.digest == digest:
		c.have = cur // only the commit is left to send
		s.count.resumed.Add(1)
	default:
		s.count.full.Add(1)
	}
	s.update(c, func(cl *Client) { cl.Sent = cur.revision })
	if err := writeDelta(c.out, c.have, cur); err != nil {
		return fmt.Errorf("send revision %d: %w", cur.revision, err)
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.have = cur
	return nil
}

func (c *session) flush() error {
	err := c.out.Flush()
	if err == nil {
		err = c.rc.Flush()
	}
	if err != nil {
		return fmt.Errorf("write to data plane: %w", err)
	}
	return nil
}

// listen reads what the data plane says until it falls silent or leaves.
func (c *session) listen(ctx context.Context, body io.Reader) error {
	s := c.server
	lines := newLineReader(body, 4<<10)
	for {
		if err := c.rc.SetReadDeadline(s.cfg.Now().Add(silence * s.cfg.Heartbeat)); err != nil {
			return fmt.Errorf("listen to data plane: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx) // the deadline that was to end this is gone
		}
		verb, text, err := lines.next()
		if err != nil {
			return fmt.Errorf("listen to data plane: %w", err)
		}
		switch verb {
		case verbPing:
		case verbApplied, verbFailed:
			p, err := parse[progress](text)
			if err != nil {
				return fmt.Errorf("listen to data plane: %s: %w", verb, err)
			}
			c.progress(ctx, verb, p)
		case verbRefuse:
			n, err := parse[notice](text)
			if err != nil {
				return fmt.Errorf("listen to data plane: %s: %w", verb, err)
			}
			return fmt.Errorf("the data plane refuses the stream: %s", plain(n.Reason))
		default:
			return fmt.Errorf("listen to data plane: %w: %q", errFrame, plain(verb))
		}
	}
}

func (c *session) progress(ctx context.Context, verb string, p progress) {
	failed := ""
	if verb == verbFailed {
		failed = plain(p.Reason)
		c.server.log(ctx, slog.LevelError, "data plane could not put a revision in force", c,
			slog.Uint64("revision", p.Revision), slog.String("reason", failed))
	}
	c.server.update(c, func(cl *Client) {
		if p.Revision > cl.Sent {
			return // it cannot have what it was not sent
		}
		cl.Failed = failed
		if verb == verbApplied {
			cl.Applied = max(cl.Applied, p.Revision)
		}
	})
}

// timedWriter gives each write a deadline of its own, so that a long state may
// take its time and a peer that accepts nothing may not.
type timedWriter struct {
	w http.ResponseWriter
	c *session
}

func (t *timedWriter) Write(b []byte) (int, error) {
	cfg := &t.c.server.cfg
	total := 0
	for len(b) > 0 {
		part := b[:min(len(b), 64<<10)]
		if err := t.c.rc.SetWriteDeadline(cfg.Now().Add(cfg.WriteTimeout)); err != nil {
			return total, err
		}
		n, err := t.w.Write(part)
		total += n
		t.c.server.count.bytes.Add(uint64(max(n, 0)))
		if err != nil {
			return total, err
		}
		b = b[n:]
	}
	return total, nil
}

// unit gives a number from 0 up to 1.
func unit(random func() uint64) float64 { return float64(random()>>11) / (1 << 53) }
