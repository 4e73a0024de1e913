package adversarial

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Frame types and flags (RFC 9113 6), as far as the attacks need them.
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoAway, frameContinuation byte = 0, 1, 3, 4, 6, 7, 9

	endStream, ack, endHeaders byte = 1, 1, 4
	maxFrame                        = 16 << 10
	preface                         = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// h2conn speaks HTTP/2 with no rule of its own.
type h2conn struct {
	net.Conn
	block bytes.Buffer
	enc   *hpack.Encoder
	sent  bytes.Buffer
}

// pair is a field of a request.
type pair struct{ name, value string }

// dialH2 opens an HTTP/2 connection; without a server name by prior knowledge.
func (g *guarded) dialH2(t *testing.T, sni string) *h2conn {
	t.Helper()
	c := g.dial(t, sni, "h2")
	if c == nil {
		t.Fatal("TLS handshake failed")
	}
	h := &h2conn{Conn: c}
	h.enc = hpack.NewEncoder(&h.block)
	if _, err := io.WriteString(c, preface); err != nil {
		t.Fatal(err)
	}
	if err := h.frame(frameSettings, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *h2conn) frame(kind, flags byte, stream uint32, payload []byte) error {
	head := make([]byte, 9, 9+len(payload))
	binary.BigEndian.PutUint32(head, uint32(len(payload))<<8|uint32(kind))
	head[4] = flags
	binary.BigEndian.PutUint32(head[5:], stream)
	_, err := h.Write(append(head, payload...))
	if h.sent.Len() < 4096 {
		fmt.Fprintf(&h.sent, "[type %d flags %d stream %d %.200q]", kind, flags, stream, payload)
	}
	return err
}

// headers sends fields as HEADERS and, where they are many, CONTINUATION.
func (h *h2conn) headers(stream uint32, fields []pair, end bool) error {
	h.block.Reset()
	for _, f := range fields {
		if err := h.enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
			return fmt.Errorf("encode field: %w", err)
		}
	}
	if h.sent.Len() < 4096 {
		fmt.Fprintf(&h.sent, "%.2000q", fields)
	}
	flags := byte(0)
	if end {
		flags = endStream
	}
	kind := frameHeaders
	for block := h.block.Bytes(); ; {
		part := block[:min(maxFrame, len(block))]
		block = block[len(part):]
		if len(block) == 0 {
			flags |= endHeaders
		}
		if err := h.frame(kind, flags, stream, part); err != nil || len(block) == 0 {
			return err
		}
		kind, flags = frameContinuation, 0
	}
}

// answer2 is what came back on stream 1.
type answer2 struct {
	// status is 0 where stream or connection ended without an answer.
	status int
	body   string
	fields []pair
	hung   bool
	how    string
}

// read reads until stream 1 has ended in one way or another.
func (h *h2conn) read() answer2 {
	var a answer2
	dec := hpack.NewDecoder(4096, nil)
	_ = h.SetReadDeadline(time.Now().Add(patience))
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(h, head); err != nil {
			a.hung = errors.Is(err, os.ErrDeadlineExceeded)
			a.how += " closed"
			return a
		}
		payload := make([]byte, binary.BigEndian.Uint32(head)>>8)
		if _, err := io.ReadFull(h, payload); err != nil {
			a.how += " closed"
			return a
		}
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		switch {
		case kind == frameSettings && flags&ack == 0:
			_ = h.frame(frameSettings, ack, 0, nil)
		case kind == frameGoAway:
			code := binary.BigEndian.Uint32(payload[4:])
			a.how += fmt.Sprintf(" GOAWAY %d", code)
			if code != 0 {
				return a
			}
		case stream != 1:
		case kind == frameReset:
			a.how += fmt.Sprintf(" RST_STREAM %d", binary.BigEndian.Uint32(payload))
			return a
		case kind == frameHeaders:
			fields, err := dec.DecodeFull(payload)
			if err != nil {
				a.how += " undecodable answer"
				return a
			}
			for _, f := range fields {
				a.fields = append(a.fields, pair{f.Name, f.Value})
				if f.Name == ":status" {
					a.status, _ = strconv.Atoi(f.Value)
				}
			}
		case kind == frameData:
			a.body += string(payload)
		}
		if stream == 1 && flags&endStream != 0 && (kind == frameHeaders || kind == frameData) && a.status >= 200 {
			return a
		}
	}
}

// attack2 is one HTTP/2 request.
type attack2 struct {
	id, from, tries string
	fields          []pair
	data            string
	// noEnd leaves the stream open behind data.
	noEnd    bool
	trailers []pair
	// plain speaks HTTP/2 without TLS by prior knowledge.
	plain bool
	// status, lines, maybe, body, has and absent are as in attack; 0 is a stream or
	// connection error.
	status []int
	lines  []string
	maybe  []string
	body   *string
	has    []string
	absent []string
}

func (g *guarded) run2(t *testing.T, n *counter, a *attack2) {
	t.Helper()
	n.add(t, a.id)
	t.Run(a.id, func(t *testing.T) {
		g.backend.take()
		sni := "shop.test"
		if a.plain {
			sni = ""
		}
		h := g.dialH2(t, sni)
		defer func() { _ = h.Close() }()
		// A write that fails means the gateway has ended the connection; the
		// answer says so.
		whole := a.data == "" && !a.noEnd && a.trailers == nil
		_ = h.headers(1, a.fields, whole)
		for data := []byte(a.data); len(data) > 0; {
			part := data[:min(maxFrame, len(data))]
			data = data[len(part):]
			flags := byte(0)
			if len(data) == 0 && !a.noEnd && a.trailers == nil {
				flags = endStream
			}
			_ = h.frame(frameData, flags, 1, part)
		}
		if a.trailers != nil {
			_ = h.headers(1, a.trailers, true)
		}
		got := h.read()
		_ = h.Close()
		as := attack{status: a.status, lines: a.lines, maybe: a.maybe, body: a.body, fields: a.has, absent: a.absent}
		o := &outcome{hung: got.hung, raw: fmt.Sprintf("%d %q %q%s", got.status, got.fields, got.body, got.how)}
		if got.status != 0 {
			o.answers = []answer{{status: got.status, body: got.body}}
		}
		faults := append(as.judgeAnswers(o), g.canary(t)...)
		seen := g.backend.take()
		if faults = append(faults, as.judgeForwarded(o.status(), seen)...); len(faults) > 0 {
			report(t, a.id, a.from, a.tries, h.sent.String(), o.raw, seen, faults)
		}
	})
}

// h2get is a request with good pseudo-header fields, and more.
func h2get(path string, more ...pair) []pair {
	return append([]pair{{":method", "GET"}, {":scheme", "https"}, {":authority", "shop.test"}, {":path", path}}, more...)
}

func h2post(more ...pair) []pair {
	return append([]pair{{":method", "POST"}, {":scheme", "https"}, {":authority", "shop.test"}, {":path", "/public"}}, more...)
}

// flood is an attack on the resources of the gateway by one connection.
type flood struct {
	id, from, tries string
	send            func(h *h2conn) error
	// ended wants the gateway to end the connection.
	ended bool
}

func floods() []flood {
	again := func(times int, f func(i uint32) error) error {
		for i := range times {
			if err := f(uint32(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return []flood{
		{"h2-rapid-reset", "CVE-2023-44487", "3000 requests, each reset at once", func(h *h2conn) error {
			return again(3000, func(i uint32) error {
				if err := h.headers(2*i+1, h2get("/public"), true); err != nil {
					return err
				}
				return h.frame(frameReset, 0, 2*i+1, []byte{0, 0, 0, 8})
			})
		}, false},
		{"h2-continuation", "CVE-2023-45288, CVE-2024-27316", "16 MiB of CONTINUATION without an end", func(h *h2conn) error {
			part := strings.Repeat("\x00\x01a\x7f\x00"+strings.Repeat("b", 127), 100)
			if err := h.frame(frameHeaders, endStream, 1, []byte(part)); err != nil {
				return err
			}
			return again(1200, func(uint32) error { return h.frame(frameContinuation, 0, 1, []byte(part)) })
		}, true},
		{"h2-hpack-bomb", "CVE-2016-6581", "one large field, referred to 16000 times", func(h *h2conn) error {
			h.block.Reset()
			if err := h.enc.WriteField(hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("a", 3900)}); err != nil {
				return fmt.Errorf("encode field: %w", err)
			}
			block := append(h.block.Bytes(), bytes.Repeat([]byte{0x80 | 62}, 12_000)...)
			return h.frame(frameHeaders, endStream|endHeaders, 1, block)
		}, false},
		{"h2-settings", "CVE-2019-9515", "50000 SETTINGS", func(h *h2conn) error {
			return again(50_000, func(uint32) error { return h.frame(frameSettings, 0, 0, nil) })
		}, false},
		{"h2-ping", "CVE-2019-9512", "50000 PING", func(h *h2conn) error {
			return again(50_000, func(uint32) error { return h.frame(framePing, 0, 0, make([]byte, 8)) })
		}, false},
		{"h2-empty", "CVE-2019-9518", "20000 empty DATA", func(h *h2conn) error {
			if err := h.headers(1, h2post(), false); err != nil {
				return err
			}
			return again(20_000, func(uint32) error { return h.frame(frameData, 0, 1, nil) })
		}, false},
		{"h2-streams", "RFC 9113 5.1.2", "1000 requests that never end", func(h *h2conn) error {
			return again(1000, func(i uint32) error { return h.headers(2*i+1, h2post(), false) })
		}, false},
		{"h2-preface", "RFC 9113 3.4", "a request of HTTP/1 behind the preface", func(h *h2conn) error {
			_, err := io.WriteString(h, get("/smuggled"))
			return err
		}, true},
	}
}

func runFloods(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	for _, f := range floods() {
		n.add(t, f.id)
		t.Run(f.id, func(t *testing.T) {
			h := g.dialH2(t, "shop.test")
			// The gateway's frames must be taken, or it waits for us.
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, h)
			}()
			err := f.send(h)
			var faults []string
			if f.ended {
				select {
				case <-ended:
				case <-time.After(patience):
					faults = append(faults, fmt.Sprintf("the connection goes on (sending: %v)", err))
				}
			}
			began := time.Now()
			faults = append(faults, g.canary(t)...)
			if took := time.Since(began); took > patience/2 {
				faults = append(faults, "the next clean request took "+took.String())
			}
			_ = h.Close()
			<-ended
			if strings.Contains(fmt.Sprint(g.backend.take()), "/smuggled") {
				faults = append(faults, "the backend got the smuggled request")
			}
			if len(faults) > 0 {
				report(t, f.id, f.from, f.tries, h.sent.String(), "", nil, faults)
			}
		})
	}
}
