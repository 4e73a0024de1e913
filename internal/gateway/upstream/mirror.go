package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

const (
	// maxMirrors is how many copies of one set may be under way.
	maxMirrors = 64
	// mirrorTimeout bounds one copy.
	mirrorTimeout = 30 * time.Second
)

// mirrors are the copies under way. Above maxMirrors copies are dropped.
type mirrors struct {
	slots  chan struct{}
	ctx    func() context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func newMirrors() *mirrors {
	ctx, cancel := context.WithCancel(context.Background())
	return &mirrors{slots: make(chan struct{}, maxMirrors), ctx: func() context.Context { return ctx }, cancel: cancel}
}

// start runs f unless there are too many already.
func (m *mirrors) start(f func(context.Context)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	select {
	case m.slots <- struct{}{}:
	default:
		return false
	}
	m.wg.Go(func() {
		defer func() { <-m.slots }()
		f(m.ctx())
	})
	return true
}

func (m *mirrors) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
}

// Mirror sends a copy of req as it is now and ignores the answer. It does not
// wait, except for a body, of which it reads up to 64 KiB; req.Body then gives
// those bytes again. It reports false where the copy was dropped: too many are
// under way, the body is larger, could not be read, or its client waits to be
// asked for it. A drop is counted.
func (b *Backend) Mirror(req *message.Request) bool {
	if b.g == nil {
		return false
	}
	var body []byte
	ok := true
	if req.Body != nil {
		body, ok = mirrorBody(req)
	}
	if ok {
		ok = b.startMirror(req, body)
	}
	if !ok {
		b.g.stats.dropped.Add(1)
		return false
	}
	b.g.stats.mirrored.Add(1)
	return true
}

func (b *Backend) startMirror(req *message.Request, body []byte) bool {
	out := &message.Request{Method: req.Method, Proto: 11}
	if body != nil {
		out.Body, out.ContentLength = bytes.NewReader(body), int64(len(body))
	}
	c := &Call{Req: out, Header: slices.Clone(req.Header), Authority: req.Authority(), Target: req.Target(), TryTimeout: mirrorTimeout, Watch: true}
	return b.set.mirrors.start(func(ctx context.Context) {
		var resp message.Response
		if err := b.Do(ctx, c, &resp); err != nil {
			return // counted by Do; nobody waits for the answer
		}
		if resp.Body != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, replaySize))
			_ = resp.Body.Close()
		}
	})
}

// mirrorBody reads a small body and puts it back.
func mirrorBody(req *message.Request) ([]byte, bool) {
	if req.Expect || req.ContentLength > replaySize {
		return nil, false
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, replaySize+1))
	switch {
	case err != nil:
		req.Body = io.MultiReader(bytes.NewReader(body), failing{err})
	case len(body) > replaySize || req.ContentLength < 0 && len(body) == replaySize:
		req.Body = io.MultiReader(bytes.NewReader(body), req.Body)
	default:
		req.Body = bytes.NewReader(body)
		if req.ContentLength >= 0 && int64(len(body)) < req.ContentLength {
			req.Body, err = io.MultiReader(bytes.NewReader(body), failing{errShortBody}), errShortBody
		}
	}
	return body, err == nil && len(body) <= replaySize
}

// failing is a reader that has failed.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, errors.ErrUnsupported
	}
	return 0, f.err
}
