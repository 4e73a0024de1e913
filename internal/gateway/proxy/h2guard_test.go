package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// guardedListener guards each connection that it accepts.
type guardedListener struct{ net.Listener }

func (l guardedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return guardHTTP2(c, 1<<16), nil
}

// guardedServer is net/http behind the guard; its handler tells what it saw.
func guardedServer(t *testing.T, seen chan<- string) net.Conn {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- r.URL.Path
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.HTTP2 = &http.HTTP2Config{MaxReadFrameSize: h2FrameSize}
	srv.Listener = guardedListener{srv.Listener}
	srv.Start()
	t.Cleanup(srv.Close)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestGuardForbiddenFields sends, on one connection and with one HPACK state,
// requests with fields that HTTP/2 forbids between good ones: each bad one is
// reset and never reaches the handler, each good one does.
func TestGuardForbiddenFields(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 16)
	c := guardedServer(t, seen)
	if _, err := io.WriteString(c, h2Preface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(c, c)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	steps := []struct {
		name   string
		fields []hpack.HeaderField
		split  bool // over HEADERS and CONTINUATION
		pad    uint8
		refuse bool
	}{
		{name: "plain"},
		{name: "connection", fields: []hpack.HeaderField{{Name: "connection", Value: "x-forwarded-for"}}, refuse: true},
		{name: "keep-alive", fields: []hpack.HeaderField{{Name: "keep-alive", Value: "timeout=5"}}, refuse: true},
		{name: "proxy-connection", fields: []hpack.HeaderField{{Name: "proxy-connection", Value: "close"}}, refuse: true},
		{name: "transfer-encoding", fields: []hpack.HeaderField{{Name: "transfer-encoding", Value: "chunked"}}, refuse: true},
		{name: "upgrade", fields: []hpack.HeaderField{{Name: "upgrade", Value: "h2c"}}, refuse: true},
		{name: "empty value", fields: []hpack.HeaderField{{Name: "connection"}}, refuse: true},
		{name: "te gzip", fields: []hpack.HeaderField{{Name: "te", Value: "trailers, gzip"}}, refuse: true},
		{name: "te trailers", fields: []hpack.HeaderField{{Name: "te", Value: "trailers"}}},
		{name: "indexed field from before", fields: []hpack.HeaderField{{Name: "x-kept", Value: "1"}}},
		{name: "indexed again and padded", fields: []hpack.HeaderField{{Name: "x-kept", Value: "1"}}, pad: 9},
		{name: "bad and padded", fields: []hpack.HeaderField{{Name: "upgrade", Value: "h2c"}}, pad: 200, refuse: true},
		{name: "bad and split", fields: []hpack.HeaderField{{Name: "connection", Value: "close"}}, split: true, refuse: true},
		{name: "good and split", fields: []hpack.HeaderField{{Name: "x-kept", Value: "1"}}, split: true},
	}
	refused, passed := 0, 0
	for i, s := range steps {
		id := uint32(2*i + 1)
		block.Reset()
		for _, f := range append([]hpack.HeaderField{
			{Name: ":method", Value: "GET"},
			{Name: ":scheme", Value: "http"},
			{Name: ":authority", Value: "a.example"},
			{Name: ":path", Value: "/" + s.name},
		}, s.fields...) {
			if err := enc.WriteField(f); err != nil {
				t.Fatal(err)
			}
		}
		frag := block.Bytes()
		first := frag
		if s.split {
			first = frag[:len(frag)-3]
		}
		err := fr.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: first, EndStream: true, EndHeaders: !s.split, PadLength: s.pad,
		})
		if err == nil && s.split {
			err = fr.WriteContinuation(id, true, frag[len(frag)-3:])
		}
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if reset := outcome(t, fr, id); reset != s.refuse {
			t.Errorf("%s: reset %t, want %t", s.name, reset, s.refuse)
		}
		if s.refuse {
			refused++
			continue
		}
		passed++
		if got := <-seen; got != "/"+s.name {
			t.Errorf("the handler saw %q, want %q", got, "/"+s.name)
		}
	}
	select {
	case got := <-seen:
		t.Errorf("the handler saw %q as well", got)
	default:
	}
	if refused < 9 || passed < 5 {
		t.Errorf("%d refused and %d passed: no proof both ways", refused, passed)
	}
}

// outcome reads until a stream ends and reports whether it was reset with
// PROTOCOL_ERROR.
func outcome(t *testing.T, fr *http2.Framer, id uint32) bool {
	t.Helper()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("stream %d: %v", id, err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				if f.ErrCode != http2.ErrCodeProtocol {
					t.Errorf("stream %d: reset with %v", id, f.ErrCode)
				}
				return true
			}
		case *http2.GoAwayFrame:
			t.Fatalf("connection ended: %v", f)
		case *http2.HeadersFrame:
			if f.StreamID == id && f.StreamEnded() {
				return false
			}
		case *http2.DataFrame:
			if f.StreamID == id && f.StreamEnded() {
				return false
			}
		}
	}
}

// settingsFrame writes one SETTINGS frame.
func settingsFrame(tb testing.TB, s ...http2.Setting) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := http2.NewFramer(&b, nil).WriteSettings(s...); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// onReader makes a connection that only reads.
type onReader struct {
	net.Conn
	io.Reader
}

func (r onReader) Read(p []byte) (int, error) { return r.Reader.Read(p) }

// guarded gives what the guard makes of some octets.
func guarded(r io.Reader) ([]byte, error) { return io.ReadAll(guardHTTP2(onReader{Reader: r}, 1<<16)) }

func TestGuardSettings(t *testing.T) {
	t.Parallel()
	window := func(v uint32) http2.Setting { return http2.Setting{ID: http2.SettingInitialWindowSize, Val: v} }
	push := http2.Setting{ID: http2.SettingEnablePush}
	tests := []struct {
		name     string
		in, want []byte
	}{
		{"once", settingsFrame(t, window(1), push), settingsFrame(t, window(1), push)},
		{"twice", settingsFrame(t, window(100), push, window(1)), settingsFrame(t, push, window(1))},
		{"thrice", settingsFrame(t, window(3), window(2), window(1)), settingsFrame(t, window(1))},
		{"none", settingsFrame(t), settingsFrame(t)},
		{
			"a wrong value is not covered by a right one",
			settingsFrame(t, window(1<<31), window(1)), settingsFrame(t, window(1<<31), window(1)),
		},
		{"torn length", append([]byte{0, 0, 5, 4, 0, 0, 0, 0, 0}, 1, 2, 3, 4, 5), append([]byte{0, 0, 5, 4, 0, 0, 0, 0, 0}, 1, 2, 3, 4, 5)},
		{"acknowledgement", []byte{0, 0, 0, 4, 1, 0, 0, 0, 0}, []byte{0, 0, 0, 4, 1, 0, 0, 0, 0}},
		{"cut head", []byte{0, 0, 6}, []byte{0, 0, 6}},
		{"cut payload", []byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 1}, []byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 1}},
		{"too large", []byte{0, 0x40, 1, 4, 0, 0, 0, 0, 0, 1, 2, 3}, []byte{0, 0x40, 1, 4, 0, 0, 0, 0, 0, 1, 2, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := guarded(io.MultiReader(bytes.NewReader([]byte(h2Preface)), bytes.NewReader(tt.in)))
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]byte(h2Preface), tt.want...), got); diff != "" {
				t.Errorf("guarded (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzH2Guard feeds any octets behind the preface: the guard never panics, its
// output does not depend on how the octets arrive, and where it says that
// nothing is wrong it changed nothing but repeated settings.
func FuzzH2Guard(f *testing.F) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: "connection", Value: "close"}} {
		if err := enc.WriteField(h); err != nil {
			f.Fatal(err)
		}
	}
	var frames bytes.Buffer
	fr := http2.NewFramer(&frames, nil)
	if err := errors.Join(
		fr.WriteSettings(http2.Setting{ID: 4, Val: 1}, http2.Setting{ID: 4, Val: 2}),
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, PadLength: 3}),
		fr.WriteData(1, true, []byte("body")),
	); err != nil {
		f.Fatal(err)
	}
	f.Add(frames.Bytes())
	f.Add(settingsFrame(f))
	f.Add([]byte{0, 0, 0, 1, 4, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := append([]byte(h2Preface), b...)
		whole, werr := guarded(bytes.NewReader(in))
		single, serr := guarded(iotest.OneByteReader(bytes.NewReader(in)))
		if !bytes.Equal(whole, single) || (werr == nil) != (serr == nil) {
			t.Fatalf("at once %q (%v), octet by octet %q (%v)", whole, werr, single, serr)
		}
		if len(whole) > len(in)+len(b)/h2FrameHeader*(h2FrameHeader+len(h2poison)) {
			t.Fatalf("%d octets became %d", len(in), len(whole))
		}
	})
}
