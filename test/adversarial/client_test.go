package adversarial

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// answer is one response.
type answer struct {
	status int
	header http.Header
	body   string
	// cut says that the body ended before its announced end.
	cut bool
}

// outcome is what came back on one connection.
type outcome struct {
	answers []answer // final ones only
	interim []int
	raw     string
	// ended says that the gateway closed the connection by itself.
	ended bool
	// hung says that it neither answered nor closed in time.
	hung bool
}

// status is that of the first answer; 0 stands for a close without one.
func (o *outcome) status() int {
	if len(o.answers) == 0 {
		return 0
	}
	return o.answers[0].status
}

// dial connects, under TLS where sni is not empty ("-" sends no server name).
func (g *guarded) dial(t *testing.T, sni string, protocols ...string) net.Conn {
	t.Helper()
	addr := g.http
	if sni != "" {
		addr = g.https
	}
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(3 * patience)); err != nil {
		t.Fatal(err)
	}
	if sni == "" {
		return c
	}
	// Names are the cases' business; the certificate is not under test here.
	conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: protocols}
	if sni != "-" {
		conf.ServerName = sni
	}
	tc := tls.Client(c, conf)
	if err := tc.HandshakeContext(t.Context()); err != nil {
		return nil
	}
	return tc
}

type halfCloser interface{ CloseWrite() error }

// manner is how a client behaves besides what it sends.
type manner struct {
	// finish closes the sending side at once; otherwise it is closed when the
	// first answer is there, so that the gateway ends the connection and nothing
	// that it would still send is missed.
	finish bool
	// wait gives the gateway time to close the connection by itself first.
	wait bool
}

// converse sends bytes and reads every answer.
func converse(t *testing.T, c net.Conn, send string, m manner) *outcome {
	t.Helper()
	o := &outcome{}
	written := make(chan struct{})
	go func() { // the gateway may answer and close before it has read all
		defer close(written)
		_, _ = io.WriteString(c, send)
		if hc, ok := c.(halfCloser); ok && m.finish {
			_ = hc.CloseWrite()
		}
	}()
	defer func() { <-written }()
	defer func() { _ = c.Close() }()

	var raw bytes.Buffer
	br := bufio.NewReader(io.TeeReader(c, &raw))
	method, _, _ := strings.Cut(send, " ")
	if !o.next(c, br, method) {
		o.raw = raw.String()
		return o
	}
	if m.wait {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err := br.Peek(1)
		o.ended = err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	if hc, ok := c.(halfCloser); ok && !o.ended {
		<-written
		_ = hc.CloseWrite()
	}
	for !o.ended && o.next(c, br, http.MethodGet) {
	}
	o.raw = raw.String()
	return o
}

// next reads one final answer.
func (o *outcome) next(c net.Conn, br *bufio.Reader, method string) bool {
	for {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := br.Peek(1); err != nil {
			o.ended = !errors.Is(err, os.ErrDeadlineExceeded)
			o.hung = !o.ended
			return false
		}
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			o.answers = append(o.answers, answer{status: -1, body: "unreadable answer: " + err.Error()})
			o.ended = true
			return false
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			o.interim = append(o.interim, resp.StatusCode)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		o.answers = append(o.answers, answer{resp.StatusCode, resp.Header, string(body), err != nil})
		return resp.StatusCode != http.StatusSwitchingProtocols && err == nil
	}
}
