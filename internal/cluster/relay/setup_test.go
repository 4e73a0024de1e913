package relay

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

// testHeartbeat leaves a busy machine time.
const testHeartbeat = 10 * time.Second

// logs keeps what was logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// controller is a Server on a socket.
type controller struct {
	*Server

	addr string
	logs *logs
	stop func()
}

func startController(tb testing.TB, ca *testCA, addr string, edit func(*ServerConfig)) *controller {
	tb.Helper()
	c := &controller{logs: &logs{}}
	cfg := ServerConfig{Log: c.logs.logger(), Now: time.Now, Random: rand.Uint64, Version: "v0.0.1", Heartbeat: testHeartbeat}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if c.Server, err = NewServer(cfg); err != nil {
		tb.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	c.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, ln, ca.server(tb)) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
	tb.Cleanup(c.stop)
	return c
}

// plane is a Watcher and what it was given.
type plane struct {
	*Watcher

	logs *logs
	stop func()

	mu    sync.Mutex
	snaps []*cluster.Snapshot
}

func (p *plane) apply(s *cluster.Snapshot) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.snaps = append(p.snaps, s)
	return nil
}

func (p *plane) all() []*cluster.Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.snaps)
}

func (p *plane) last() *cluster.Snapshot {
	all := p.all()
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

func clientConfig(tb testing.TB, ca *testCA, addr string) ClientConfig {
	tb.Helper()
	return ClientConfig{
		URL: "https://" + addr, TLS: ca.client(tb), Name: "gateway-1", Version: "v0.0.1",
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Uint64,
		MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond, ConnectTimeout: time.Minute,
	}
}

func startPlane(tb testing.TB, ca *testCA, addr string, edit func(*ClientConfig), fn func(*cluster.Snapshot) error) *plane {
	tb.Helper()
	p := &plane{logs: &logs{}}
	cfg := clientConfig(tb, ca, addr)
	cfg.Log = p.logs.logger()
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if p.Watcher, err = NewWatcher(cfg); err != nil {
		tb.Fatal(err)
	}
	if fn == nil {
		fn = p.apply
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, fn) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("watch: %v", err)
		}
	})
	tb.Cleanup(p.stop)
	return p
}

// until waits for something to become true, as long as the test may run.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for !ok() {
		select {
		case <-tb.Context().Done():
			tb.Fatalf("never: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// noLeaks fails a test that leaves goroutines of this package behind.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var text string
		for range 500 {
			var b bytes.Buffer
			if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
				t.Fatal(err)
			}
			text = ""
			for g := range strings.SplitSeq(b.String(), "\n\n") {
				if (strings.Contains(g, "cluster/relay.") || strings.Contains(g, "net/http.(*http2")) && !strings.Contains(g, "testing.tRunner") {
					text += g + "\n\n"
				}
			}
			if text == "" {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("goroutines are left:\n%s", text)
	})
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Generation: 1, UID: "u", ResourceVersion: "7",
		CreationTimestamp: metav1.NewTime(time.Unix(1700000000, 0)), Labels: map[string]string{"app": name},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}
}

func route(namespace, name, path string) *gwv1.HTTPRoute {
	exact := gwv1.PathMatchExact
	port := gwv1.PortNumber(80)
	return &gwv1.HTTPRoute{
		ObjectMeta: meta(namespace, name),
		Spec: gwv1.HTTPRouteSpec{
			CommonRouteSpec: gwv1.CommonRouteSpec{ParentRefs: []gwv1.ParentReference{{Name: "edge"}}},
			Hostnames:       []gwv1.Hostname{"shop.example"},
			Rules: []gwv1.HTTPRouteRule{{
				Matches: []gwv1.HTTPRouteMatch{{Path: &gwv1.HTTPPathMatch{Type: &exact, Value: &path}}},
				BackendRefs: []gwv1.HTTPBackendRef{{BackendRef: gwv1.BackendRef{
					BackendObjectReference: gwv1.BackendObjectReference{Name: gwv1.ObjectName(name), Port: &port},
				}}},
			}},
		},
		Status: gwv1.HTTPRouteStatus{RouteStatus: gwv1.RouteStatus{Parents: []gwv1.RouteParentStatus{{ControllerName: "x/y"}}}},
	}
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: meta("shop", name), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"key": []byte(value)}}
}

func slice(name, service string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: meta("shop", name), AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}},
	}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "now"}
	return s
}

func snapshot(tb testing.TB, objs ...cluster.Object) *cluster.Snapshot {
	tb.Helper()
	return snapshotWithout(tb, nil, objs...)
}

func snapshotWithout(tb testing.TB, unreadable []cluster.Unreadable, objs ...cluster.Object) *cluster.Snapshot {
	tb.Helper()
	return cluster.Assemble(objs, unreadable)
}

func routes(n int) []cluster.Object {
	var out []cluster.Object
	for i := range n {
		out = append(out, route("shop", fmt.Sprintf("route-%05d", i), fmt.Sprintf("/%d", i)))
	}
	return out
}

// everything uses whatever there is.
func everything(string, string, string) bool { return true }

func newWriter(w io.Writer) *bufio.Writer { return bufio.NewWriter(w) }
