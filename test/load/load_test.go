package load

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	duration = flag.Duration("load.duration", 20*time.Second, "how long to load the gateway")
	reloads  = flag.Int("load.reloads", 30, "how many times the objects change meanwhile")
	clients  = flag.Int("load.clients", 32, "how many clients ask at once")
)

// maxRSS bounds the gateway's memory under load, in bytes.
const maxRSS = 300 << 20

// scene is the gateway, its two backends and what has been seen.
type scene struct {
	dir     string
	gateway string
	admin   string
	steady  int // port of the backend that lives
	flaky   int // port of the one that dies
	token   map[string]string
	jwks    string

	version atomic.Int64 // of the objects on disk
	// down is not 0 while the flaky backend is dead or may be thought so.
	down atomic.Int64

	counts sync.Map // "case status" → *atomic.Int64
	wrong  atomic.Int64
	mu     sync.Mutex
	first  []string // the first wrong answers, told in full
}

func (s *scene) count(name string, status int) {
	v, _ := s.counts.LoadOrStore(fmt.Sprintf("%s %d", name, status), new(atomic.Int64))
	v.(*atomic.Int64).Add(1)
}

func (s *scene) fail(format string, args ...any) {
	s.wrong.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.first) < 10 {
		s.first = append(s.first, fmt.Sprintf(format, args...))
	}
}

// ask is one kind of request and what may be answered.
type ask struct {
	name, method, path, user string
	want                     []int
	flaky                    bool
}

var asks = []ask{
	{name: "open", method: "GET", path: "/open/1", want: []int{200}},
	{name: "reader", method: "GET", path: "/guarded/1", user: "rita", want: []int{200}},
	{name: "nobody", method: "GET", path: "/guarded/1", want: []int{401}},
	{name: "forged", method: "GET", path: "/guarded/1", user: "forged", want: []int{401}},
	{name: "writes", method: "POST", path: "/guarded/1", user: "rita", want: []int{403}},
	{name: "writer", method: "POST", path: "/guarded/1", user: "walt", want: []int{200}},
	{name: "toggled", method: "GET", path: "/toggle", user: "rita", want: []int{200, 403}},
	{name: "unrouted", method: "GET", path: "/elsewhere", user: "rita", want: []int{404}},
	{name: "flaky", method: "GET", path: "/flaky", want: []int{200}, flaky: true},
}

func TestLoad(t *testing.T) {
	s := newScene(t)
	bin := filepath.Join(t.TempDir(), "bulwark")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, "./cmd/bulwark")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0") // as make build, so that it is compiled once
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build bulwark: %v\n%s", err, out)
	}
	s.write(t)
	cmd := exec.Command(bin, "up", "-f", s.dir, "--data", t.TempDir(), "--admin", s.admin, "--drain", "5s", "--log-level", "warn")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the gateway said:\n%s", said.String())
		}
	})
	steady := startBackend(t, s.steady)
	defer steady.stop()
	flaky := startBackend(t, s.flaky)
	s.awaitReady(t)
	before := s.metric(t, "go_goroutines")

	ctx, cancel := context.WithTimeout(t.Context(), *duration)
	defer cancel()
	var wg sync.WaitGroup
	var total, peak atomic.Int64
	for range *clients {
		wg.Go(func() { total.Add(s.client(ctx)) })
	}
	wg.Go(func() {
		// The objects change at even intervals.
		for range *reloads {
			select {
			case <-ctx.Done():
				return
			case <-time.After(*duration / time.Duration(*reloads+1)):
			}
			s.version.Add(1)
			s.write(t)
		}
	})
	wg.Go(func() {
		// The flaky backend dies and comes back, three times.
		for range 3 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(*duration / 8):
			}
			s.down.Add(1)
			flaky.stop()
			time.Sleep(*duration / 16)
			flaky = startBackend(t, s.flaky)
			// The gateway may shun it a little longer: that the dead backend
			// explains too.
			time.Sleep(*duration / 16)
			s.down.Add(-1)
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if rss := int64(s.metric(t, "process_resident_memory_bytes")); rss > peak.Load() {
				peak.Store(rss)
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
	wg.Wait()
	flaky.stop()

	s.counts.Range(func(k, v any) bool {
		t.Logf("%-14s %d", k, v.(*atomic.Int64).Load())
		return true
	})
	for _, f := range s.first {
		t.Error(f)
	}
	tables := int(s.metric(t, "bulwark_gateway_tables_total"))
	t.Logf("%d requests, %d wrong, %d tables in force, peak memory %d MiB", total.Load(), s.wrong.Load(), tables, peak.Load()>>20)
	if n := s.wrong.Load(); n > 0 {
		t.Errorf("%d wrong answers", n)
	}
	if total.Load() < int64(*clients)*10 {
		t.Errorf("only %d requests: this was no load", total.Load())
	}
	if tables < *reloads*9/10 {
		t.Errorf("%d tables came into force, want about %d", tables, *reloads)
	}
	if peak.Load() > maxRSS {
		t.Errorf("peak memory %d MiB, bound %d MiB", peak.Load()>>20, maxRSS>>20)
	}
	s.settles(t, before)
	stopped = true
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the gateway did not end well: %v", err)
	}
}

// settles waits until the goroutines of the load are gone.
func (s *scene) settles(t *testing.T, before float64) {
	t.Helper()
	var now float64
	for range 100 {
		if now = s.metric(t, "go_goroutines"); now <= before+8 {
			t.Logf("%v goroutines before, %v after", before, now)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%v goroutines before the load, %v after", before, now)
}

// client asks until ctx ends, on connections of its own, and judges the
// answers.
func (s *scene) client(ctx context.Context) int64 {
	tr := &http.Transport{MaxIdleConnsPerHost: 2}
	defer tr.CloseIdleConnections()
	var n, seen int64
	for ctx.Err() == nil {
		a := &asks[rand.IntN(len(asks))]
		downBefore := s.down.Load()
		status, version, err := s.one(ctx, tr, a)
		if ctx.Err() != nil {
			break
		}
		n++
		if err != nil {
			s.fail("%s: %v", a.name, err)
			continue
		}
		s.count(a.name, status)
		explained := a.flaky && (downBefore > 0 || s.down.Load() > 0) && (status == 502 || status == 503)
		ok := explained
		for _, w := range a.want {
			ok = ok || w == status
		}
		if !ok {
			s.fail("%s: status %d, want %v", a.name, status, a.want)
		}
		// Tables come into force one after another, never back.
		if version >= 0 {
			if version < seen {
				s.fail("%s: answered by objects of version %d after %d", a.name, version, seen)
			}
			seen = version
		}
	}
	return n
}

func (s *scene) one(ctx context.Context, tr *http.Transport, a *ask) (status int, version int64, err error) {
	var body io.Reader
	if a.method == "POST" {
		body = strings.NewReader(strings.Repeat("x", 100))
	}
	req, err := http.NewRequestWithContext(ctx, a.method, "http://"+s.gateway+a.path, body)
	if err != nil {
		return 0, -1, err
	}
	if a.user != "" {
		req.Header.Set("Authorization", "Bearer "+s.token[a.user])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, -1, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, -1, err
	}
	if resp.StatusCode == 200 && !strings.HasPrefix(string(b), a.method+" "+a.path) {
		return 0, -1, fmt.Errorf("the answer of another request: %q", b)
	}
	version = -1
	if v := resp.Header.Get("X-Version"); v != "" {
		version, err = strconv.ParseInt(v, 10, 64)
	}
	return resp.StatusCode, version, err
}

// backend answers with what it was asked. It can be killed with its
// connections.
type backend struct {
	srv  *http.Server
	done chan struct{}
}

func startBackend(t *testing.T, port int) *backend {
	t.Helper()
	var ln net.Listener
	var err error
	for range 50 {
		if ln, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Error(err)
		return &backend{srv: &http.Server{}, done: closed()}
	}
	b := &backend{done: make(chan struct{}), srv: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, n)
	})}}
	go func() {
		defer close(b.done)
		_ = b.srv.Serve(ln)
	}()
	return b
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (b *backend) stop() {
	_ = b.srv.Close()
	<-b.done
}

func (s *scene) awaitReady(t *testing.T) {
	t.Helper()
	for range 200 {
		if c, err := net.Dial("tcp", s.gateway); err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the gateway does not listen")
}

// metric reads one sample, or the sum of all with that name.
func (s *scene) metric(t *testing.T, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Errorf("read metrics: %v", err)
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	sum := 0.0
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		line := sc.Text()
		if !strings.HasPrefix(line, name+" ") && !strings.HasPrefix(line, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			t.Errorf("metric %q: %v", line, err)
		}
		sum += v
	}
	return sum
}

// write puts the objects of the present version on disk, each file at once.
func (s *scene) write(t *testing.T) {
	t.Helper()
	v := s.version.Load()
	allow := "true"
	if v%2 == 1 {
		allow = "false"
	}
	r := strings.NewReplacer("$VERSION", strconv.FormatInt(v, 10), "$ALLOW", allow, "$JWKS", s.jwks,
		"$PORT", s.gateway[strings.LastIndexByte(s.gateway, ':')+1:], "$STEADY", strconv.Itoa(s.steady), "$FLAKY", strconv.Itoa(s.flaky))
	tmp := filepath.Join(s.dir, ".next")
	if err := os.WriteFile(tmp, []byte(r.Replace(objects)), 0o600); err != nil {
		t.Error(err)
		return
	}
	if err := os.Rename(tmp, filepath.Join(s.dir, "all.yaml")); err != nil {
		t.Error(err)
	}
}
