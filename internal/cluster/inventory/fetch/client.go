package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

const (
	// attempts is how often one request is made.
	attempts = 4
	// busyAttempts is the same for a server that says when to come again.
	busyAttempts = 8
	firstPause   = 500 * time.Millisecond
	// maxPause bounds what a server may ask for by Retry-After.
	maxPause = 30 * time.Second
	// After so many failures in a row nothing is tried twice, and after the second
	// number nothing is tried: a server that hangs would cost hours.
	doubt   = 24
	despair = 48
	// maxDocument is how large a document other than a list may be.
	maxDocument = 32 << 20
	// maxComplaint is how much of a refusal is read.
	maxComplaint = 64 << 10
)

var (
	errSilent = errors.New("the API server stopped answering")
	errLate   = errors.New("the API server is too slow: the time for the whole reading is over")
)

// client makes GET requests and tries again where that may help.
type client struct {
	base    *url.URL
	http    *http.Client
	log     *slog.Logger
	timeout time.Duration
	wait    func(context.Context, time.Duration) error
	// failures in a row, of all requests.
	failures atomic.Int64
	// late is set when no more requests are to be made.
	late atomic.Bool
}

func newClient(cfg *rest.Config, opt *Options) (*client, error) {
	if cfg == nil {
		return nil, errors.New("a connection to an API server is required")
	}
	c := rest.CopyConfig(cfg)
	c.Timeout = 0 // each request has its own limit
	if c.UserAgent == "" {
		c.UserAgent = "bulwark-fetch"
	}
	base, _, err := rest.DefaultServerUrlFor(c)
	if err != nil {
		// Without the cause, which repeats the address: it may hold a password.
		return nil, errors.New("address of the API server: expected a URL or host:port")
	}
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	own := *h
	// The transport adds credentials to whatever it is sent to.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{base: base, http: &own, log: opt.Log, timeout: opt.Timeout, wait: opt.Wait}, nil
}

// statusError is an answer that is no success.
type statusError struct {
	code    int
	path    string
	message string
	after   time.Duration // Retry-After, 0 without
}

func (e *statusError) Error() string {
	text := strconv.Itoa(e.code)
	if s := http.StatusText(e.code); s != "" {
		text += " " + s
	}
	if e.message == "" {
		return fmt.Sprintf("GET %s: %s", e.path, text)
	}
	return fmt.Sprintf("GET %s: %s: %s", e.path, text, e.message)
}

func codeOf(err error) int {
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.code
	}
	return 0
}

func forbidden(err error) bool { return codeOf(err) == http.StatusForbidden }

// final reports whether the same request would get the same answer again.
func final(err error) bool {
	if errors.Is(err, errTooMuch) || errors.Is(err, errSilent) {
		return true
	}
	switch code := codeOf(err); code {
	case 0, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return code < http.StatusInternalServerError || code == http.StatusNotImplemented
	}
}

// get makes a request until read has taken its body without an error. read may be
// called several times, each time with the body of a new answer.
func (c *client) get(ctx context.Context, path string, query url.Values, read func(io.Reader) error) error {
	pause := firstPause
	for try := 1; ; try++ {
		switch {
		case c.late.Load():
			return errLate
		case c.failures.Load() >= despair:
			return errSilent
		}
		err := c.once(ctx, path, query, read)
		if ctx.Err() != nil {
			return fmt.Errorf("GET %s: %w", path, ctx.Err())
		}
		if err == nil || final(err) {
			c.failures.Store(0)
			return err
		}
		limit, next := attempts, pause
		if s, ok := errors.AsType[*statusError](err); ok && s.after > 0 {
			limit, next = busyAttempts, min(s.after, maxPause)
		} else if c.failures.Add(1) >= doubt {
			return err
		}
		if try >= limit {
			return err
		}
		c.log.LogAttrs(ctx, slog.LevelDebug, "request failed, trying again", slog.String("path", path), slog.Duration("in", next), slog.Any("error", err))
		if err := c.wait(ctx, next); err != nil {
			return fmt.Errorf("GET %s: %w", path, err)
		}
		pause *= 2
	}
}

func (c *client) once(ctx context.Context, path string, query url.Values, read func(io.Reader) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	defer func() {
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			// Which read the end of time interrupts, and how that one puts it, varies.
			err = fmt.Errorf("GET %s: no whole answer within %s: %w", path, c.timeout, ctx.Err())
		}
	}()
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return complaint(path, resp)
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// complaint reads what an answer that is no success says.
func complaint(path string, resp *http.Response) error {
	e := &statusError{code: resp.StatusCode, path: path}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		// Bounded before it is multiplied: the server may say any number.
		e.after = time.Duration(min(s, int(maxPause/time.Second))) * time.Second
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxComplaint))
	var status struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
	}
	if err == nil && json.Unmarshal(text, &status) == nil && status.Kind == "Status" {
		e.message = shorten(status.Message)
	}
	return e
}

// shorten makes foreign text fit for one line of a report.
func shorten(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// getJSON reads a document that is no list of objects.
func (c *client) getJSON(ctx context.Context, path string, into any) error {
	return c.get(ctx, path, nil, func(body io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(body, maxDocument+1))
		switch {
		case err != nil:
			return fmt.Errorf("read the answer: %w", err)
		case len(text) > maxDocument:
			return fmt.Errorf("%w: the answer has more than %d bytes", errTooMuch, maxDocument)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("the answer is not what was asked for: %w", err)
		}
		return nil
	})
}
