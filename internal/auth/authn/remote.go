package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// How key sets are fetched. Nothing that an issuer sends changes these.
const (
	maxKeySet    = 1 << 20 // bytes
	fetchTimeout = 5 * time.Second
	// refreshEvery is the age, in seconds, at which a key set is fetched again
	// behind the requests; from twice this age on, after an idle time, requests
	// wait idlePatience for it.
	refreshEvery = 5 * 60
	idlePatience = time.Second
	// keepKeys is how long, in seconds, keys are believed without hearing from
	// the issuer.
	keepKeys = 60 * 60
	// fetchGap is the least time, in seconds, between two fetches from one
	// issuer; firstGap while there are no keys at all.
	fetchGap = 10
	firstGap = 2
	// retryFetch is what callers are told when there are no keys.
	retryFetch = firstGap * time.Second
	// Names of keys that the issuer did not have are remembered for unknownFor
	// seconds, at most maxUnknown of them.
	unknownFor = 5 * 60
	maxUnknown = 256
)

// checkKeyURI refuses URIs whose answers anyone on the way could forge.
func checkKeyURI(uri string, client *http.Client) error {
	if client == nil {
		return errors.New("key set URI: no HTTP client")
	}
	u, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("key set URI: %w", err)
	}
	ip, ipErr := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || ipErr == nil && ip.Unmap().IsLoopback()
	switch {
	case u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("key set URI %q: must have a host, no user and no fragment", u.Redacted())
	case u.Scheme == "https" || u.Scheme == "http" && loopback:
		return nil
	}
	return fmt.Errorf("key set URI %q: must be https, or http on a loopback address", uri)
}

// remote is the key set behind a URI: fetched when it is first needed, then
// kept fresh behind the requests that use it.
type remote struct {
	uri    string
	client *http.Client
	life   *life
	// versions numbers the key sets of all issuers, so that no number comes
	// back when a remote is dropped and made again.
	versions *atomic.Uint64

	good    atomic.Pointer[fetched]
	tried   atomic.Int64 // when the last fetch began
	running atomic.Pointer[fetch]

	mu      sync.Mutex
	why     string           // why the last fetch failed
	unknown map[string]int64 // when the issuer did not have a key of this name
}

// fetched is the last good answer.
type fetched struct {
	set *keySet
	sum digestOf
	at  int64
}

// fetch is a fetch in flight.
type fetch struct {
	done chan struct{}
	// idle says that nobody had asked for long: requests wait a little.
	idle atomic.Bool
}

func newRemote(uri string, client *http.Client, l *life, versions *atomic.Uint64) *remote {
	c := *client
	c.Jar = nil
	// A redirect would let whoever can redirect choose the keys.
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := &remote{uri: uri, client: &c, life: l, versions: versions, unknown: make(map[string]int64)}
	r.tried.Store(-keepKeys)
	return r
}

func (r *remote) peek(now int64) *keySet {
	g := r.good.Load()
	if g == nil {
		return nil
	}
	age := now - g.at
	if age < refreshEvery {
		return g.set
	}
	idle := age >= 2*refreshEvery && now-r.tried.Load() >= refreshEvery
	f := r.begin(now, fetchGap, idle)
	if age >= keepKeys || idle || f != nil && f.idle.Load() {
		return nil
	}
	return g.set
}

func (r *remote) wait(ctx context.Context, now int64) (*keySet, string) {
	if set := r.peek(now); set != nil { //nolint:contextcheck // a fetch outlives the request that starts it
		return set, ""
	}
	f, patience := r.running.Load(), fetchTimeout
	if r.believable(now) != nil {
		patience = idlePatience
	} else if f == nil {
		f = r.begin(now, firstGap, false) //nolint:contextcheck // a fetch outlives the request that starts it
	}
	if f != nil {
		await(ctx, f.done, patience)
		f.idle.Store(false)
	}
	if set := r.believable(now); set != nil {
		return set, ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, or(r.why, "the fetch of the key set has not ended yet")
}

// believable is the last good set if it is not too old.
func (r *remote) believable(now int64) *keySet {
	if g := r.good.Load(); g != nil && now-g.at < keepKeys {
		return g.set
	}
	return nil
}

func (r *remote) refetch(ctx context.Context, set *keySet, kid string, now int64) *keySet {
	if cur := r.believable(now); cur != nil && cur.version != set.version {
		return cur
	}
	r.mu.Lock()
	at, unknown := r.unknown[kid]
	r.mu.Unlock()
	if unknown && now-at < unknownFor {
		return set
	}
	f := r.begin(now, fetchGap, false) //nolint:contextcheck // a fetch outlives the request that starts it
	if f == nil {
		return set
	}
	await(ctx, f.done, fetchTimeout)
	g := r.good.Load()
	if g == nil || now-g.at >= keepKeys {
		return set
	}
	if g.at >= now { // this fetch succeeded: its answer stands for a while
		r.mu.Lock()
		r.remember(g.set, kid, now)
		r.mu.Unlock()
	}
	return g.set
}

// remember notes that the issuer has no key of this name.
func (r *remote) remember(set *keySet, kid string, now int64) {
	for i := range set.keys {
		if set.keys[i].kid == kid {
			return
		}
	}
	for old := range r.unknown {
		if len(r.unknown) < maxUnknown {
			break
		}
		delete(r.unknown, old)
	}
	r.unknown[kid] = now
}

// begin starts a fetch, or joins the one in flight. Nil where the last one is
// less than gap seconds ago.
func (r *remote) begin(now, gap int64, idle bool) *fetch {
	if f := r.running.Load(); f != nil {
		return f
	}
	if now-r.tried.Load() < gap {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.running.Load(); f != nil {
		return f
	}
	if now-r.tried.Load() < gap {
		return nil
	}
	f := &fetch{done: make(chan struct{})}
	f.idle.Store(idle)
	started := r.life.start(fetchTimeout, func(ctx context.Context) {
		err := r.fetch(ctx, now)
		r.mu.Lock()
		r.why = ""
		if err != nil {
			r.why = err.Error()
		}
		r.running.Store(nil)
		r.mu.Unlock()
		close(f.done)
	})
	if !started {
		r.why = "the gateway is stopping"
		return nil
	}
	r.tried.Store(now)
	r.running.Store(f)
	return f
}

// fetch asks the issuer once and keeps a good answer.
func (r *remote) fetch(ctx context.Context, now int64) error {
	body, err := r.get(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	last := r.good.Load()
	if last != nil && last.sum == sum {
		r.good.Store(&fetched{set: last.set, sum: sum, at: now})
		return nil
	}
	keys, err := parseKeySet(body, false)
	if err != nil {
		return err
	}
	r.good.Store(&fetched{set: &keySet{keys: keys, version: r.versions.Add(1)}, sum: sum, at: now})
	r.mu.Lock()
	clear(r.unknown)
	r.mu.Unlock()
	return nil
}

func (r *remote) get(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.uri, nil)
	if err != nil {
		return nil, fmt.Errorf("key set request: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("read key set from %q: %w", r.uri, err)
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetch key set from %q: status %d, expected 200", r.uri, resp.StatusCode)
	case len(body) > maxKeySet:
		return nil, fmt.Errorf("fetch key set from %q: more than %d bytes", r.uri, maxKeySet)
	}
	return body, nil
}

// await waits for done, at most for the patience given.
func await(ctx context.Context, done <-chan struct{}, patience time.Duration) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-done:
	case <-ctx.Done():
	case <-t.C:
	}
}
