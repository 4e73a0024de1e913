package proxy

import (
	"net/http"
	"strconv"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// problem is the answer to a refused request: a problem document (RFC 9457)
// with the status, the code and the request id, and nothing of the inside.
func problem(status int, code bulwark.Code, requestID string, into *message.Response) []byte {
	if status < 400 || status > 599 {
		status = http.StatusForbidden
	}
	into.Status = status
	b := make([]byte, 0, 192)
	b = append(b, `{"type":"about:blank","title":"`...)
	b = append(b, http.StatusText(status)...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"code":"`...)
	b = append(b, code...)
	b = append(b, `","requestId":"`...)
	b = append(b, requestID...)
	b = append(b, "\"}\n"...)
	into.Header = append(into.Header[:0],
		message.Field{Name: "content-type", Value: "application/problem+json"},
		message.Field{Name: "cache-control", Value: "no-store"},
		message.Field{Name: "x-content-type-options", Value: "nosniff"},
		message.Field{Name: "x-request-id", Value: requestID})
	into.ContentLength = int64(len(b))
	return b
}

// bytesBody is a body that is all there.
type bytesBody struct{ b []byte }

func (b *bytesBody) Read(p []byte) (int, error) {
	if len(b.b) == 0 {
		return 0, errEOF
	}
	n := copy(p, b.b)
	b.b = b.b[n:]
	return n, nil
}

func (b *bytesBody) Buffered() []byte {
	out := b.b
	b.b = nil
	return out
}

func (*bytesBody) Trailer() message.Header { return nil }
func (*bytesBody) Close() error            { return nil }
