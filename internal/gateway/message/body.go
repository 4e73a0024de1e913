package message

import (
	"errors"
	"io"
)

// ErrBodyTooLarge is what reading a request body gives past its limit.
var ErrBodyTooLarge = errors.New("request body is larger than the limit")

// LimitBody bounds Body to limit bytes: reading more gives ErrBodyTooLarge. A
// Body that is known to be larger fails at its first read.
func (r *Request) LimitBody(limit int64) {
	if r.Body != nil && (r.ContentLength < 0 || r.ContentLength > limit) {
		r.Body = &limited{r: r.Body, left: limit}
	}
}

type limited struct {
	r    io.Reader
	left int64
}

// Close ends a Read that waits, where the body can.
func (l *limited) Close() error {
	if c, ok := l.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		l.left = 0
		return 0, ErrBodyTooLarge
	}
	l.left -= int64(n)
	return n, err
}
