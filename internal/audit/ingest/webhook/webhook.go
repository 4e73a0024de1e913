// Package webhook takes batches of audit events from API servers, of whom it knows who
// they are, and answers only when the log has them.
package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/semaphore"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
)

// Path is where a Handler expects batches; a slash and the server's name may
// follow. Under the names gateway, controller and admission, those of Bulwark's own parts,
// no events of an API server are taken.
const Path = "/audit/v1"

// Config is what a Handler does.
type Config struct {
	// Sink gets the events, Decode reads them. Both are required.
	Sink   ingest.Sink
	Decode ingest.Decode
	// Clients may send. Without any, everything is refused.
	Clients Clients
	// MaxBody is the most bytes of one batch, after decompression. Default: 32 MiB,
	// three times what an API server sends at most if it truncates.
	MaxBody int64
	// MaxWaiting is the most bytes of batches that are read or wait for the sink, of all
	// clients together. Default: 128 MiB. Decoded, a batch takes a few times as much.
	MaxWaiting int64
	// PerClient is how many batches one client may have under way. Default: 64.
	PerClient int
	// ReadTimeout is how long a client may take to send a batch, SinkTimeout how long
	// the sink may take to keep it. Defaults: 15 and 20 seconds, together a little more
	// than the 30 seconds after which an API server gives up.
	ReadTimeout, SinkTimeout time.Duration
	// Log gets what is refused, Now is the clock. Both are required.
	Log *slog.Logger
	Now func() time.Time
}

// Handler is the http.Handler of an API server's audit webhook. It answers 200 only
// when the sink has the batch on disk.
//
// It never makes the API server wait for long. When the sink is slow, batches wait in
// memory, bounded by MaxWaiting; what does not fit is answered 503 with Retry-After at
// once. The API server tries a batch again after any error, five times in all, with a
// growing pause that begins at --audit-webhook-initial-backoff (10 s unless set), and
// meanwhile goes on collecting: up to --audit-webhook-batch-buffer-size events (10,000
// unless set). What exceeds that, and a batch whose last attempt failed, it drops and
// counts in its metric apiserver_audit_error_total. Flags gives settings with
// more patience. A batch that was kept while the answer got lost is sent again: the
// trail then has its events twice.
//
// The server that it runs in has to bound how long headers and TLS handshakes take.
type Handler struct {
	cfg     Config
	waiting *semaphore.Weighted
	metrics *metrics

	mu  sync.Mutex
	now map[string]int // batches under way, by client
}

var _ http.Handler = (*Handler)(nil)

// New makes a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Sink == nil || cfg.Decode == nil || cfg.Log == nil || cfg.Now == nil {
		return nil, errors.New("make audit webhook: a sink, a decoder, a log and a clock are required")
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 32 << 20
	}
	if cfg.MaxWaiting <= 0 {
		cfg.MaxWaiting = 128 << 20
	}
	if cfg.MaxWaiting < cfg.MaxBody {
		return nil, fmt.Errorf("make audit webhook: a batch may have %d bytes, and only %d may wait", cfg.MaxBody, cfg.MaxWaiting)
	}
	if cfg.PerClient <= 0 {
		cfg.PerClient = 64
	}
	if cfg.ReadTimeout <= 0 {
		cfg.ReadTimeout = 15 * time.Second
	}
	if cfg.SinkTimeout <= 0 {
		cfg.SinkTimeout = 20 * time.Second
	}
	return &Handler{cfg: cfg, waiting: semaphore.NewWeighted(cfg.MaxWaiting), metrics: newMetrics(), now: map[string]int{}}, nil
}

// answer is what a batch comes to. The zero answer is an error of our own.
type answer struct {
	status  int
	outcome string
	// text is for the operator, and goes into the trail where the batch is lost.
	text string
	lost bool
	// reason is the word for it in the trail, where it is not that nothing could be read.
	reason string
	err    error
	// events were kept.
	events int
}

// ServeHTTP takes one batch. Who is not known learns nothing but that.
func (w *Handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	started := w.cfg.Now()
	// Who sends slowly is cut off: a context does not end a read. It stays in force for
	// what is refused unread, since the server reads some of that before it answers.
	w.deadline(rw, r, started.Add(w.cfg.ReadTimeout))
	sender, source := client{}, ""
	a := answer{status: http.StatusNotFound, outcome: outcomeMalformed, text: "the path is not that of the audit webhook"}
	if server, ok := serverName(r.URL.Path); ok {
		source = sourceOf(server)
		var known bool
		switch sender, known = w.cfg.Clients.who(r, started); {
		case !known:
			a = answer{status: http.StatusUnauthorized, outcome: outcomeUnauthenticated, text: "the client is not known"}
		case !sender.may(server):
			a = answer{status: http.StatusForbidden, outcome: outcomeForbidden, text: "the client may not send under this name"}
		default:
			a = w.take(rw, r, sender.name, source)
		}
	}
	w.metrics.done(a, w.cfg.Now().Sub(started))
	if a.status == http.StatusOK {
		rw.WriteHeader(http.StatusOK)
		return
	}
	attrs := []slog.Attr{
		slog.String("client", sender.name), slog.String("remote", r.RemoteAddr), slog.String("source", source),
		slog.Int("status", a.status), slog.String("reason", a.text),
	}
	if a.err != nil {
		attrs = append(attrs, slog.Any("error", a.err))
	}
	w.cfg.Log.LogAttrs(r.Context(), slog.LevelWarn, "batch of audit events was not taken", attrs...)
	if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
		rw.Header().Set("Retry-After", "1")
	}
	if a.status == http.StatusUnauthorized {
		rw.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(rw, http.StatusText(a.status), a.status)
}

// take reads a batch and hands it to the sink.
func (w *Handler) take(rw http.ResponseWriter, r *http.Request, client, source string) answer {
	switch encoding := r.Header.Get("Content-Encoding"); {
	case r.Method != http.MethodPost:
		return answer{status: http.StatusMethodNotAllowed, outcome: outcomeMalformed, text: "the method is not POST"}
	case encoding != "" && encoding != "identity" && encoding != "gzip":
		return answer{status: http.StatusUnsupportedMediaType, outcome: outcomeMalformed, text: "the content encoding is not known"}
	}
	if !w.enter(client) {
		return answer{status: http.StatusTooManyRequests, outcome: outcomeOverloaded, text: "the client has too many batches under way"}
	}
	defer w.leave(client)
	size := r.ContentLength
	if size > w.cfg.MaxBody {
		return w.lose(r.Context(), source, w.large())
	}
	if size < 0 || r.Header.Get("Content-Encoding") == "gzip" {
		size = w.cfg.MaxBody // nobody said how much it will be
	}
	if !w.waiting.TryAcquire(size) {
		return answer{status: http.StatusServiceUnavailable, outcome: outcomeOverloaded, text: "too much waits for the log"}
	}
	held := size
	defer func() { w.waiting.Release(held) }()
	w.metrics.waiting.Add(float64(size))
	defer func() { w.metrics.waiting.Sub(float64(held)) }()

	body, a := w.read(rw, r)
	if a.status != 0 {
		if a.lost {
			return w.lose(r.Context(), source, a)
		}
		return a
	}
	if spare := held - int64(len(body)); spare > 0 {
		w.waiting.Release(spare)
		w.metrics.waiting.Sub(float64(spare))
		held -= spare
	}
	entries, err := w.cfg.Decode(body)
	if err != nil {
		return w.lose(r.Context(), source, answer{
			status: http.StatusBadRequest, outcome: outcomeMalformed, lost: true, err: err,
			text: "a batch of " + strconv.Itoa(len(body)) + " bytes was no JSON",
		})
	}
	for _, e := range entries {
		if !tells(source, e.Event.Kind) {
			return w.lose(r.Context(), source, answer{
				status: http.StatusForbidden, outcome: outcomeForbidden, lost: true, reason: "NotItsOwn",
				text: "a part of Bulwark sent an event of kind " + string(e.Event.Kind) + ", which it does not tell of",
			})
		}
		e.Event.Source = source
	}
	return w.keep(r.Context(), entries)
}

// tells reports whether who sends under a source's name tells of such events. Bulwark's
// own parts have names of their own, and none of them is an API server: who has taken the
// token of one cannot make up what happened in the cluster.
func tells(source string, kind audit.Kind) bool {
	switch source {
	case sourceOf("gateway"):
		return kind == audit.KindGateway || kind == audit.KindSystem
	case sourceOf("controller"), sourceOf("admission"):
		return kind == audit.KindSystem
	}
	return true
}

func (w *Handler) keep(ctx context.Context, entries []audit.Entry) answer {
	if len(entries) > 0 {
		ctx, cancel := context.WithTimeout(ctx, w.cfg.SinkTimeout)
		defer cancel()
		if _, err := w.cfg.Sink.Append(ctx, entries); err != nil {
			return answer{status: http.StatusServiceUnavailable, outcome: outcomeSink, text: "the log did not take the batch", err: err}
		}
	}
	return answer{status: http.StatusOK, outcome: outcomeTaken, events: len(entries)}
}

// lose writes into the trail that a batch was lost. The answer stays what it is: the
// API server may try again, and the trail says so again.
func (w *Handler) lose(ctx context.Context, source string, a answer) answer {
	lost := ingest.Unread(source, a.text, w.cfg.Now())
	lost.Event.Status.Reason = cmp.Or(a.reason, lost.Event.Status.Reason)
	if kept := w.keep(ctx, []audit.Entry{lost}); kept.status != http.StatusOK {
		a.err = errors.Join(a.err, kept.err)
	}
	return a
}

func (w *Handler) large() answer {
	return answer{
		status: http.StatusRequestEntityTooLarge, outcome: outcomeLarge, lost: true,
		text: fmt.Sprintf("a batch was larger than %d bytes", w.cfg.MaxBody),
	}
}

// deadline says until when the body may be read; the zero time lifts it.
func (w *Handler) deadline(rw http.ResponseWriter, r *http.Request, at time.Time) {
	// A writer without deadlines is not a connection.
	if err := http.NewResponseController(rw).SetReadDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		w.cfg.Log.LogAttrs(r.Context(), slog.LevelDebug, "read deadline was not set", slog.Any("error", err))
	}
}

// read gives the body, or the answer to a body that is none.
func (w *Handler) read(rw http.ResponseWriter, r *http.Request) ([]byte, answer) {
	body := io.Reader(http.MaxBytesReader(rw, r.Body, w.cfg.MaxBody))
	bad := answer{status: http.StatusBadRequest, outcome: outcomeMalformed, text: "the batch could not be read"}
	if r.Header.Get("Content-Encoding") == "gzip" {
		packed, err := gzip.NewReader(body)
		if err != nil {
			bad.err = err
			return nil, bad
		}
		body = io.LimitReader(packed, w.cfg.MaxBody+1)
	}
	text := make([]byte, 0, max(512, min(r.ContentLength+1, 1<<20)))
	for {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		_, large := errors.AsType[*http.MaxBytesError](err)
		switch {
		case large || int64(len(text)) > w.cfg.MaxBody:
			return nil, w.large()
		case errors.Is(err, io.EOF):
			// The server goes on reading, to notice when the client goes: with the deadline in
			// force it would take its end for that.
			w.deadline(rw, r, time.Time{})
			return text, answer{}
		case err != nil:
			bad.err = err
			return nil, bad
		}
	}
}

func (w *Handler) enter(client string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[client] >= w.cfg.PerClient {
		return false
	}
	w.now[client]++
	return true
}

func (w *Handler) leave(client string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[client]--; w.now[client] == 0 {
		delete(w.now, client)
	}
}

// serverName gives the server's name that a path has, "" where it has none.
func serverName(path string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(path, Path)
	if !ok {
		return "", false
	}
	if rest == "" || rest == "/" {
		return "", true
	}
	if rest[0] != '/' || !validServer(rest[1:]) {
		return "", false
	}
	return rest[1:], true
}

// sourceOf gives the source of what a server sends.
func sourceOf(server string) string {
	if server == "" {
		return "webhook"
	}
	return "webhook/" + server
}

// validServer wants a name as of a host: it stands in the trail and in searches.
func validServer(name string) bool {
	if len(name) == 0 || len(name) > 63 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		inner := (c == '-' || c == '.') && i > 0 && i < len(name)-1
		if !inner && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
