package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// patience is for one answer. The gateway's own limits are longer.
	patience = 30 * time.Second
	// perConnection is how many requests a connection carries: long enough to be
	// there while tables change, and often enough a new one.
	perConnection = 200
)

// answer is what came back: the backend answers with the name of the route.
type answer struct {
	status int
	body   string
}

// caller sends requests over one connection at a time. Unlike net/http's client
// it never sends one again, so that no failure stays unseen. It is for one
// goroutine.
type caller struct {
	address string
	conn    net.Conn
	buf     *bufio.Reader
	left    int
}

func newCaller(address string) *caller { return &caller{address: address} }

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// get asks for a path of a host, with a token unless that is empty.
func (c *caller) get(ctx context.Context, host, path, token string) (answer, error) {
	a, err := c.exchange(ctx, host, path, token)
	if err != nil {
		c.close()
		return a, fmt.Errorf("GET http://%s%s: %w", host, path, err)
	}
	return a, nil
}

func (c *caller) exchange(ctx context.Context, host, path, token string) (answer, error) {
	if c.conn == nil {
		d := net.Dialer{Timeout: patience}
		conn, err := d.DialContext(ctx, "tcp", c.address)
		if err != nil {
			return answer{}, err
		}
		c.conn, c.buf, c.left = conn, bufio.NewReader(conn), perConnection
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	req := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n"
	if token != "" {
		req += "Authorization: Bearer " + token + "\r\n"
	}
	c.left--
	if c.left == 0 {
		req += "Connection: close\r\n"
	}
	if _, err := io.WriteString(c.conn, req+"\r\n"); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(c.buf, nil)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return answer{}, fmt.Errorf("body: %w", err)
	}
	if resp.Close || c.left == 0 {
		c.close()
	}
	return answer{resp.StatusCode, string(body)}, nil
}

// serveBackend answers with the name of the route by which a request came, until
// ctx ends.
func serveBackend(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf("%s:%d", backendHost, backendPort))
	if err != nil {
		return fmt.Errorf("start backend: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get(routeHeader)) // the caller sees what is missing
	})}
	go func() { _ = server.Serve(l) }() // ends with the listener
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return nil
}
