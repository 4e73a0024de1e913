package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// fill reads once into rd, of which the consumed part is given up.
func (x *exchange) fill() error {
	if x.r == x.w {
		x.r, x.w = 0, 0
	}
	n, err := x.c.rw.Read(x.rd[x.w:])
	x.w += n
	if n > 0 {
		x.received = true
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) {
		err = errEnded
		if x.received {
			err = errTruncated
		}
	}
	return fault(x.c.e.addr, err)
}

// receive reads heads until the one that is not interim. While the client waits
// for 100 (Continue), it returns after that, with invited set.
func (x *exchange) receive() error {
	for range maxInterim + 1 {
		if err := x.readHead(); err != nil {
			return err
		}
		switch status := x.head.Status; {
		case status == http.StatusSwitchingProtocols:
			if asked := x.upgradeAsked(); asked == "" || x.head.Upgrade != asked {
				return x.bad(errors.New("it switches to a protocol that nobody asked for"))
			}
			return nil
		case status >= 200:
			return nil
		case status == http.StatusContinue && !x.invited:
			return x.invite()
		}
	}
	return x.bad(errors.New("too many interim responses"))
}

func (x *exchange) bad(err error) error {
	return &Error{Kind: BadResponse, Endpoint: x.c.e.addr, Err: err}
}

// readHead reads one head into x.head.
func (x *exchange) readHead() error {
	for next := 0; ; {
		if x.w > x.r {
			end, n, err := message.HeadEnd(x.rd[x.r:x.w], next)
			switch {
			case err != nil:
				return x.bad(err)
			case end > x.g.opt.MaxHeaderBytes, end == 0 && x.w-x.r >= x.g.opt.MaxHeaderBytes:
				return x.bad(fmt.Errorf("its head is larger than %d bytes", x.g.opt.MaxHeaderBytes))
			case end > 0:
				if err := x.head.Parse(x.rd[x.r : x.r+end]); err != nil {
					return x.bad(err)
				}
				x.r += end
				return nil
			}
			next = n
		}
		if x.w == len(x.rd) {
			x.makeRoom()
		}
		if err := x.fill(); err != nil {
			return err
		}
	}
}

// makeRoom moves what is read to the front of rd, or into a larger one.
func (x *exchange) makeRoom() {
	to := x.rd
	if x.r == 0 {
		to = make([]byte, min(2*len(x.rd), x.g.opt.MaxHeaderBytes+bufferSize))
	}
	x.w = copy(to, x.rd[x.r:x.w])
	x.rd, x.r = to, 0
}

// deliver fills resp from the head that was read and starts the body.
func (x *exchange) deliver(resp *message.Response, by time.Time) error {
	h, req := &x.head, x.call.Req
	resp.Status, resp.Header, resp.ContentLength = h.Status, h.Header, h.ContentLength
	h.Header = nil
	x.by, x.idle = by, x.call.BodyTimeout
	if h.Status == http.StatusSwitchingProtocols {
		resp.ContentLength = 0
		resp.Upgraded = x.handOver()
		return nil
	}
	x.keep = !h.Close && x.upgradeAsked() == ""
	switch {
	case req.Method == http.MethodHead, h.Status == http.StatusNotModified:
	case h.Status == http.StatusNoContent:
		resp.ContentLength = 0
	case h.Chunked:
		x.kind = bodyChunked
		if err := x.decode(); err != nil {
			x.abandon()
			return err
		}
		if x.decoder.Done() && len(x.decoder.Trailer()) == 0 {
			// All of it is here already, so its length is known.
			resp.ContentLength = int64(len(x.ready))
		}
	case h.ContentLength < 0:
		x.kind, x.keep = bodyToClose, false
	default:
		x.kind, x.rest = bodyLength, h.ContentLength
	}
	if x.kind == bodyNone || resp.ContentLength == 0 {
		x.kind = bodyNone
		x.done()
		return nil
	}
	if x.idle <= 0 {
		x.c.sock.until(x.by)
	}
	resp.Body = &body{x: x, err: errClosed}
	return nil
}
