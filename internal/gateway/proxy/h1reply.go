package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

func (c *h1conn) bytesIn() int64 { return c.body.read }

// reply writes a response in HTTP/1.1: head and what there is of the body in
// one write, the rest as it comes.
func (c *h1conn) reply(req *message.Request, resp *message.Response) (int64, error) {
	now := c.srv.cfg.Now()
	c.writeBy(now, c.srv.cfg.Limits.BodyTimeout)
	if resp.Upgraded != nil {
		return c.tunnel(resp)
	}
	noBody := req.Method == http.MethodHead || resp.Status == http.StatusNoContent || resp.Status == http.StatusNotModified
	chunked := !noBody && resp.ContentLength < 0 && req.Proto >= 11
	c.finishBody(resp, noBody, chunked)
	b := c.appendHead(c.out[:0], resp, noBody, chunked, now)
	if noBody || resp.Body == nil {
		return 0, c.send(b)
	}
	return c.sendBody(b, resp, chunked)
}

// finishBody settles whether the connection can be kept: the request's body
// must have been read, the response's end must be told by its framing, and the
// listener must be there.
func (c *h1conn) finishBody(resp *message.Response, noBody, chunked bool) {
	if !c.body.drained() || c.ended.Load() || c.e.last || !noBody && resp.ContentLength < 0 && !chunked {
		c.keep = false
	}
}

func (c *h1conn) appendHead(b []byte, resp *message.Response, noBody, chunked bool, now time.Time) []byte {
	if resp.Status == http.StatusOK {
		b = append(b, "HTTP/1.1 200 OK\r\n"...)
	} else {
		b = append(b, "HTTP/1.1 "...)
		b = strconv.AppendInt(b, int64(resp.Status), 10)
		b = append(b, ' ')
		b = append(b, http.StatusText(resp.Status)...)
		b = append(b, "\r\n"...)
	}
	dated := false
	for i := range resp.Header {
		f := &resp.Header[i]
		dated = dated || f.Name == "date"
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	if !dated {
		b = append(b, "date: "...)
		b = now.UTC().AppendFormat(b, http.TimeFormat)
		b = append(b, "\r\n"...)
	}
	switch {
	case chunked:
		b = append(b, "transfer-encoding: chunked\r\n"...)
	case resp.ContentLength >= 0 && resp.Status != http.StatusNoContent && (resp.ContentLength > 0 || !noBody):
		b = append(b, "content-length: "...)
		b = strconv.AppendInt(b, resp.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	switch {
	case !c.keep:
		b = append(b, "connection: close\r\n"...)
	case c.e.req.Proto == 10:
		b = append(b, "connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...)
}

// send writes b, and keeps its memory for the next response.
func (c *h1conn) send(b []byte) error {
	c.sentHead = true
	if cap(b) <= 64<<10 {
		c.out = b[:0]
	}
	if _, err := c.c.Write(b); err != nil {
		c.writeFailed = true
		return fmt.Errorf("write response: %w", err)
	}
	return nil
}

// sendBody writes head (with what is already there of the body) and the rest.
func (c *h1conn) sendBody(b []byte, resp *message.Response, chunked bool) (int64, error) {
	ready := resp.Body.Buffered()
	sent := int64(len(ready))
	if chunked {
		if sent > 0 {
			b = message.AppendChunk(b, ready)
		}
	} else {
		b = append(b, ready...)
		if sent == resp.ContentLength {
			return sent, c.send(b)
		}
	}
	// A stream's head must not wait for its first byte; a body that is on its
	// way may.
	if err := c.send(b); err != nil {
		return 0, err
	}
	for {
		n, err := c.copyOnce(resp.Body, chunked)
		sent += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			if chunked {
				return sent, c.send(message.AppendLastChunk(c.out[:0], resp.Body.Trailer()))
			}
			if resp.ContentLength >= 0 && sent != resp.ContentLength {
				// The backend cut its body short: the client must not take it
				// for whole.
				c.keep, c.writeFailed = false, true
				return sent, fmt.Errorf("response body ended after %d of %d bytes", sent, resp.ContentLength)
			}
			return sent, nil
		case err != nil:
			c.keep, c.writeFailed = false, true
			return sent, err
		}
	}
}

const (
	copySize = 32 << 10
	// chunkHead is room for a chunk's size line.
	chunkHead = 10
)

// copyOnce moves one read's worth of body.
func (c *h1conn) copyOnce(body message.Body, chunked bool) (int, error) {
	if cap(c.out) < copySize+chunkHead+2 {
		c.out = make([]byte, 0, copySize+chunkHead+2)
	}
	b := c.out[:copySize+chunkHead+2]
	n, err := body.Read(b[chunkHead : chunkHead+copySize])
	if n == 0 {
		return 0, err
	}
	c.writeBy(c.srv.cfg.Now(), c.srv.cfg.Limits.BodyTimeout)
	from, to := chunkHead, chunkHead+n
	if chunked {
		var size [chunkHead]byte
		line := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
		from -= copy(b[chunkHead-len(line):], line)
		b[to], b[to+1] = '\r', '\n'
		to += 2
	}
	if _, werr := c.c.Write(b[from:to]); werr != nil {
		c.writeFailed = true
		return 0, fmt.Errorf("write response body: %w", werr)
	}
	return n, err
}
