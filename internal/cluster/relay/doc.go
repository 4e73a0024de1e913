// Package relay carries a Snapshot from the controller to its data planes. A
// data plane holds no credential of the API server: it is told, over mutual
// TLS, of exactly the objects that it needs, and of every change to them.
//
// The stream is lines of text, described in docs/relay.md: a full state first,
// changes after it, and a commit behind each that names the digest of the whole
// set. A receiver acts on commits only, so that it never sees half a change,
// and starts over when its own digest is another. Both ends refuse a peer that
// speaks another protocol, relays other kinds or sends fields unknown to the
// other: a data plane that ignored a field could ignore a restriction.
package relay

import (
	"errors"
	"time"
)

// Protocol is the version of the stream. Both ends must have the same: they are
// one program, installed together.
const Protocol = 1

// Path is where the stream is served.
const Path = "/relay/watch"

// Limits of a stream. An API server stores objects of 1.5 MiB or so, which are at
// most six times as long where every character is escaped.
const (
	// MaxFrame is the longest line, in bytes.
	MaxFrame = 16 << 20
	// MaxObjects is how many objects a receiver holds.
	MaxObjects = 1 << 20
	// MaxBytes is the size of all objects of a receiver, as JSON.
	MaxBytes = 1 << 30
)

// What is used where a configuration leaves a time or number at zero.
const (
	// DefaultHeartbeat is how often either end says that it is alive. A peer
	// that is silent for three of them is given up.
	DefaultHeartbeat = 5 * time.Second
	// DefaultWriteTimeout is how long a peer may take to accept 64 KiB.
	DefaultWriteTimeout = 30 * time.Second
	// DefaultMaxAge is how long a connection lives, so that certificates are
	// looked at again and data planes spread over new replicas. Reconnecting
	// costs nothing: who has the current state is sent nothing.
	DefaultMaxAge = time.Hour
	// DefaultMaxClients is how many data planes one controller feeds.
	DefaultMaxClients = 1000
	// DefaultMinBackoff and DefaultMaxBackoff bound the wait between two
	// attempts to connect.
	DefaultMinBackoff = 200 * time.Millisecond
	DefaultMaxBackoff = 10 * time.Second
	// DefaultConnectTimeout is for dialling, the handshake and the first line.
	DefaultConnectTimeout = 10 * time.Second
)

// A heartbeat outside these bounds is a mistake, not a wish.
const (
	minHeartbeat = time.Millisecond
	maxHeartbeat = 5 * time.Minute
	// silence is how many heartbeats may go missing.
	silence = 3
)

var (
	errClosing = errors.New("the controller is stopping")
	errTooOld  = errors.New("the connection has reached its age; connect again")
	errExpired = errors.New("the peer's certificate has expired")
	errSilent  = errors.New("the peer is silent")
)
