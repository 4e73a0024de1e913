package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// Call asks the server of the trail in dir to do verb with a request, and puts the
// result into result; nil wants none. ErrNoServer says that nobody listens; an *Error is
// what the server answered.
func Call(ctx context.Context, dir, verb string, request, result any) error {
	if err := call(ctx, dir, verb, request, result); err != nil {
		return fmt.Errorf("ask the server of %s to %s: %w", dir, verb, err)
	}
	return nil
}

func call(ctx context.Context, dir, verb string, request, result any) error {
	path, err := socketPath(dir)
	if err != nil {
		return err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if len(body) > maxRequest {
		return fmt.Errorf("a request of %d bytes is longer than the %d allowed", len(body), maxRequest)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://trail"+pathPrefix+verb, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return unheard(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	return read(resp, verb, result)
}

// unheard tells a server that is not there from one that does not answer.
func unheard(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" &&
		(errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)) {
		return fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return err
}

func read(resp *http.Response, verb string, result any) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("read the answer (%s): %w", resp.Status, err)
	}
	if resp.StatusCode != http.StatusOK {
		return &Error{Verb: verb, Text: a.Error, Refused: a.Refused}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("read the result: %w", err)
	}
	return nil
}
