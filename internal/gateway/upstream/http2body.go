package upstream

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// http2Request is a request's body while net/http's goroutine reads it.
type http2Request struct {
	src io.Reader
	req *message.Request
	out *http.Request

	mu     sync.Mutex // held while src is read
	state  sync.Mutex
	begun  bool
	closed bool
	err    error
}

// Read reads from the client.
func (r *http2Request) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Lock()
	r.begun = true
	closed := r.closed
	r.state.Unlock()
	if closed {
		return 0, errClosed
	}
	n, err := r.src.Read(p)
	r.state.Lock()
	defer r.state.Unlock()
	switch {
	case errors.Is(err, io.EOF):
		if !r.closed {
			for _, f := range r.req.Trailer {
				name := http.CanonicalHeaderKey(f.Name)
				if _, declared := r.out.Trailer[name]; declared {
					r.out.Trailer[name] = append(r.out.Trailer[name], f.Value)
				}
			}
		}
		return n, io.EOF
	case err != nil:
		r.err = err
	}
	return n, err
}

// Close ends the reading: net/http calls it when the stream is over.
func (r *http2Request) Close() error {
	r.state.Lock()
	defer r.state.Unlock()
	r.closed = true
	return nil
}

// finish makes sure that nobody reads the client's body any more. A Read that
// waits for an HTTP/2 client is ended by closing the body, where that can be
// done; one that waits for an HTTP/1 client ends with that client's deadline.
func (r *http2Request) finish() {
	if r.src == nil {
		return
	}
	_ = r.Close()
	if c, ok := r.src.(io.Closer); ok {
		_ = c.Close()
	} else if r.req.Proto >= 20 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
}

func (r *http2Request) touched() bool {
	r.state.Lock()
	defer r.state.Unlock()
	return r.begun
}

func (r *http2Request) failure() error {
	r.state.Lock()
	defer r.state.Unlock()
	return r.err
}

// http2Body is the body of a response over HTTP/2.
type http2Body struct {
	res    *http.Response
	ctx    func() error // why the exchange ended, if it did
	expire func()
	idle   time.Duration
	e      *endpoint
	sent   *http2Request
	end    func()

	err     error
	trailer message.Header
}

// Read gives body bytes.
func (b *http2Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	var t *time.Timer
	if b.idle > 0 {
		t = time.AfterFunc(b.idle, b.expire)
	}
	n, err := b.res.Body.Read(p)
	if t != nil {
		t.Stop()
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		for _, f := range appendHeader(nil, b.res.Trailer) {
			if message.TrailerAllowed(f.Name) {
				b.trailer = append(b.trailer, f)
			}
		}
		b.finish(io.EOF)
	default:
		out := fault(b.e.addr, err)
		switch cause := b.ctx(); {
		case errors.Is(cause, os.ErrDeadlineExceeded):
			out.Kind = Timeout
		case cause == nil && out.Kind == Canceled:
			out.Kind = BackendGone
		}
		if berr := b.sent.failure(); berr != nil {
			out.Kind, out.Err = BodyRead, berr
		}
		b.finish(out)
	}
	return n, b.err
}

// Buffered gives nothing: net/http does not tell what it has.
func (b *http2Body) Buffered() []byte { return nil }

// Trailer gives the trailer fields after Read gave io.EOF.
func (b *http2Body) Trailer() message.Header { return b.trailer }

// Close ends the stream, if it has not ended.
func (b *http2Body) Close() error {
	if b.err == nil {
		b.finish(errClosed)
	}
	return nil
}

func (b *http2Body) finish(err error) {
	b.err = err
	_ = b.res.Body.Close()
	b.end()
	b.e.active.Add(-1)
	b.sent.finish()
}
