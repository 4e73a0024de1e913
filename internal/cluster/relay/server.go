package relay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark/internal/cluster"
)

// ServerConfig is what a Server needs. Log, Now and Random are required; the
// times and MaxClients have defaults.
type ServerConfig struct {
	Log *slog.Logger
	Now func() time.Time
	// Random spreads the ends of connections.
	Random func() uint64
	// Version of the program, for the logs of the other end.
	Version string
	// Heartbeat is the time between two signs of life.
	Heartbeat time.Duration
	// WriteTimeout is how long a data plane may take to accept 64 KiB.
	WriteTimeout time.Duration
	// MaxAge is how long a connection lives.
	MaxAge time.Duration
	// MaxClients is how many data planes are fed; further ones get 503.
	MaxClients int
}

// Server feeds data planes with the newest state. Every replica of a controller
// may run one: equal snapshots have equal digests, so that a data plane moves
// between them without a change. It is an http.Handler for Path, to be served
// with HTTP/2 and client certificates, as Serve does. It is also a
// prometheus.Collector.
type Server struct {
	cfg   ServerConfig
	count counters

	publishing sync.Mutex // one Publish at a time
	encoder    encoder

	mu      sync.Mutex
	current *state        // nil until the first Publish
	changed chan struct{} // closed by the next Publish
	clients map[*session]struct{}
	closing chan struct{}
	closed  bool
	running sync.WaitGroup
}

// counters are totals since the start.
type counters struct {
	bytes, full, deltas, resumed, refused, published, encodes atomic.Uint64
}

// Client is a data plane that is connected.
type Client struct {
	// Name is what it calls itself: its pod.
	Name string
	// Version of its program.
	Version string
	// Remote is its address and port.
	Remote string
	// Sent is the revision sent last, Applied the one that it has put in force;
	// 0 for none yet.
	Sent, Applied uint64
	// Failed says why it could not put the revision sent last in force, in its
	// words.
	Failed string
	// Since is when it connected.
	Since time.Time
}

// NewServer makes a Server. Its Close must be called.
func NewServer(cfg ServerConfig) (*Server, error) {
	var err error
	if cfg.Log == nil || cfg.Now == nil || cfg.Random == nil {
		err = errors.New("relay server: Log, Now and Random are required")
	}
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, DefaultHeartbeat)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, DefaultWriteTimeout)
	cfg.MaxAge = cmp.Or(cfg.MaxAge, DefaultMaxAge)
	cfg.MaxClients = cmp.Or(cfg.MaxClients, DefaultMaxClients)
	if cfg.Heartbeat < minHeartbeat || cfg.Heartbeat > maxHeartbeat {
		err = errors.Join(err, errors.New("relay server: Heartbeat must be between "+minHeartbeat.String()+" and "+maxHeartbeat.String()))
	}
	if cfg.WriteTimeout < 0 || cfg.MaxAge < 0 || cfg.MaxClients < 0 {
		err = errors.Join(err, errors.New("relay server: times and MaxClients must be positive"))
	}
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, changed: make(chan struct{}), closing: make(chan struct{}),
		clients: map[*session]struct{}{},
	}, nil
}

// Publish makes snap what data planes are to serve, and gives its revision.
// Uses says which Secrets, ConfigMaps and Services (their EndpointSlices with
// them) the configuration depends on; nothing else of these kinds leaves the
// process. Nil uses none. Publish encodes what is new, and never waits for a
// data plane: one that is slow is sent the newest state when it is ready for
// more, not those in between. A snapshot that means what is in force already
// keeps its revision. Objects of snap must not change afterwards.
func (s *Server) Publish(snap *cluster.Snapshot, uses func(kind, namespace, name string) bool) uint64 {
	if uses == nil {
		uses = func(string, string, string) bool { return false }
	}
	s.publishing.Lock()
	defer s.publishing.Unlock()
	old, _ := s.state()
	next := s.encoder.state(old, snap, uses)
	s.count.encodes.Store(s.encoder.encodes)
	if old != nil {
		if old.digest == next.digest {
			return old.revision
		}
		next.revision = old.revision
	}
	next.revision++
	s.count.published.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = next
	close(s.changed)
	s.changed = make(chan struct{})
	return next.revision
}

// state gives the newest state, nil before the first, and a channel that closes
// when there is a newer one.
func (s *Server) state() (*state, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.changed
}

// Revision gives the newest revision and its digest; 0 and "" before the first
// Publish. Revisions count the states of this Server. Digests compare between
// Servers.
func (s *Server) Revision() (revision uint64, digest string) {
	cur, _ := s.state()
	if cur == nil {
		return 0, ""
	}
	return cur.revision, cur.digest
}

// Clients lists the data planes that are connected, by name and address.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	out := make([]Client, 0, len(s.clients))
	for c := range s.clients {
		out = append(out, c.client)
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b Client) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Remote, b.Remote))
	})
	return out
}

// Close sends every data plane away and waits until they are gone. They go on
// with what they have. It is safe to call twice.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// enter admits a session, or says why not.
func (s *Server) enter(c *session) (refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosing.Error()
	case len(s.clients) >= s.cfg.MaxClients:
		return "this controller feeds as many data planes as it may"
	}
	s.clients[c] = struct{}{}
	s.running.Add(1)
	return ""
}

func (s *Server) leave(c *session) {
	s.mu.Lock()
	delete(s.clients, c)
	s.mu.Unlock()
	s.running.Done()
}

// update changes what is known of a session's client.
func (s *Server) update(c *session, change func(*Client)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&c.client)
}

func (s *Server) log(ctx context.Context, level slog.Level, msg string, c *session, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.String("client", c.client.Name), slog.String("remote", c.client.Remote)}, attrs...)
	s.cfg.Log.LogAttrs(ctx, level, msg, attrs...) //nolint:sloglint // the messages are constants of the callers
}
