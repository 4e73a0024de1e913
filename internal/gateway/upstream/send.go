package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// chunkRoom is what framing adds to a chunk of up to 64 KiB, with the last
// chunk behind it: four digits and two line ends, then "0" and two more.
const chunkRoom = 16

// minTake is the least room for a chunk that is worth reading one.
const minTake = 512

// prepare writes the request's head into wr and, where it is small, its body.
func (x *exchange) prepare() error {
	if x.out == nil {
		x.out = x.g.buffers.Get().(*buffer) // the pool holds nothing else
	}
	req := x.call.Req
	x.ended, x.spilled, x.chunked, x.left = req.Body == nil, false, false, 0
	x.invited = !req.Expect || x.ended
	if err := x.appendHead(); err != nil {
		return err
	}
	if x.ended || !x.invited {
		return nil
	}
	keep := retryable(x.call.Retry, req)
	room, whole := max(bufferSize-len(x.wr), bufferSize/4), keep || !x.chunked
	if keep {
		room = replaySize
	}
	if !x.chunked && x.left > int64(room) {
		room, whole = bufferSize, false
	}
	for start := len(x.wr); !x.ended; {
		left := room - (len(x.wr) - start)
		if x.chunked && left < minTake {
			break
		}
		if err := x.take(left); err != nil {
			return err
		}
		if !whole {
			break
		}
	}
	return nil
}

// buffer is memory for a request on its way out.
type buffer struct{ b []byte }

func (x *exchange) appendHead() error {
	c, req := x.call, x.call.Req
	b := append(x.out.b[:0], req.Method...)
	b = append(b, ' ')
	b = append(b, c.Target...)
	b = append(b, " HTTP/1.1\r\nhost: "...)
	b = append(b, c.Authority...)
	b = append(b, "\r\n"...)
	lines := 3
	for i := range c.Header {
		f := &c.Header[i]
		if !forwarded(f.Name) {
			continue
		}
		b = appendField(b, f.Name, f.Value)
		lines++
	}
	switch {
	case req.Body == nil:
		if req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
			b = append(b, "content-length: 0\r\n"...)
			lines++
		}
	case req.ContentLength >= 0:
		x.left = req.ContentLength
		x.ended = x.left == 0
		b = append(b, "content-length: "...)
		b = strconv.AppendInt(b, x.left, 10)
		b = append(b, "\r\n"...)
		lines++
	default:
		x.chunked = true
		b = append(b, "transfer-encoding: chunked\r\n"...)
		lines++
		if len(req.TrailerNames) > 0 {
			b = appendField(b, "trailer", strings.Join(req.TrailerNames, ", "))
			lines++
		}
	}
	if !x.invited {
		b = append(b, "expect: 100-continue\r\n"...)
		lines++
	}
	if up := x.upgradeAsked(); up != "" {
		b = append(b, "connection: upgrade\r\n"...)
		b = appendField(b, "upgrade", up)
		lines += 2
	} else if req.Trailers {
		b = append(b, "connection: te\r\nte: trailers\r\n"...)
		lines += 2
	}
	b = append(b, "\r\n"...)
	x.wr, x.out.b = b, b
	// Whoever made the fields vouched for them. That no line break came in with
	// any of them is certain only here.
	if bytes.Count(b, []byte("\n")) != lines || bytes.Count(b, []byte("\r")) != lines || bytes.IndexByte(b, 0) >= 0 ||
		!message.ValidToken(req.Method) || !validTarget(c.Target) || c.Authority == "" {
		return errUnwritable()
	}
	return nil
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func validTarget(t string) bool {
	return t != "" && (t[0] == '/' || t == "*") && strings.IndexByte(t, ' ') < 0 && strings.IndexByte(t, '\t') < 0
}

// forwarded reports whether a field of that name goes to the backend as it is:
// not one of one hop, and not one that the exchange writes itself.
func forwarded(name string) bool {
	switch name {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer",
		"upgrade", "expect", "http2-settings", "proxy-authenticate", "proxy-authorization":
		return false
	}
	return name != "" && name[0] != ':'
}

// take reads once from the client and appends what came to wr, in its framing,
// using at most room bytes more.
func (x *exchange) take(room int) error {
	start, data := len(x.wr), len(x.wr)
	if x.chunked {
		room -= chunkRoom
		data += 6 // the longest size line
	}
	if !x.chunked && int64(room) > x.left {
		room = int(x.left)
	}
	x.wr = slices.Grow(x.wr, room+chunkRoom)
	buf := x.wr[data : data+room]
	n, err := readSome(x.call.Req.Body, buf)
	switch {
	case n == 0:
	case x.chunked:
		b := strconv.AppendInt(x.wr[:start], int64(n), 16)
		b = append(b, "\r\n"...)
		b = append(b, buf[:n]...) // moves it down to its size line
		x.wr = append(b, "\r\n"...)
	default:
		x.wr = x.wr[:start+n]
		x.left -= int64(n)
		x.ended = x.left == 0
	}
	x.out.b = x.wr
	switch {
	case x.ended:
		return nil
	case errors.Is(err, io.EOF) && x.chunked:
		x.wr = message.AppendLastChunk(x.wr, x.call.Req.Trailer)
		x.out.b, x.ended = x.wr, true
		return nil
	case errors.Is(err, io.EOF):
		err = errShortBody
	}
	if err != nil {
		return x.bodyFault(err)
	}
	return nil
}

// readSome reads until there is something.
func readSome(r io.Reader, p []byte) (int, error) {
	for range 64 {
		if n, err := r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

func (x *exchange) bodyFault(err error) error {
	e := &Error{Kind: BodyRead, Err: err}
	if x.c != nil {
		e.Endpoint = x.c.e.addr
	}
	return e
}

// send writes the request. answered says that the head of the response has been
// read already, before all of the request was sent.
func (x *exchange) send(by time.Time) (answered bool, err error) {
	if _, err := x.c.rw.Write(x.wr); err != nil {
		return x.cutShort(err)
	}
	if !x.invited {
		if answered, err := x.awaitContinue(); answered || err != nil {
			return answered, err
		}
	}
	if x.ended {
		x.sent = true
		return false, nil
	}
	_, plain := x.c.rw.(*socket)
	if plain {
		x.c.sock.stream(true)
		defer x.c.sock.stream(false)
	}
	for !x.ended {
		mark, room := len(x.wr), bufferSize-len(x.wr)
		if room < minTake {
			mark, room = 0, bufferSize
			x.wr, x.spilled = x.wr[:0], true
		}
		if err := x.take(room); err != nil {
			return false, err
		}
		if x.call.BodyTimeout > 0 || x.call.HeadTimeout > 0 {
			x.c.sock.until(soonest(by, x.g.opt.Now(), x.call.BodyTimeout))
		}
		if early, err := x.answering(plain); early || err != nil {
			return x.cutShort(err)
		}
		if _, err := x.c.rw.Write(x.wr[mark:]); err != nil {
			return x.cutShort(err)
		}
	}
	x.sent = true
	if x.call.BodyTimeout > 0 || x.call.HeadTimeout > 0 {
		x.c.sock.until(soonest(by, x.g.opt.Now(), x.call.HeadTimeout))
	}
	return false, nil
}

// soonest gives the earlier of by and d from now; zero is never.
func soonest(by, now time.Time, d time.Duration) time.Time {
	if d <= 0 {
		return by
	}
	if t := now.Add(d); by.IsZero() || t.Before(by) {
		return t
	}
	return by
}

// answering reports whether the backend speaks although it has not got all of
// the request.
func (x *exchange) answering(plain bool) (bool, error) {
	if x.c.sock.look() == peekQuiet {
		return false, nil
	}
	if plain {
		return true, nil
	}
	// Under TLS what came may be a session ticket: only reading tells.
	s := x.c.sock
	want := s.want
	s.until(x.g.opt.Now().Add(time.Millisecond))
	err := x.fill()
	s.until(want)
	switch {
	case err == nil:
		return true, nil
	case kindOf(err) == Timeout:
		return false, nil
	}
	return false, err
}

// cutShort reads the response that a backend may have sent before it stopped
// taking the request. cause is nil or why the request cannot be sent.
func (x *exchange) cutShort(cause error) (bool, error) {
	if cause != nil {
		if e := fault(x.c.e.addr, cause); e.Kind != BackendGone {
			return false, e
		}
	}
	x.c.sock.stream(false)
	err := x.receive()
	if err != nil && !x.received && cause != nil {
		return false, fault(x.c.e.addr, cause)
	}
	return err == nil, err
}

// awaitContinue holds the body back until the backend asks for it, or long
// enough. answered says that a final response came instead.
func (x *exchange) awaitContinue() (answered bool, err error) {
	s := x.c.sock
	want := s.want
	wait := x.g.opt.Now().Add(expectWait)
	if want.IsZero() || wait.Before(want) {
		s.until(wait)
	}
	err = x.receive()
	s.until(want)
	switch {
	case x.invited && (err == nil || kindOf(err) == Timeout):
		return false, nil
	case err == nil:
		return true, nil
	case kindOf(err) == Timeout && (want.IsZero() || x.g.opt.Now().Before(want)):
		return false, x.invite()
	}
	return false, err
}

// invite tells the client to send its body.
func (x *exchange) invite() error {
	x.invited = true
	if x.call.OnContinue == nil {
		return nil
	}
	if err := x.call.OnContinue(); err != nil {
		return x.bodyFault(err)
	}
	return nil
}
