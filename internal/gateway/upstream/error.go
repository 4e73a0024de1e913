package upstream

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Kind tells what went wrong with an exchange, for the answer to the client.
type Kind uint8

// The kinds. The zero Kind is never given.
const (
	// ConnectFailed: no connection, or its TLS could not be trusted. Nothing
	// was sent.
	ConnectFailed Kind = iota + 1
	// Timeout: Deadline, TryTimeout, HeadTimeout or BodyTimeout passed.
	Timeout
	// BadResponse: what the backend sent is not one response, or not certainly.
	BadResponse
	// BackendGone: the connection ended before the response did.
	BackendGone
	// BodyRead: the client's body could not be read. Unwrap gives the cause,
	// for example message.ErrBodyTooLarge.
	BodyRead
	// NoEndpoint: the backend has no ready endpoint.
	NoEndpoint
	// Refused: the backend's settings or the request itself do not permit the
	// exchange. Nothing was sent.
	Refused
	// Canceled: the context ended.
	Canceled
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case ConnectFailed:
		return "connect failed"
	case Timeout:
		return "timeout"
	case BadResponse:
		return "bad response"
	case BackendGone:
		return "backend gone"
	case BodyRead:
		return "body read"
	case NoEndpoint:
		return "no endpoint"
	case Refused:
		return "refused"
	case Canceled:
		return "canceled"
	}
	return "unknown"
}

// Error is why an exchange failed. Its text is for operators.
type Error struct {
	Kind Kind
	// Endpoint is the "ip:port" that was tried, or the backend's name where
	// none was.
	Endpoint string
	Err      error
}

// Error tells what was tried on what.
func (e *Error) Error() string {
	return fmt.Sprintf("backend %s: %v: %v", e.Endpoint, e.Kind, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	errCanceled   = errors.New("the client went away")
	errEnded      = errors.New("connection ended before a response")
	errTruncated  = errors.New("connection ended inside the response")
	errEarlyReply = errors.New("the backend answered before it had the whole request")
	errShortBody  = errors.New("the body is shorter than its Content-Length")
)

// errUnwritable refuses a request that would say something else once written.
func errUnwritable() *Error {
	return &Error{Kind: Refused, Err: errors.New("the request cannot be written without changing its meaning")}
}

// kindOf gives err's Kind, or 0.
func kindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return 0
}

// fault wraps what a connection's Read or Write gave.
func fault(endpoint string, err error) *Error {
	e := &Error{Kind: BackendGone, Endpoint: endpoint, Err: err}
	switch {
	case errors.Is(err, errCanceled), errors.Is(err, context.Canceled):
		e.Kind = Canceled
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		e.Kind = Timeout
	}
	return e
}
