package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"time"
)

// probeTimeout bounds one checking request.
const probeTimeout = 2 * time.Second

// wrkTimeout is after how long wrk gives an answer up. A busy machine may stall
// a peer for seconds; only an answer that never comes is an error.
const wrkTimeout = "15s"

// summary is what wrk counted in one run; see conf/wrk.lua.
type summary struct {
	Requests     int64 `json:"requests"`
	Bytes        int64 `json:"bytes"`
	Microseconds int64 `json:"microseconds"`
	Connect      int64 `json:"connect"`
	Read         int64 `json:"read"`
	Write        int64 `json:"write"`
	Status       int64 `json:"status"`
	Timeout      int64 `json:"timeout"`
	// P50 and P99 are response times in microseconds.
	P50 int64 `json:"p50"`
	P99 int64 `json:"p99"`
}

// errors says what went wrong in the run, nil for nothing.
func (s summary) errors() error {
	if n := s.Connect + s.Read + s.Write + s.Status + s.Timeout; n > 0 {
		return fmt.Errorf("%d errors (connect %d, read %d, write %d, status %d, timeout %d)",
			n, s.Connect, s.Read, s.Write, s.Status, s.Timeout)
	}
	if s.Requests == 0 {
		return errors.New("no request was answered")
	}
	return nil
}

// summaryMark starts the line that conf/wrk.lua prints.
var summaryMark = []byte("SUMMARY ")

// parseSummary finds the summary in what wrk printed.
func parseSummary(out []byte) (summary, error) {
	_, rest, found := bytes.Cut(out, summaryMark)
	if !found {
		return summary{}, fmt.Errorf("wrk printed no summary: %q", out)
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	var s summary
	if err := json.Unmarshal(line, &s); err != nil {
		return summary{}, fmt.Errorf("read the summary of wrk: %w", err)
	}
	return s, nil
}

// generator is how the load is made.
type generator struct {
	wrk, script string
	connections int
	// prefix is put before the command, to keep it on some cores.
	prefix []string
}

// run loads a URL for a time, with one thread: one is enough to keep any peer on
// the same machine busy.
func (g generator) run(ctx context.Context, url, token string, d time.Duration) (summary, error) {
	args := append([]string{}, g.prefix...)
	args = append(args, g.wrk, "-t1", "-c", strconv.Itoa(g.connections),
		"-d", strconv.Itoa(int(d/time.Second))+"s", "-s", g.script, "--timeout", wrkTimeout)
	if token != "" {
		args = append(args, "-H", "Authorization: Bearer "+token)
	}
	args = append(args, url)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return summary{}, fmt.Errorf("run wrk: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return parseSummary(out.Bytes())
}

// probe sends one request on a connection of its own, checks that the answer is
// 200 with the backend's body, and gives the answer's length on the wire.
func probe(ctx context.Context, port int, token, body string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, fmt.Errorf("probe: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(probeTimeout)); err != nil {
		return 0, fmt.Errorf("probe: %w", err)
	}
	head := "GET / HTTP/1.1\r\nHost: " + addr + "\r\n"
	if token != "" {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return 0, fmt.Errorf("probe: %w", err)
	}
	count := &counter{r: conn}
	br := bufio.NewReader(count)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return 0, fmt.Errorf("probe: %w", err)
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return 0, fmt.Errorf("probe: read the body: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("probe: status %d, want 200: %.200q", resp.StatusCode, got)
	}
	if string(got) != body {
		return 0, fmt.Errorf("probe: body of %d bytes is not the backend's %d", len(got), len(body))
	}
	return count.n - int64(br.Buffered()), nil
}

// counter counts the bytes read through it.
type counter struct {
	r io.Reader
	n int64
}

// Read reads and counts.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read: %w", err)
	}
	return n, err
}

// served asks the backend how many requests it has answered (nginx stub_status).
func served(ctx context.Context, port int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask the backend: %w", err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, fmt.Errorf("ask the backend: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("ask the backend: %w", err)
	}
	return parseServed(b)
}

// parseServed reads the third number of the line behind "server accepts handled
// requests".
func parseServed(b []byte) (int64, error) {
	_, rest, found := bytes.Cut(b, []byte("requests\n"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	f := bytes.Fields(line)
	if !found || len(f) != 3 {
		return 0, fmt.Errorf("read the backend's status: no counts in %q", b)
	}
	n, err := strconv.ParseInt(string(f[2]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the backend's status: %w", err)
	}
	return n, nil
}
