package respond_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/respond"
)

func alert() *respond.Alert {
	return &respond.Alert{
		ID: "a1", Seq: 7, Rule: "secrets-list-all", Title: "Secrets of all namespaces were listed", Severity: bulwark.SeverityHigh,
		Time: time.Date(2026, 11, 21, 10, 0, 0, 123000000, time.UTC), Cluster: "prod", Actor: "<!channel> alice\n@here *x*",
		Summary: "<!channel> alice\n@here `x` listed \"all\" ] \\ <https://evil.example|click>", Evidence: []uint64{3, 5}, Tags: []string{"attack.t1552.007"},
	}
}

// received is what a server got.
type received struct {
	path, contentType, authorization string
	body                             string
}

func server(t *testing.T, status int) (string, func() received) {
	t.Helper()
	got := make(chan received, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- received{r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), string(body)}
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "what the server says")
	}))
	t.Cleanup(s.Close)
	return s.URL, func() received { return <-got }
}

func client() *http.Client { return respond.Client(&http.Transport{}, time.Minute) }

func TestHTTP(t *testing.T) {
	t.Parallel()
	header := http.Header{"Authorization": {"Bearer x"}}
	tests := []struct {
		name  string
		make  func(url string) (respond.Receiver, error)
		path  string
		ctype string
		auth  string
		want  string
	}{
		{"alertmanager", func(u string) (respond.Receiver, error) {
			return respond.NewAlertmanager(client(), u+"/base/", header, time.Hour)
		}, "/base/api/v2/alerts", "application/json", "Bearer x", `[{
			"labels": {"alertname":"BulwarkSecretsListAll","rule":"secrets-list-all","severity":"high","source":"bulwark","cluster":"prod","actor":"<!channel> alice\n@here *x*"},
			"annotations": {"title":"Secrets of all namespaces were listed","summary":"<!channel> alice\n@here ` + "`x`" + ` listed \"all\" ] \\ <https://evil.example|click>","evidence":"3 5","tags":"attack.t1552.007","id":"a1"},
			"startsAt":"2026-11-21T10:00:00.123Z","endsAt":"2026-11-21T11:00:00.123Z"}]`},
		{
			"slack", func(u string) (respond.Receiver, error) { return respond.NewSlack(client(), u+"/services/secret") },
			"/services/secret", "application/json", "", `{"unfurl_links":false,"unfurl_media":false,"text":"*HIGH: Secrets of all namespaces were listed*\n&lt;!channel&gt; alice ＠here ˋxˋ listed \"all\" ] \\ &lt;https://evil.example|click&gt;\nCluster: prod\nRule secrets-list-all, evidence: events 3 5"}`,
		},
		{"cloudevents", func(u string) (respond.Receiver, error) {
			return respond.NewCloudEvents(client(), u+"/e", header, "/bulwark/prod")
		}, "/e", "application/cloudevents+json", "Bearer x", `{"specversion":"1.0","type":"dev.bulwark.alert.v1","source":"/bulwark/prod","id":"a1","subject":"secrets-list-all",
			"time":"2026-11-21T10:00:00.123Z","datacontenttype":"application/json","data":{"id":"a1","seq":7,"rule":"secrets-list-all","title":"Secrets of all namespaces were listed","severity":"high",
			"time":"2026-11-21T10:00:00.123Z","cluster":"prod","actor":"<!channel> alice\n@here *x*","summary":"<!channel> alice\n@here ` + "`x`" + ` listed \"all\" ] \\ <https://evil.example|click>","evidence":[3,5],"tags":["attack.t1552.007"]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, next := server(t, http.StatusOK)
			r, err := tt.make(url)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Tell(t.Context(), alert()); err != nil {
				t.Fatal(err)
			}
			got := next()
			if got.path != tt.path || got.contentType != tt.ctype || got.authorization != tt.auth {
				t.Errorf("%+v", got)
			}
			if diff := cmp.Diff(decode(t, tt.want), decode(t, got.body)); diff != "" {
				t.Error(diff)
			}
			for status, refused := range map[int]bool{400: true, 403: true, 404: true, 408: false, 429: false, 500: false, 503: false, 302: false} {
				url, _ := server(t, status)
				r, err := tt.make(url)
				if err != nil {
					t.Fatal(err)
				}
				err = r.Tell(t.Context(), alert())
				if err == nil || errors.Is(err, respond.ErrRefused) != refused || strings.Contains(err.Error(), "secret") {
					t.Errorf("%d: %v", status, err)
				}
			}
			r, err = tt.make("http://127.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Tell(t.Context(), alert()); err == nil || errors.Is(err, respond.ErrRefused) || strings.Contains(err.Error(), "secret") {
				t.Errorf("nobody listens: %v", err)
			}
			if _, err := tt.make("ftp:"); err == nil {
				t.Error("a wrong address is taken")
			}
		})
	}
}

func decode(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return v
}

const message = `<107>1 2026-11-21T10:00:00.123000Z node-1 bulwark - secrets-list-all [bulwark@32473 id="a1" severity="high" actor="<!channel> alice @here *x*" cluster="prod" evidence="3 5" tags="attack.t1552.007"] ` +
	"\ufeff" + `Secrets of all namespaces were listed: <!channel> alice @here ` + "`x`" + ` listed "all" ] \ <https://evil.example|click>`

func TestSyslog(t *testing.T) {
	t.Parallel()
	t.Run("udp", func(t *testing.T) {
		t.Parallel()
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		tell(t, "udp://"+c.LocalAddr().String(), nil)
		buf := make([]byte, 64<<10)
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(message, string(buf[:n])); diff != "" {
			t.Error(diff)
		}
	})
	for _, scheme := range []string{"tcp", "tls"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var trust *tls.Config
			if scheme == "tls" {
				s := httptest.NewUnstartedServer(nil)
				s.StartTLS()
				defer s.Close()
				trust = s.Client().Transport.(*http.Transport).TLSClientConfig
				l = tls.NewListener(l, s.TLS)
			}
			defer func() { _ = l.Close() }()
			got := make(chan string, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					got <- err.Error()
					return
				}
				defer func() { _ = c.Close() }()
				b := bufio.NewReader(c)
				var n int
				if _, err := fmt.Fscanf(b, "%d ", &n); err != nil {
					got <- err.Error()
					return
				}
				rest, err := io.ReadAll(b)
				if err != nil || len(rest) != n {
					got <- fmt.Sprint(n, len(rest), err)
					return
				}
				got <- string(rest)
			}()
			tell(t, scheme+"://"+l.Addr().String(), trust)
			if diff := cmp.Diff(message, <-got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, to := range []string{"", "udp://x", "unix:///dev/log", "tls://x:1", "tcp://x:1/y"} {
		if _, err := respond.NewSyslog(to, "h", nil); err == nil {
			t.Errorf("%q is taken", to)
		}
	}
}

func tell(t *testing.T, to string, trust *tls.Config) {
	t.Helper()
	r, err := respond.NewSyslog(to, "node-1", trust)
	if err != nil {
		t.Fatal(err)
	}
	a := alert()
	a.Actor = strings.ReplaceAll(a.Actor, "`", "")
	if err := r.Tell(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

// queue is a log of alerts, and what one receiver made of them.
type queue struct {
	alerts []*respond.Alert
	place  uint64
	told   []uint64
	fail   map[uint64][]error
	failed []string
	waited []time.Duration
	end    context.CancelFunc
}

func (q *queue) Next(ctx context.Context, after uint64) (*respond.Alert, error) {
	for _, a := range q.alerts {
		if a.Seq > after {
			return a, nil
		}
	}
	q.end()
	return nil, ctx.Err()
}

func (q *queue) Load() (uint64, error) { return q.place, nil }

func (q *queue) Save(seq uint64) error { q.place = seq; return nil }

func (q *queue) Tell(_ context.Context, a *respond.Alert) error {
	if errs := q.fail[a.Seq]; len(errs) > 0 {
		q.fail[a.Seq] = errs[1:]
		return errs[0]
	}
	q.told = append(q.told, a.Seq)
	return nil
}

// TestDelivery: in order, again after a failure, given up when refused, and on from
// the saved place.
func TestDelivery(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	away := errors.New("away")
	q := &queue{place: 3, end: cancel, fail: map[uint64][]error{9: {away, away, away}, 11: {away, respond.ErrRefused}}}
	for _, seq := range []uint64{2, 3, 9, 11, 12} {
		q.alerts = append(q.alerts, &respond.Alert{ID: fmt.Sprint("id", seq), Seq: seq})
	}
	d := &respond.Delivery{
		Name: "test", Source: q, Receiver: q, Place: q, Log: slog.New(slog.DiscardHandler),
		Wait: func(_ context.Context, d time.Duration) error { q.waited = append(q.waited, d); return nil },
		Failed: func(a *respond.Alert, givenUp bool, _ error) {
			q.failed = append(q.failed, fmt.Sprint(a.ID, " ", givenUp))
		},
	}
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{9, 12}, q.told); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"id9 false", "id9 false", "id9 false", "id11 false", "id11 true"}, q.failed); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]time.Duration{1e9, 2e9, 4e9, 1e9}, q.waited); diff != "" {
		t.Error(diff)
	}
	if q.place != 12 {
		t.Errorf("the place is %d", q.place)
	}
}
