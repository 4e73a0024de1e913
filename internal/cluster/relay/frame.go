package relay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The first word of a line.
const (
	verbHello      = "hello"      // JSON of hello; the first line
	verbReset      = "reset"      // what follows is everything
	verbSet        = "set"        // kind id, JSON of the object
	verbDel        = "del"        // kind id, namespace, name
	verbUnreadable = "unreadable" // JSON list: what the controller cannot read
	verbCommit     = "commit"     // JSON of commit
	verbPing       = "ping"
	verbBye        = "bye" // JSON of notice; the last line

	// From the data plane.
	verbApplied = "applied" // JSON of progress
	verbFailed  = "failed"  // JSON of progress
	verbRefuse  = "refuse"  // JSON of notice; the last line
)

// hello opens a stream.
type hello struct {
	Protocol int `json:"protocol"`
	// Version of the program.
	Version string `json:"version"`
	// Kinds are the ids of all kinds that may come, sorted.
	Kinds []string `json:"kinds"`
	// HeartbeatMS is the time between pings, in milliseconds.
	HeartbeatMS int64 `json:"heartbeatMs"`
}

// commit ends a change.
type commit struct {
	// Revision counts the states of one controller process. It grows from one
	// commit of a stream to the next.
	Revision uint64 `json:"revision"`
	// Digest is that of the whole set after the change.
	Digest string `json:"digest"`
}

// progress says what a data plane did with a revision.
type progress struct {
	Revision uint64 `json:"revision"`
	Reason   string `json:"reason,omitempty"`
}

// notice says why an end leaves.
type notice struct {
	Reason string `json:"reason"`
}

// line gives a line of a verb and the JSON of v.
func line(verb string, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		// Only the plain structs above come here.
		text = []byte("{}")
	}
	return fmt.Appendf(nil, "%s %s\n", verb, text)
}

// errFrame is a line that cannot be understood.
var errFrame = errors.New("malformed line")

// parse reads the JSON of a line.
func parse[T any](body []byte) (T, error) {
	var v T
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %w", errFrame, err)
	}
	return v, nil
}

// lineReader reads lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	most int
	long []byte // a line longer than r's buffer
}

func newLineReader(r io.Reader, most int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), most: most}
}

// tap tells of the bytes that are read.
type tap struct {
	r   io.Reader
	got func(n int)
}

func (t tap) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	if n > 0 {
		t.got(n)
	}
	return n, err
}

// next gives the verb and the rest of the next line. The rest is valid until
// the next call. A stream that ends inside a line is io.ErrUnexpectedEOF.
func (l *lineReader) next() (verb string, body []byte, err error) {
	text, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = l.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			l.long = append(l.long, text...)
			if len(l.long) > l.most {
				return "", nil, fmt.Errorf("%w: longer than %d bytes", errFrame, l.most)
			}
			text, err = l.r.ReadSlice('\n')
		}
		l.long = append(l.long, text...)
		text = l.long
	}
	switch {
	case errors.Is(err, io.EOF) && len(text) > 0:
		return "", nil, io.ErrUnexpectedEOF
	case err != nil:
		return "", nil, err
	case len(text) > l.most:
		return "", nil, fmt.Errorf("%w: longer than %d bytes", errFrame, l.most)
	}
	word, rest, _ := bytes.Cut(text[:len(text)-1], []byte{' '})
	return string(word), rest, nil
}

// plain makes text from the peer fit for a log and a message.
func plain(s string) string {
	const most = 512
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func versionKind(apiVersion, kind string) schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(apiVersion, kind)
}
