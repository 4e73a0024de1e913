// Package respond tells others of alerts: Alertmanager, a chat's webhook, syslog,
// and whoever takes CloudEvents.
//
// What is told comes from the log, from a position that is kept for each receiver,
// so that nothing is lost when a receiver is away or Bulwark ends: an alert is told
// at least once. Texts in alerts come from attackers; each form escapes them.
package respond

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"bulwark.dev/bulwark"
)

// Alert is what is told.
type Alert struct {
	// ID is the same whenever the same alert is told again.
	ID       string
	Seq      uint64 // the alert's own number in the log
	Rule     string
	Title    string
	Severity bulwark.Severity
	Time     time.Time
	Cluster  string
	Actor    string
	Summary  string
	Evidence []uint64
	Tags     []string
}

// Receiver is told of alerts.
type Receiver interface {
	// Tell gives one alert to the receiver and returns when that has it. An error that is
	// Refused will not go away by trying again.
	Tell(ctx context.Context, a *Alert) error
}

// ErrRefused marks what a receiver will never take.
var ErrRefused = errors.New("refused")

// answerMost is how much of a receiver's answer is read for an error.
const answerMost = 300

// post sends a body and wants an answer of 2xx. Errors never name the address, which
// may be a secret, as Slack's is.
func post(ctx context.Context, client *http.Client, to *url.URL, header http.Header, contentType string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), body)
	if err != nil {
		return errors.New("make request: the address is not valid")
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", contentType)
	resp, err := client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return fmt.Errorf("send to %s: %w", to.Host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode/100 == 5, resp.StatusCode/100 == 3:
		return fmt.Errorf("send to %s: answered %d %q", to.Host, resp.StatusCode, text)
	}
	return fmt.Errorf("send to %s: answered %d %q: %w", to.Host, resp.StatusCode, text, ErrRefused)
}

// Client gives an HTTP client that follows no redirect: where alerts go is for the
// operator to say, not for the receiver.
func Client(transport http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// address checks a receiver's URL.
func address(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("expected a URL that begins with http:// or https://")
	}
	return u, nil
}
