package proxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"golang.org/x/net/http2/hpack"
)

// HTTP/2 as far as the guard reads it (RFC 9113 sections 3.4, 4.1, 6).
const (
	h2Preface       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	h2FrameHeader   = 9
	h2FrameSize     = 16 << 10 // what http.HTTP2Config.MaxReadFrameSize must say, too
	h2HeaderTable   = 4 << 10  // net/http's own SETTINGS_HEADER_TABLE_SIZE
	h2Headers       = 0x1
	h2Settings      = 0x4
	h2Continuation  = 0x9
	h2FlagAck       = 0x1
	h2FlagHeadersOK = 0x4 // END_HEADERS
	h2FlagPadded    = 0x8
	h2FlagPriority  = 0x20
	h2Setting       = 6 // octets of one setting
	h2MostSettings  = 100
	h2poisonSize    = 4
)

// h2poison is a header field that no server accepts, a literal one with the
// name "X" (upper case) and no value: net/http decodes the whole block, keeps
// its HPACK state right, and resets the stream with PROTOCOL_ERROR.
var h2poison = [h2poisonSize]byte{0x00, 0x01, 'X', 0x00}

// errH2Block ends the guard's own reading of header blocks.
var errH2Block = errors.New("http2: header block cannot be read")

// h2guard reads the frames of a client on their way into net/http's HTTP/2
// server and closes two gaps between that server and RFC 9113:
//
//   - a request with a connection-specific field, or with TE other than
//     "trailers", is malformed (8.2.2) and must end in a stream error; net/http
//     answers it with 400, and the handler never sees it. The guard adds a field
//     to the block that makes net/http reset the stream.
//   - a setting may stand in one SETTINGS frame more than once and the last value
//     counts (6.5.3); net/http closes the connection. The guard leaves only the
//     last one.
//
// Everything else passes unchanged, and what the guard cannot read passes
// unchanged too: net/http refuses it. It is used by one reader, as connections
// are.
type h2guard struct {
	net.Conn
	r    *bufio.Reader
	hpk  *hpack.Decoder
	buf  []byte // frame being looked at, kept between frames
	out  []byte // what Read has to give out before anything else
	pass int    // octets to pass on without looking
	raw  bool   // no looking any more
	bad  bool   // the current block holds a forbidden field
	err  error  // sticky
}

// guardHTTP2 wraps a connection whose next octets are the HTTP/2 preface.
// fieldBytes bounds the length of one name or value, as the server's
// MaxHeaderBytes does.
func guardHTTP2(c net.Conn, fieldBytes int) *h2guard {
	g := &h2guard{Conn: c, r: bufio.NewReaderSize(c, h2FrameHeader+h2FrameSize), pass: len(h2Preface)}
	g.hpk = hpack.NewDecoder(h2HeaderTable, g.field)
	g.hpk.SetMaxStringLength(fieldBytes)
	return g
}

// field looks at one decoded field.
func (g *h2guard) field(f hpack.HeaderField) {
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		g.bad = true
	case "te":
		g.bad = g.bad || f.Value != "trailers"
	}
}

// Read gives the frames on, guarded.
func (g *h2guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case len(g.out) > 0:
			n := copy(p, g.out)
			g.out = g.out[n:]
			return n, nil
		case g.err != nil:
			return 0, g.err
		case g.raw || g.pass > 0:
			if !g.raw {
				p = p[:min(len(p), g.pass)]
			}
			n, err := g.r.Read(p)
			g.pass = max(0, g.pass-n)
			return n, err //nolint:wrapcheck // a connection's own error
		default:
			g.err = g.frame()
		}
	}
}

// frame reads the head of the next frame, and its payload too if it matters,
// and puts it into out.
func (g *h2guard) frame() error {
	head, err := g.r.Peek(h2FrameHeader)
	if err != nil {
		// The rest of a cut frame: net/http tells a clean end from a torn one.
		g.out = head
		return err //nolint:wrapcheck // a connection's own error
	}
	size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	kind, flags := head[3], head[4]
	inspect := kind == h2Headers || kind == h2Continuation || (kind == h2Settings && flags&h2FlagAck == 0)
	if size > h2FrameSize {
		g.raw = true // net/http refuses the frame by its head
		return nil
	}
	if !inspect {
		g.pass = h2FrameHeader + size
		return nil
	}
	if cap(g.buf) < h2FrameHeader+size {
		g.buf = make([]byte, h2FrameHeader+size, max(512, h2FrameHeader+size))
	}
	g.buf = g.buf[:h2FrameHeader+size]
	n, err := io.ReadFull(g.r, g.buf)
	if err != nil {
		g.out = g.buf[:n]
		return err //nolint:wrapcheck // a connection's own error
	}
	if kind == h2Settings {
		g.out = g.settings(g.buf)
		return nil
	}
	g.out = g.block(g.buf)
	return nil
}

// settings drops every setting that the same frame sets again, unless the frame
// breaks another rule, which net/http then finds.
func (g *h2guard) settings(f []byte) []byte {
	body := f[h2FrameHeader:]
	if len(body)%h2Setting != 0 || len(body)/h2Setting > h2MostSettings {
		return f
	}
	kept := 0
	for i := 0; i < len(body); i += h2Setting {
		if !validSetting(body[i:]) {
			return f
		}
	}
	for i := 0; i < len(body); i += h2Setting {
		if !setAgain(body[i:]) {
			copy(body[kept:], body[i:i+h2Setting])
			kept += h2Setting
		}
	}
	// At most 600 octets: the lowest two bytes of the length are enough.
	binary.BigEndian.PutUint16(f[1:], uint16(kept))
	return f[:h2FrameHeader+kept]
}

// validSetting reports whether the value of the first setting in b is one that
// RFC 9113 section 6.5.2 admits: a wrong value that a right one replaces is
// still an error.
func validSetting(b []byte) bool {
	v := binary.BigEndian.Uint32(b[2:])
	switch binary.BigEndian.Uint16(b) {
	case 2, 8: // ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL
		return v <= 1
	case 4: // INITIAL_WINDOW_SIZE
		return v < 1<<31
	case 5: // MAX_FRAME_SIZE
		return v >= 1<<14 && v < 1<<24
	default:
		return true
	}
}

// setAgain reports whether the first setting in b has a successor in b.
func setAgain(b []byte) bool {
	for i := h2Setting; i < len(b); i += h2Setting {
		if b[i] == b[0] && b[i+1] == b[1] {
			return true
		}
	}
	return false
}

// block decodes the part of a header block that a frame holds. Where the block
// ends and holds a forbidden field, the frame loses its END_HEADERS flag and a
// CONTINUATION frame with the poison follows.
func (g *h2guard) block(f []byte) []byte {
	fragment, err := fragmentOf(f)
	if err == nil {
		_, err = g.hpk.Write(fragment)
	}
	ends := f[4]&h2FlagHeadersOK != 0
	if err == nil && ends {
		err = g.hpk.Close()
	}
	if err != nil {
		g.raw = true // net/http's decoder fails likewise and closes the connection
		return f
	}
	if !ends || !g.bad {
		return f
	}
	g.bad = false
	f[4] &^= h2FlagHeadersOK
	stream := f[5:h2FrameHeader]
	f = append(f, 0, 0, h2poisonSize, h2Continuation, h2FlagHeadersOK)
	f = append(f, stream...)
	f = append(f, h2poison[:]...)
	g.buf = f
	return f
}

// fragmentOf cuts the header block fragment out of a HEADERS or CONTINUATION
// frame.
func fragmentOf(f []byte) ([]byte, error) {
	b := f[h2FrameHeader:]
	if f[3] == h2Continuation {
		return b, nil
	}
	pad := 0
	if f[4]&h2FlagPadded != 0 {
		if len(b) == 0 {
			return nil, errH2Block
		}
		pad, b = int(b[0]), b[1:]
	}
	if f[4]&h2FlagPriority != 0 {
		if len(b) < 5 {
			return nil, errH2Block
		}
		b = b[5:]
	}
	if pad > len(b) {
		return nil, errH2Block
	}
	return b[:len(b)-pad], nil
}
