package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// connect keeps a connection to a controller until ctx ends.
func (w *Watcher) connect(ctx context.Context) {
	pause := backoff{least: w.cfg.MinBackoff, most: w.cfg.MaxBackoff, random: w.cfg.Random}
	for ctx.Err() == nil {
		before := w.count.commits.Load()
		err := w.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		if w.count.commits.Load() != before {
			pause.reset()
		}
		wait := pause.next()
		w.disconnected(ctx, err, wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (w *Watcher) disconnected(ctx context.Context, err error, wait time.Duration) {
	level, bye := slog.LevelWarn, byeError{}
	if errors.As(err, &bye) {
		level = slog.LevelInfo
	} else {
		w.count.failures.Add(1)
	}
	if errors.Is(err, errMismatch) || errors.Is(err, errFrame) || errors.As(err, new(skewError)) {
		w.count.resyncs.Add(1)
		w.mirror.forget()
	}
	w.cfg.Log.LogAttrs(ctx, level, "no controller; what is in force stays", slog.Any("error", err), slog.Duration("retry", wait))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Connected, w.status.Revision, w.status.Error = false, 0, err.Error()
}

// stream runs one connection and gives the reason of its end, never nil.
func (w *Watcher) stream(ctx context.Context) error {
	conf, err := w.cfg.TLS()
	if err != nil {
		return fmt.Errorf("connect to controller: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	// Silent ends a connection on which nothing comes.
	silent := time.AfterFunc(w.cfg.ConnectTimeout, func() { cancel(errSilent) })
	transport := transportFor(conf, w.cfg.ConnectTimeout)
	up, upWriter := io.Pipe()
	// While a request's body is being read the transport does not look at ctx.
	unhook := context.AfterFunc(ctx, func() { _ = up.CloseWithError(context.Cause(ctx)) })
	var writing sync.WaitGroup
	defer func() {
		unhook()
		silent.Stop()
		cancel(nil)
		_ = up.Close() // ends the writer below
		writing.Wait()
		transport.CloseIdleConnections()
	}()

	w.mirror.connect()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, up)
	if err != nil {
		return fmt.Errorf("connect to controller: %w", err)
	}
	if w.mirror.digest != "" {
		q := req.URL.Query()
		q.Set("have", w.mirror.digest)
		req.URL.RawQuery = q.Encode()
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("connect to controller %s: %w", w.cfg.URL, causeOr(ctx, err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what there is of it
		return fmt.Errorf("connect to controller %s: refused with %d: %s", w.cfg.URL, resp.StatusCode, plain(string(text)))
	}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		left := resp.TLS.PeerCertificates[0].NotAfter.Sub(w.cfg.Now())
		expiry := time.AfterFunc(left, func() { cancel(errExpired) })
		defer expiry.Stop()
	}
	return causeOr(ctx, w.receive(ctx, resp.Body, upWriter, silent, &writing))
}

// causeOr prefers the reason for which ctx was ended to the error that followed.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func transportFor(conf *tls.Config, timeout time.Duration) *http.Transport {
	conf = conf.Clone()
	conf.NextProtos = nil // the transport says that it speaks HTTP/2
	var only http.Protocols
	only.SetHTTP2(true)
	dialer := net.Dialer{Timeout: timeout}
	return &http.Transport{
		TLSClientConfig: conf, Protocols: &only, DialContext: dialer.DialContext,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
		DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }, //nolint:nilnil // nil means none
	}
}

// receive reads the stream to its end.
func (w *Watcher) receive(ctx context.Context, down io.Reader, up *io.PipeWriter, silent *time.Timer, writing *sync.WaitGroup) error {
	m, beat := &w.mirror, time.Duration(0)
	lines := newLineReader(tap{down, func(n int) {
		// Any bytes are a sign of life: a long line takes its time.
		w.count.bytes.Add(uint64(max(n, 0)))
		if beat > 0 {
			silent.Reset(silence * beat)
			w.heard()
		}
	}}, MaxFrame)
	verb, body, err := lines.next()
	if err != nil {
		return fmt.Errorf("read from controller: %w", err)
	}
	if _, err := m.take(verb, body); err != nil {
		w.refuse(up, down, err)
		return err
	}
	h, err := greeting(body)
	if err != nil {
		return err
	}
	if h.HeartbeatMS < minHeartbeat.Milliseconds() || h.HeartbeatMS > maxHeartbeat.Milliseconds() {
		return fmt.Errorf("hello: %w: heartbeat of %d ms", errFrame, h.HeartbeatMS)
	}
	beat = time.Duration(h.HeartbeatMS) * time.Millisecond
	silent.Reset(silence * beat)
	connection, reports := w.connected()
	defer w.hangUp()
	writing.Go(func() { w.speak(ctx, up, reports, beat) })
	for {
		verb, body, err := lines.next()
		if err != nil {
			return fmt.Errorf("read from controller: %w", err)
		}
		committed, err := m.take(verb, body)
		if err != nil {
			if !errors.As(err, new(byeError)) {
				w.refuse(up, down, err)
			}
			return err
		}
		if committed {
			w.committed(delivery{connection: connection, revision: m.revision, digest: m.digest, snap: m.snapshot()})
		}
	}
}

// refuse tells the controller why this end leaves, and waits until it has hung
// up or the time for its next sign of life is over.
func (w *Watcher) refuse(up io.WriteCloser, down io.Reader, why error) {
	if _, err := up.Write(line(verbRefuse, notice{Reason: plain(why.Error())})); err == nil {
		_ = up.Close()
		_, _ = io.Copy(io.Discard, down) // only its end matters
	}
}

// speak sends reports and signs of life until ctx ends.
func (w *Watcher) speak(ctx context.Context, up io.Writer, reports <-chan []byte, beat time.Duration) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		var text []byte
		select {
		case <-ctx.Done():
			return
		case text = <-reports:
		case <-ticker.C:
			text = []byte(verbPing + "\n")
		}
		if _, err := up.Write(text); err != nil {
			return // the reading end gives the reason
		}
	}
}

func (w *Watcher) connected() (connection uint64, reports <-chan []byte) {
	w.count.connects.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts++
	w.reports = make(chan []byte, 1)
	w.status.Connected, w.status.Heard, w.status.Error = true, w.cfg.Now(), ""
	return w.attempts, w.reports
}

func (w *Watcher) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = nil
}

func (w *Watcher) heard() {
	now := w.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Heard = now
}
