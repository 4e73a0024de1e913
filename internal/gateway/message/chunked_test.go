package message

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decodeChunked feeds src in pieces of at most step bytes, as a connection
// would, and gives the body, the trailer and what came behind it.
func decodeChunked(src string, step int) (body string, trailer Header, rest string, err error) {
	var c Chunked
	var out []byte
	for from := 0; ; {
		if from == len(src) {
			return string(out), nil, "", io.ErrUnexpectedEOF
		}
		piece := []byte(src[from:min(from+step, len(src))])
		for len(piece) > 0 {
			data, used, err := c.Next(piece)
			out = append(out, data...)
			from += used
			piece = piece[used:]
			if errors.Is(err, io.EOF) {
				return string(out), c.Trailer(), src[from:], nil
			}
			if err != nil {
				return string(out), nil, "", err
			}
		}
	}
}

func TestChunked(t *testing.T) {
	long := strings.Repeat("e", maxChunkExt)
	tests := []struct {
		name, in      string
		body, rest    string
		trailer       Header
		bad           bool
		wantTruncated bool
	}{
		{name: "empty", in: "0\r\n\r\n"},
		{name: "one chunk", in: "5\r\nhello\r\n0\r\n\r\n", body: "hello"},
		{name: "two chunks, upper and lower hex", in: "A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", body: "01234567890123456789a"},
		{name: "leading zeros", in: "0005\r\nhello\r\n000\r\n\r\n", body: "hello"},
		{name: "bytes of the next message", in: "1\r\nx\r\n0\r\n\r\nHTTP/1.1 200", body: "x", rest: "HTTP/1.1 200"},
		{name: "extension", in: "5;a=b;c=\"d\"\r\nhello\r\n0;z\r\n\r\n", body: "hello"},
		{name: "extension at its limit", in: "1;" + long[1:] + "\r\nx\r\n0\r\n\r\n", body: "x"},
		{name: "trailer", in: "1\r\nx\r\n0\r\nX-Sum: 1\r\nGrpc-Status:0 \r\n\r\n", body: "x", trailer: Header{{"x-sum", "1"}, {"grpc-status", "0"}}},
		{
			name: "trailer that would frame, route or authenticate",
			in:   "0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: Bearer x\r\nSet-Cookie: a=b\r\nX-Forwarded-For: 1.1.1.1\r\nOk: 1\r\n\r\n", trailer: Header{{"ok", "1"}},
		},
		{name: "LF alone ends size", in: "5\nhello\r\n0\r\n\r\n", bad: true},
		{name: "CR alone ends size", in: "5\rhello\r\n0\r\n\r\n", bad: true},
		{name: "LF alone ends data", in: "5\r\nhello\n0\r\n\r\n", bad: true},
		{name: "CR alone ends data", in: "5\r\nhello\rX0\r\n\r\n", bad: true},
		{name: "LF alone ends last chunk", in: "0\n\r\n", bad: true},
		{name: "LF alone ends trailer", in: "0\r\n\n", bad: true},
		{name: "LF alone in extension", in: "5;a\nhello\r\n0\r\n\r\n", bad: true},
		{name: "CR in extension", in: "5;a\rb\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "NUL in extension", in: "5;a\x00\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "blank before size", in: " 5\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "blank behind size", in: "5 \r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "tab behind size", in: "5\t;a\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "0x", in: "0x5\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "plus", in: "+5\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "minus", in: "-1\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "underscore", in: "1_0\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "no size", in: "\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "extension without size", in: ";a\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "quoted size", in: "\"5\"\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "size that wraps", in: "10000000000000005\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "size of 16 zeros and more", in: strings.Repeat("0", 16) + "5\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "size larger than data", in: "6\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "size smaller than data", in: "4\r\nhello\r\n0\r\n\r\n", bad: true},
		{name: "extension too long", in: "1;" + long + "e\r\nx\r\n0\r\n\r\n", bad: true},
		{name: "extensions too long", in: strings.Repeat("1;"+long[2:]+"\r\nx\r\n", 70) + "0\r\n\r\n", bad: true},
		{name: "trailer too long", in: "0\r\nx: " + strings.Repeat("y", MaxTrailerBytes) + "\r\n\r\n", bad: true},
		{name: "trailer without end", in: "0\r\n" + strings.Repeat("x: y\r\n", MaxTrailerBytes/6+1), bad: true},
		{name: "trailer folded", in: "0\r\nx: a\r\n b\r\n\r\n", bad: true},
		{name: "trailer with blank before colon", in: "0\r\nx : a\r\n\r\n", bad: true},
		{name: "trailer with NUL", in: "0\r\nx: a\x00\r\n\r\n", bad: true},
		{name: "trailer without colon", in: "0\r\nx\r\n\r\n", bad: true},
		{name: "ends inside size", in: "5", wantTruncated: true},
		{name: "ends inside data", in: "5\r\nhel", wantTruncated: true},
		{name: "ends before the last chunk", in: "5\r\nhello\r\n", wantTruncated: true},
		{name: "ends inside the trailer", in: "0\r\nx: y\r\n", wantTruncated: true},
	}
	good, bad := 0, 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{1, 2, 3, 7, 1 << 20} {
				body, trailer, rest, err := decodeChunked(tt.in, step)
				switch {
				case tt.bad:
					if !errors.Is(err, ErrChunked) {
						t.Fatalf("step %d: error %v, want ErrChunked (body %q)", step, err, body)
					}
					continue
				case tt.wantTruncated:
					if !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("step %d: error %v, want the end inside the body", step, err)
					}
					continue
				case err != nil:
					t.Fatalf("step %d: %v", step, err)
				}
				got := []any{body, trailer, rest}
				if diff := cmp.Diff([]any{tt.body, tt.trailer, tt.rest}, got); diff != "" {
					t.Errorf("step %d: (-want +got)\n%s", step, diff)
				}
			}
		})
		if tt.bad || tt.wantTruncated {
			bad++
		} else {
			good++
		}
	}
	if good < 9 || bad < 25 {
		t.Errorf("ran %d good and %d bad cases", good, bad)
	}
}

func TestChunkedStaysBroken(t *testing.T) {
	var c Chunked
	if _, _, err := c.Next([]byte("zz\r\n")); !errors.Is(err, ErrChunked) {
		t.Fatalf("error %v", err)
	}
	if data, used, err := c.Next([]byte("5\r\nhello\r\n0\r\n\r\n")); !errors.Is(err, ErrChunked) || used != 0 || data != nil {
		t.Errorf("after an error: %q, %d, %v", data, used, err)
	}
	c.Reset()
	data, _, err := c.Next([]byte("5\r\nhello"))
	if err != nil || string(data) != "hello" {
		t.Errorf("after Reset: %q, %v", data, err)
	}
}

func TestChunkedSkip(t *testing.T) {
	var c Chunked
	if _, used, err := c.Next([]byte("400\r\n")); used != 5 || err != nil {
		t.Fatalf("used %d, error %v", used, err)
	}
	if got := c.Remaining(); got != 0x400 {
		t.Fatalf("Remaining = %d", got)
	}
	c.Skip(0x3ff)
	if got := c.Remaining(); got != 1 {
		t.Fatalf("Remaining = %d", got)
	}
	c.Skip(1)
	if got := c.Remaining(); got != 0 {
		t.Fatalf("Remaining = %d", got)
	}
	if _, _, err := c.Next([]byte("\r\n0\r\n\r\n")); !errors.Is(err, io.EOF) || !c.Done() {
		t.Errorf("error %v, done %v", err, c.Done())
	}
}

func TestAppendChunks(t *testing.T) {
	b := AppendChunk(nil, []byte("hello, world: 16"))
	b = AppendChunk(b, nil) // must not end the body
	b = AppendChunk(b, []byte("!"))
	b = AppendLastChunk(b, Header{{"x-sum", "7"}, {"content-length", "9"}, {"X-Upper", "a"}, {"x-break", "a\r\nb"}})
	want := "10\r\nhello, world: 16\r\n1\r\n!\r\n0\r\nx-sum: 7\r\n\r\n"
	if string(b) != want {
		t.Errorf("got %q\nwant %q", b, want)
	}
}

// FuzzChunked: however the bytes are cut, the verdict and the body are the
// same, and what was accepted survives being written and read again.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(1))
	f.Add([]byte("5;ext=1\r\nhello\r\n0\r\nx-sum: 1\r\n\r\nrest"), uint8(3))
	f.Add([]byte("fffffffffffffff\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		body, trailer, rest, err := decodeChunked(string(in), len(in)+1)
		body2, trailer2, rest2, err2 := decodeChunked(string(in), int(step)+1)
		if (err == nil) != (err2 == nil) || body != body2 || rest != rest2 || !cmp.Equal(trailer, trailer2) {
			t.Fatalf("cut differently: %q %q %v, %q %q %v", body, rest, err, body2, rest2, err2)
		}
		if err != nil {
			return
		}
		again := AppendLastChunk(AppendChunk(nil, []byte(body)), trailer)
		body3, trailer3, rest3, err := decodeChunked(string(again), 5)
		if err != nil || body3 != body || rest3 != "" || !cmp.Equal(trailer3, trailer) {
			t.Fatalf("written again: %q %v %q %v", body3, trailer3, rest3, err)
		}
		if len(body) > len(in) {
			t.Fatalf("%d bytes out of %d", len(body), len(in))
		}
	})
}
