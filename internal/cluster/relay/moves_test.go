package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/cluster"
)

// TestFailover: a data plane moves to another replica, that has the same
// objects, without applying anything, and one with a change gets that change.
func TestFailover(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	first := startController(t, ca, "127.0.0.1:0", nil)
	all := routes(100)
	first.Publish(snapshot(t, all[:50]...), nil)
	first.Publish(snapshot(t, all...), nil)
	p := startPlane(t, ca, first.addr, nil, nil)
	until(t, "state", func() bool { return p.Status().Revision == 2 })
	before := p.last()
	bytesBefore := p.count.bytes.Load()
	first.stop()
	until(t, "noticed", func() bool { return !p.Status().Connected })
	if !strings.Contains(p.logs.String(), errClosing.Error()) {
		t.Error("the controller did not say goodbye")
	}
	if p.Status().Digest == "" || p.last() != before {
		t.Error("the state was lost")
	}

	// Another process: it counts revisions anew, and has other pointers.
	var copies []cluster.Object
	for _, o := range all {
		c, ok := o.DeepCopyObject().(cluster.Object)
		if !ok {
			t.Fatal("no object")
		}
		c.SetResourceVersion("9")
		copies = append(copies, c)
	}
	second := startController(t, ca, first.addr, nil)
	second.Publish(snapshot(t, copies...), nil)
	until(t, "moved", func() bool { s := p.Status(); return s.Connected && s.Revision == 1 })
	until(t, "told", func() bool { cl := second.Clients(); return len(cl) == 1 && cl[0].Applied == 1 })
	if n := len(p.all()); n != 1 {
		t.Errorf("applied %d times, want once", n)
	}
	if n := p.count.bytes.Load() - bytesBefore; n > 4<<10 {
		t.Errorf("moving took %d bytes", n)
	}
	second.stop()
	until(t, "noticed again", func() bool { return !p.Status().Connected })

	third := startController(t, ca, first.addr, nil)
	third.Publish(snapshot(t, copies[1:]...), nil)
	until(t, "changed", func() bool { return p.last().Len() == 99 })
	if p.last().HTTPRoutes[0] != before.HTTPRoutes[1] {
		t.Error("an object that did not change is another pointer")
	}
}

// TestAgeAndExpiry: no connection outlives its age or the certificates.
func TestAgeAndExpiry(t *testing.T) {
	t.Run("age", func(t *testing.T) {
		noLeaks(t)
		ca := newCA(t)
		c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.MaxAge = 200 * time.Millisecond })
		c.Publish(snapshot(t, routes(10)...), nil)
		p := startPlane(t, ca, c.addr, nil, nil)
		until(t, "three connections", func() bool { return p.count.connects.Load() >= 3 })
		if n := len(p.all()); n != 1 {
			t.Errorf("applied %d times, want once", n)
		}
		if c.count.full.Load() != 1 || c.count.resumed.Load() == 0 {
			t.Errorf("%d full states, %d resumed", c.count.full.Load(), c.count.resumed.Load())
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		noLeaks(t)
		ca := newCA(t)
		// The test's certificates are good for an hour.
		ahead := func() time.Time { return time.Now().Add(time.Hour - 300*time.Millisecond) }
		c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.Now = ahead })
		c.Publish(snapshot(t), nil)
		p := startPlane(t, ca, c.addr, nil, nil)
		until(t, "sent away", func() bool { return strings.Contains(p.logs.String(), errExpired.Error()) })
	})
	t.Run("server certificate", func(t *testing.T) {
		noLeaks(t)
		ca := newCA(t)
		c := startController(t, ca, "127.0.0.1:0", nil)
		c.Publish(snapshot(t), nil)
		later := time.Now().Add(time.Hour * 2)
		var late atomic.Bool
		p := startPlane(t, ca, c.addr, func(cfg *ClientConfig) {
			cfg.Now = func() time.Time {
				if late.Load() {
					return later
				}
				return time.Now()
			}
		}, nil)
		until(t, "connected", func() bool { return p.Status().Connected })
		late.Store(true)
		c.stop()
		c = startController(t, ca, c.addr, nil)
		c.Publish(snapshot(t), nil)
		until(t, "left", func() bool { return strings.Contains(p.logs.String(), errExpired.Error()) })
	})
}

// TestStrangers: who has no certificate of the authority for this use does not
// get as far as a request, in either direction.
func TestStrangers(t *testing.T) {
	noLeaks(t)
	ca, other := newCA(t), newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	c.Publish(snapshot(t, secret("s", "s3cret")), everything)
	conf := func(pair tls.Certificate, roots *x509.CertPool) func() (*tls.Config, error) {
		return func() (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
		}
	}
	hour := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		tls    func() (*tls.Config, error)
		logged string
	}{
		"no certificate":                   {func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.pool()}, nil }, "certificate required"},
		"another authority":                {conf(other.issue(t, x509.ExtKeyUsageClientAuth, hour), ca.pool()), "tls:"},
		"expired":                          {conf(ca.issue(t, x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute)), ca.pool()), "expired certificate"},
		"for servers":                      {conf(ca.issue(t, x509.ExtKeyUsageServerAuth, hour), ca.pool()), "tls:"},
		"controller of another authority":  {conf(ca.issue(t, x509.ExtKeyUsageClientAuth, hour), other.pool()), "unknown authority"},
		"certificates that cannot be read": {func() (*tls.Config, error) { return nil, errors.New("no such file") }, "no such file"},
		"old protocol":                     {func() (*tls.Config, error) { return &tls.Config{MaxVersion: tls.VersionTLS12, RootCAs: ca.pool()}, nil }, "protocol version"},
		"controller with a name not its own": {func() (*tls.Config, error) {
			f, err := conf(ca.issue(t, x509.ExtKeyUsageClientAuth, hour), ca.pool())()
			f.ServerName = "other.example"
			return f, err
		}, "valid"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlane(t, ca, c.addr, func(cfg *ClientConfig) { cfg.TLS = tt.tls }, nil)
			until(t, "refused", func() bool { return strings.Contains(p.logs.String(), tt.logged) })
			p.stop()
			if p.last() != nil || p.count.bytes.Load() != 0 {
				t.Errorf("received %d bytes", p.count.bytes.Load())
			}
		})
	}
	if c.count.full.Load() != 0 {
		t.Error("a state was sent")
	}
}

// TestServeRefusesToBeOpen: a TLS configuration that lets anybody in is not
// served, whether it says so at once or in the handshake.
func TestServeRefusesToBeOpen(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	open := ca.server(t)
	open.ClientAuth = tls.RequestClientCert
	unverified := ca.server(t)
	unverified.ClientCAs = nil
	for _, conf := range []*tls.Config{nil, {}, open, unverified} {
		if _, err := verifying(conf); err == nil {
			t.Errorf("%+v is served", conf)
		}
	}
	later := ca.server(t)
	later.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return open, nil }
	got, err := verifying(later)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.GetConfigForClient(&tls.ClientHelloInfo{}); err == nil {
		t.Error("an open configuration passes in the handshake")
	}
	s, err := NewServer(ServerConfig{Log: (&logs{}).logger(), Now: time.Now, Random: rand.Uint64})
	if err != nil {
		t.Fatal(err)
	}
	// Even one who mounts the handler elsewhere gets nothing without TLS.
	rec := &recorder{head: http.Header{}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, Path+"?protocol=1&name=x", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.ServeHTTP(rec, r)
	if rec.status != http.StatusForbidden {
		t.Errorf("status %d without TLS", rec.status)
	}
}

type recorder struct {
	head   http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.head }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }

// TestChurn: a hundred data planes come and go while the state changes, and all
// that stay end with the last one.
func TestChurn(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.Heartbeat = 10 * time.Second })
	all := routes(60)
	c.Publish(snapshot(t, all...), nil)
	var planes sync.WaitGroup
	stop := make(chan struct{})
	var running [100]atomic.Pointer[plane]
	for i := range running {
		planes.Go(func() {
			name := fmt.Sprintf("gateway-%d", i)
			for n := 0; ; n++ {
				p := startPlane(t, ca, c.addr, func(cfg *ClientConfig) {
					// A hundred handshakes at once take their time.
					cfg.Name, cfg.MaxBackoff, cfg.ConnectTimeout = name, time.Second, time.Minute
				}, nil)
				running[i].Store(p)
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(rand.IntN(400)) * time.Millisecond):
				}
				if n < 3 {
					p.stop()
					continue
				}
				<-stop
				return
			}
		})
	}
	var last *cluster.Snapshot
	for i := range 60 {
		last = snapshot(t, all[i%30:30+i%30]...)
		c.Publish(last, nil)
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	planes.Wait()
	revision, digest := c.Revision()
	until(t, "all have the last state", func() bool {
		for i := range running {
			if s := running[i].Load().Status(); s.Revision != revision || s.Digest != digest {
				return false
			}
		}
		return true
	})
	until(t, "the controller knows", func() bool {
		n := 0
		for _, cl := range c.Clients() {
			if cl.Applied == revision && cl.Sent == revision && cl.Failed == "" {
				n++
			}
		}
		return n == 100 && len(c.Clients()) == 100
	})
	for i := range running {
		p := running[i].Load()
		if got := p.last(); got.Len() != last.Len() {
			t.Errorf("%d objects", got.Len())
		}
		if n := p.count.resyncs.Load(); n != 0 {
			t.Errorf("%d resyncs", n)
		}
	}
	runtime.KeepAlive(last)
}

// BenchmarkChange5000 measures from Publish to fn, over a socket, for a change
// of one route of 5,000.
func BenchmarkChange5000(b *testing.B) {
	ca := newCA(b)
	c := startController(b, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.Heartbeat = 10 * time.Second })
	store := cluster.NewStore()
	for _, k := range cluster.Kinds() {
		var objs []cluster.Object
		if k.Name == "HTTPRoute" {
			objs = routes(5000)
		}
		if err := store.Replace(k.Name, objs); err != nil {
			b.Fatal(err)
		}
	}
	arrived := make(chan struct{}, 1)
	c.Publish(store.Snapshot(), nil)
	startPlane(b, ca, c.addr, nil, func(*cluster.Snapshot) error { arrived <- struct{}{}; return nil })
	<-arrived
	n := 0
	for b.Loop() {
		n++
		if err := store.Put(route("shop", "route-00007", fmt.Sprintf("/%d", n))); err != nil {
			b.Fatal(err)
		}
		c.Publish(store.Snapshot(), nil)
		<-arrived
	}
}
