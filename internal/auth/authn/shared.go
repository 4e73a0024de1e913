package authn

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// Shared is what outlives a configuration: key sets by URI, and authenticators
// with their caches by configuration. What nobody uses any more is freed. Make
// one per process, and Close it.
type Shared struct {
	life     *life
	secret   [32]byte
	gate     *gate
	versions atomic.Uint64
	remotes  pool[string, remote]
	// Authenticators by the hash of their configuration: rules with the same
	// one share its keys and caches, before and after a reload.
	jwts   pool[digestOf, JWT]
	keys   pool[digestOf, APIKey]
	basics pool[digestOf, Basic]
	certs  pool[digestOf, ClientCertificate]
}

// NewShared makes the state. The secret keys the caches of verified keys and
// passwords; it must be random and is used for nothing else.
func NewShared(secret [32]byte) *Shared {
	return &Shared{life: newLife(), secret: secret, gate: newGate(runtime.GOMAXPROCS(0))}
}

// Close stops fetching key sets and waits until nothing runs any more. Tokens
// whose keys were fetched before are still judged.
func (s *Shared) Close() { s.life.end() }

func (s *Shared) remoteKeys(uri string, client *http.Client) (keySource, error) {
	if err := checkKeyURI(uri, client); err != nil {
		return nil, err
	}
	return s.remotes.get(uri, func() (*remote, error) { return newRemote(uri, client, s.life, &s.versions), nil })
}

// pool finds a value again for as long as anyone else holds it.
type pool[K comparable, V any] struct {
	mu    sync.Mutex
	m     map[K]weak.Pointer[V]
	prune int // size at which to look for dead entries
}

func (p *pool[K, V]) get(k K, fresh func() (*V, error)) (*V, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.m[k].Value(); v != nil {
		return v, nil
	}
	v, err := fresh()
	if err != nil {
		return nil, err
	}
	if p.m == nil {
		p.m = make(map[K]weak.Pointer[V])
	}
	if len(p.m) >= p.prune {
		for k, w := range p.m {
			if w.Value() == nil {
				delete(p.m, k)
			}
		}
		p.prune = 2*len(p.m) + 64
	}
	p.m[k] = weak.Make(v)
	return v, nil
}

// life owns goroutines that outlive the requests which started them.
type life struct {
	// within gives a context that ends with the life or the timeout.
	within func(timeout time.Duration) (context.Context, context.CancelFunc)
	stop   context.CancelFunc
	mu     sync.Mutex
	ended  bool
	wg     sync.WaitGroup
}

func newLife() *life {
	ctx, stop := context.WithCancel(context.Background())
	return &life{stop: stop, within: func(d time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, d)
	}}
}

// start runs f in a goroutine of its own, and reports false once the life has
// ended.
func (l *life) start(timeout time.Duration, f func(ctx context.Context)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.wg.Go(func() {
		ctx, cancel := l.within(timeout)
		defer cancel()
		f(ctx)
	})
	return true
}

func (l *life) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.stop()
	l.wg.Wait()
}
