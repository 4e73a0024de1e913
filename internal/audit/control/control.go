// Package control lets commands ask the process that writes a trail to do something to
// it: only that process may, because it holds the log's lock.
//
// The server listens on a unix socket in the trail's folder that only the user who runs
// it, and root, can open. A request is a verb and a JSON document; the answer is a JSON
// document or an error. The socket is a door for the machine's operator and not an API:
// both ends are of one version of this program.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
)

// SocketName is the socket's name in the trail's folder.
const SocketName = "control.sock"

// Limits of a request and its answer.
const (
	maxRequest = 1 << 20
	maxAnswer  = 64 << 20
	// maxPath is how long a socket's path may be, with the zero at its end, on the system that
	// allows the least.
	maxPath = 104
	// maxRunning is how many requests run at once.
	maxRunning = 8
)

// Errors that callers tell apart.
var (
	// ErrNoServer says that nobody listens: the caller may open the log itself.
	ErrNoServer = errors.New("no server writes this trail")
	// ErrPathTooLong says that the trail's folder has a name that no socket can have.
	ErrPathTooLong = errors.New("the path is too long for a unix socket")
)

// Func answers one verb. Its context ends when the client goes away and when the server
// stops. An error that Refuse made is the client's fault, any other is the server's.
type Func func(ctx context.Context, request json.RawMessage) (any, error)

// Error is what the server answered instead of a result.
type Error struct {
	Verb string
	// Text is the error as the server tells it.
	Text string
	// Refused says that the request was wrong, so that the same one fails again.
	Refused bool
}

// Error is the server's text.
func (e *Error) Error() string { return e.Text }

// refused marks an error of the request.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// Refuse marks err as one of the request; nil stays nil.
func Refuse(err error) error {
	if err == nil {
		return nil
	}
	return refused{err}
}

// Refused reports whether err is one of the request, on either side of the socket.
func Refused(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Refused
	}
	_, ok := errors.AsType[refused](err)
	return ok
}

// Decode reads a request strictly: a field that is not known is an error, which is
// marked as the client's. An empty request leaves into as it is.
func Decode(request json.RawMessage, into any) error {
	if len(bytes.TrimSpace(request)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(request))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return Refuse(fmt.Errorf("read the request: %w", err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Refuse(errors.New("read the request: something follows it"))
	}
	return nil
}

// verbPattern is what a verb looks like: it becomes part of a URL.
var verbPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`) //nolint:gochecknoglobals // read only

// answer is the document that goes back.
type answer struct {
	Result  json.RawMessage `json:"result,omitempty"`
	Error   string          `json:"error,omitempty"`
	Refused bool            `json:"refused,omitempty"`
}

// socketPath is where the socket of the trail in dir stands.
func socketPath(dir string) (string, error) {
	path := filepath.Join(dir, SocketName)
	if err := fits(path); err != nil {
		return "", err
	}
	return path, nil
}

func fits(path string) error {
	if len(path) < maxPath {
		return nil
	}
	return fmt.Errorf("%w: %s has %d bytes, at most %d are allowed; change into a folder near it and name the trail "+
		"by a relative path, or by a symbolic link with a short path", ErrPathTooLong, path, len(path), maxPath-1)
}
