package proxy

import (
	"errors"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// tunnel sends 101 (Switching Protocols) and then moves bytes both ways until
// both sides have ended, one fails, or nothing moves for Limits.TunnelIdle. The connection is
// never used for HTTP again.
func (c *h1conn) tunnel(resp *message.Response) (int64, error) {
	c.keep = false
	backend := resp.Upgraded
	resp.Upgraded = nil
	defer func() { _ = backend.Close() }()
	b := append(c.out[:0], "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: "...)
	b = append(b, c.e.req.Upgrade...)
	b = append(b, "\r\n"...)
	for _, f := range resp.Header {
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	if err := c.send(append(b, "\r\n"...)); err != nil {
		return 0, err
	}
	c.writeFailed = true // whatever follows, there is no lingering
	first := c.buf[c.r:c.w]
	c.r, c.w = 0, 0
	client, ok := c.c.(message.Duplex)
	if !ok {
		return 0, errors.New("tunnel: the connection cannot end one of its directions")
	}
	moved, err := c.srv.relay(client, backend, first, c.srv.cfg.Limits.TunnelIdle)
	c.body.read = moved.in
	return moved.out, err
}
