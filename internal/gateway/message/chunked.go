package message

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// The limits of the chunked coding. They bound what framing may cost beside the
// body itself.
const (
	// MaxTrailerBytes is the largest trailer section, its empty line included.
	MaxTrailerBytes = 8 << 10
	// maxChunkDigits keeps a chunk's size below 2^60.
	maxChunkDigits = 15
	// maxChunkExt is the longest extension of one chunk, maxChunkExts of all
	// chunks of a body together.
	maxChunkExt  = 256
	maxChunkExts = 16 << 10
)

// ErrChunked is what is wrong with a chunked body, whatever it is: the rest of
// the connection cannot be understood.
var ErrChunked = errors.New("malformed chunked body")

func badChunk(what string) error { return &chunkError{what} }

type chunkError struct{ what string }

func (e *chunkError) Error() string { return ErrChunked.Error() + ": " + e.what }
func (e *chunkError) Unwrap() error { return ErrChunked }

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
)

// Chunked decodes the chunked coding (RFC 9112 7.1) from whatever buffer the
// bytes are in, without copying them. It admits one form only: hexadecimal
// sizes, CRLF line ends, no blanks around a size. Extensions are bounded and
// ignored. The zero Chunked is ready; after an error it gives that error again.
type Chunked struct {
	state   chunkState
	digits  uint8
	ext     int // of this chunk
	exts    int // of all chunks
	left    int64
	section []byte // trailer section so far
	scanned int    // where HeadEnd goes on in it
	trailer Header
	err     error
}

// Reset makes c ready for another body.
func (c *Chunked) Reset() { *c = Chunked{section: c.section[:0]} }

// Next takes bytes from the front of src and gives the next run of body bytes,
// which is a part of src, with the number of bytes it used of src. No data and
// no error means that all of src is used and more is needed. At the end of the
// body, the trailer section included, it gives io.EOF.
func (c *Chunked) Next(src []byte) (data []byte, used int, err error) {
	if c.err != nil {
		return nil, 0, c.err
	}
	for used < len(src) {
		switch c.state {
		case chunkData:
			n := len(src) - used
			if int64(n) > c.left {
				n = int(c.left)
			}
			data = src[used : used+n]
			c.Skip(int64(n))
			return data, used + n, nil
		case chunkTrailer:
			n, err := c.readTrailer(src[used:])
			used += n
			if err != nil {
				c.err = err
				return nil, used, err
			}
		case chunkSize, chunkExt, chunkSizeLF, chunkDataCR, chunkDataLF, chunkDone:
			if c.err = c.step(src[used]); c.err != nil {
				return nil, used, c.err
			}
			used++
		}
	}
	return nil, used, nil
}

// step takes one byte of the framing.
func (c *Chunked) step(b byte) error {
	switch c.state {
	case chunkSize:
		return c.size(b)
	case chunkExt:
		switch {
		case b == '\r':
			c.state = chunkSizeLF
		case !valueByte(b):
			return badChunk("control character in an extension")
		case c.ext >= maxChunkExt || c.exts >= maxChunkExts:
			return badChunk("extensions too long")
		default:
			c.ext++
			c.exts++
		}
	case chunkSizeLF:
		if b != '\n' {
			return badChunk("size line ends without LF")
		}
		c.state = chunkData
		if c.left == 0 {
			c.state = chunkTrailer
		}
		c.digits, c.ext = 0, 0
	case chunkDataCR:
		if b != '\r' {
			return badChunk("data ends without CR")
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return badChunk("data ends without LF")
		}
		c.state = chunkSize
	case chunkData, chunkTrailer, chunkDone:
	}
	return nil
}

func (c *Chunked) size(b byte) error {
	var v byte
	switch {
	case b >= '0' && b <= '9':
		v = b - '0'
	case b >= 'a' && b <= 'f':
		v = b - 'a' + 10
	case b >= 'A' && b <= 'F':
		v = b - 'A' + 10
	case c.digits == 0:
		return badChunk("size is not hexadecimal")
	case b == '\r':
		c.state = chunkSizeLF
		return nil
	case b == ';':
		c.state = chunkExt
		return nil
	default:
		return badChunk("size is not hexadecimal")
	}
	if c.digits++; c.digits > maxChunkDigits {
		return badChunk("size too long")
	}
	c.left = c.left<<4 | int64(v)
	return nil
}

// readTrailer takes bytes up to the empty line that ends the message.
func (c *Chunked) readTrailer(src []byte) (used int, err error) {
	for used < len(src) {
		line := bytes.IndexByte(src[used:], '\n')
		n := len(src) - used
		if line >= 0 {
			n = line + 1
		}
		if len(c.section)+n > MaxTrailerBytes {
			return used, badChunk("trailer section too long")
		}
		c.section = append(c.section, src[used:used+n]...)
		used += n
		end, next, err := HeadEnd(c.section, c.scanned)
		if err != nil {
			return used, badChunk("trailer line ends without CR")
		}
		c.scanned = next
		if end == 0 {
			continue
		}
		c.state = chunkDone
		if err := c.parseTrailer(); err != nil {
			return used, err
		}
		return used, io.EOF
	}
	return used, nil
}

func (c *Chunked) parseTrailer() error {
	if len(c.section) == 2 {
		return nil
	}
	if err := lowerNames(c.section); err != nil {
		return badChunk("malformed trailer field")
	}
	for rest := string(c.section); len(rest) > 2; {
		i := strings.IndexByte(rest, '\n')
		line := rest[:i-1]
		rest = rest[i+1:]
		name, value, _ := strings.Cut(line, ":")
		if TrailerAllowed(name) {
			c.trailer.Add(name, trimBlank(value))
		}
	}
	return nil
}

// Remaining is how many bytes of the present chunk are still to come; 0 where
// framing comes next. A caller whose buffer is empty may read up to that many
// straight to where they go, and must then call Skip.
func (c *Chunked) Remaining() int64 {
	if c.state != chunkData {
		return 0
	}
	return c.left
}

// Skip tells that n bytes, at most Remaining, were taken past Next.
func (c *Chunked) Skip(n int64) {
	if c.left -= n; c.left == 0 {
		c.state = chunkDataCR
	}
}

// Done reports whether the body has been read to its end.
func (c *Chunked) Done() bool { return c.state == chunkDone && errors.Is(c.err, io.EOF) }

// Trailer gives the trailer fields after Next gave io.EOF: those that
// TrailerAllowed admits. The others are dropped.
func (c *Chunked) Trailer() Header { return c.trailer }

// AppendChunk appends data as one chunk. Without data it appends nothing: an
// empty chunk would end the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = strconv.AppendInt(dst, int64(len(data)), 16)
	dst = append(dst, "\r\n"...)
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body with those trailer fields
// that TrailerAllowed admits and that cannot break the framing.
func AppendLastChunk(dst []byte, trailer Header) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range trailer {
		f := &trailer[i]
		if TrailerAllowed(f.Name) && ValidName(f.Name) && ValidValue(f.Value) {
			dst = append(dst, f.Name...)
			dst = append(dst, ": "...)
			dst = append(dst, f.Value...)
			dst = append(dst, "\r\n"...)
		}
	}
	return append(dst, "\r\n"...)
}
