package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Server serves one table at a time on the addresses that the table names.
type Server struct {
	cfg     Config
	metrics *metrics
	table   atomic.Pointer[table]
	h2      *http.Server
	h2conns *handover

	open atomic.Int64 // client connections

	applying sync.Mutex // held by Apply

	mu      sync.Mutex // guards what follows; never held while serving
	binds   map[string]*bind
	conns   map[*h1conn]struct{}
	streams map[*stream]struct{} // those with a backend
	wg      sync.WaitGroup       // accept loops and connections
	done    bool

	ctx    context.Context // the lifetime of connections, not of a call
	cancel context.CancelFunc
}

// bind is one open listening socket.
type bind struct {
	key string
	ln  net.Listener
	// tls holds the keys of session tickets: one for the life of the socket, so
	// that clients can resume.
	tls *tls.Config
}

// New makes a server that serves nothing until Apply. Call Shutdown, whatever
// happens.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, metrics: newMetrics(), binds: map[string]*bind{}, conns: map[*h1conn]struct{}{},
		streams: map[*stream]struct{}{}, ctx: ctx, cancel: cancel,
	}
	s.table.Store(&table{ir: &ir.Table{}})
	s.startHTTP2()
	return s, nil
}

// Apply makes t the table in force. Problems name parts that refuse their
// requests. On an error nothing has changed: the table before stays in force.
// An address that cannot be opened is an error, or, with Config.PartialBind, a
// problem of each of its listeners until a later Apply can open it.
func (s *Server) Apply(ctx context.Context, t *ir.Table) ([]Problem, error) {
	// One table after the other, while connections come and go.
	s.applying.Lock()
	defer s.applying.Unlock()
	prev := s.table.Load()
	next, problems := newTable(t, prev, &s.cfg, s.metrics) //nolint:contextcheck // what it starts outlives the call
	opened, unopened, err := s.listen(ctx, next)
	if err == nil {
		problems = append(problems, unopened...)
		err = s.swap(next, opened)
	}
	if err != nil {
		for _, b := range opened {
			_ = b.ln.Close()
		}
		next.discard(prev)
		return nil, fmt.Errorf("apply table: %w", err)
	}
	if prev.set != nil {
		prev.set.Retire(next.set)
	}
	s.cfg.Filters.State.Retain(t)
	s.metrics.retain(next)
	return problems, nil
}

// listen opens the addresses of next that are not open. On an error the caller
// closes those that it gives.
func (s *Server) listen(ctx context.Context, next *table) (opened []*bind, problems []Problem, err error) {
	s.mu.Lock()
	var missing []string
	for key := range next.binds {
		if s.binds[key] == nil {
			missing = append(missing, key)
		}
	}
	s.mu.Unlock()
	slices.Sort(missing)
	for _, key := range missing {
		ln, err := s.cfg.Listen(ctx, "tcp", key)
		switch {
		case err == nil:
			opened = append(opened, &bind{key: key, ln: ln, tls: s.tlsConfig(key)})
		case s.cfg.PartialBind:
			problems = append(problems, unbound(next.binds[key], err)...)
		default:
			return opened, nil, fmt.Errorf("open listener: %w", err)
		}
	}
	return opened, problems, nil
}

// swap puts next in force.
func (s *Server) swap(next *table, opened []*bind) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return errors.New("the server is shutting down")
	}
	s.table.Store(next)
	for _, b := range opened {
		s.binds[b.key] = b
		s.wg.Go(func() { s.accept(b) })
	}
	gone := false
	for key, b := range s.binds {
		if next.binds[key] == nil {
			_ = b.ln.Close()
			delete(s.binds, key)
			gone = true
		}
	}
	for c := range s.conns {
		// What is on its way is answered; who comes later is told that nobody is there.
		if gone && next.binds[c.key] == nil {
			c.endIdle()
		}
	}
	for st := range s.streams {
		st.review(next)
	}
	return nil
}

// unbound is what an address that cannot be opened means to its listeners.
func unbound(b *bindTable, err error) []Problem {
	problems := make([]Problem, 0, len(b.named))
	for _, name := range b.named {
		problems = append(problems, Problem{Listener: name, Err: fmt.Errorf("open listener: %w", err)})
	}
	return problems
}

// Addresses gives the addresses that are open, by "ip:port" of the table.
func (s *Server) Addresses() map[string]net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]net.Addr, len(s.binds))
	for key, b := range s.binds {
		out[key] = b.ln.Addr()
	}
	return out
}

// accept hands out the connections of one socket until it is closed.
func (s *Server) accept(b *bind) {
	pause := 5 * time.Millisecond
	for {
		c, err := b.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, mostly: wait for some to come back.
			s.cfg.Log.LogAttrs(s.ctx, slog.LevelWarn, "accept failed", slog.String("address", b.key), slog.Any("error", err))
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
				return
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		if s.open.Add(1) > int64(s.cfg.Limits.Connections) {
			s.open.Add(-1)
			s.metrics.rejected.Add(1)
			_ = c.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.open.Add(-1)
			s.serveConn(c, b.key, b.tls)
		})
	}
}

// track remembers a connection so that Shutdown can end it when idle. It is
// false when the server is shutting down already.
func (s *Server) track(c *h1conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) untrack(c *h1conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Shutdown stops accepting, lets requests in flight finish until ctx ends, then
// cuts what is left. It returns when every goroutine of the server is gone; the
// error says that connections had to be cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.done = true
	for key, b := range s.binds {
		_ = b.ln.Close()
		delete(s.binds, key)
	}
	for c := range s.conns {
		c.endIdle()
	}
	s.mu.Unlock()

	finished := make(chan struct{})
	go func() {
		_ = s.h2.Shutdown(ctx)
		s.wg.Wait()
		close(finished)
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		err = fmt.Errorf("drain: %w; remaining connections were cut", ctx.Err())
		s.mu.Lock()
		for c := range s.conns {
			_ = c.raw.Close()
		}
		s.mu.Unlock()
		_ = s.h2.Close()
	}
	s.cancel()
	s.h2conns.closeAll()
	<-finished
	s.applying.Lock() // no table is on its way any more
	defer s.applying.Unlock()
	if set := s.table.Load().set; set != nil {
		err = errors.Join(err, set.Close())
	}
	return err
}

// discard gives back what a table that never came into force holds.
func (t *table) discard(inForce *table) {
	t.set.Retire(inForce.set)
}
