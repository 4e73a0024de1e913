package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit"
)

// The parts of the limit that an event which is too large may keep: a text that
// stands alone, and all lists and maps together. Nobody gets the object of a request
// cut away by sending many groups.
const (
	partOfText  = 32
	partOfLists = 4
)

// maxSaid is how many bytes an envelope may say: each event in it says them again.
const maxSaid = 2 << 10

// reader is the memory of one Decode.
type reader struct {
	audit.Cursor
	d       *Decoder
	now     time.Time
	cluster string
	limit   int
	wrapped int
	entries []audit.Entry

	// over says that the event is too large; room is how many bytes its lists and maps
	// may still have then.
	over bool
	room int
	from int // where the event begins

	replaced bool    // the text that the event is embedded in was not valid Unicode
	envelope []extra // what the envelope said, for More
	extras   []extra // what the event said besides
	dropped  []string
	cut      bool
	merged   string

	buffer []byte
	words  *audit.Words
}

func newReader() *reader { return &reader{words: audit.NewWords()} }

// extra is a member of More, or of the object in More that is named group.
type extra struct {
	group, name string
	value       []byte // canonical
}

func (r *reader) start() {
	r.Replaced, r.cut, r.merged = false, false, ""
	r.extras, r.dropped = append(r.extras[:0], r.envelope...), r.dropped[:0]
	r.room = r.limit / partOfLists
}

// finish puts what is left to say into the event and normalises it.
func (r *reader) finish(e *audit.Event) error {
	var err error
	if e.More, err = more(r.extras); err != nil {
		return err
	}
	r.note(e, NoteDropped, strings.Join(r.dropped, "; "))
	r.note(e, NoteMerged, r.merged)
	if r.Replaced || r.replaced {
		r.note(e, NoteReplaced, "some text was no valid Unicode")
	}
	if r.cut {
		r.note(e, NoteCut, fmt.Sprintf("the event is larger than %d bytes", r.limit))
	}
	normalise(e)
	return nil
}

func (r *reader) note(e *audit.Event, name, what string) {
	if what == "" {
		return
	}
	if e.Annotations == nil {
		e.Annotations = make(map[string]string, 1)
	}
	e.Annotations[name] = what
}

// more makes one canonical object of what the source said besides.
func more(extras []extra) (json.RawMessage, error) {
	if len(extras) == 0 {
		return nil, nil
	}
	// A group stands where its name belongs.
	first := func(x extra) string {
		if x.group != "" {
			return x.group
		}
		return x.name
	}
	slices.SortStableFunc(extras, func(a, b extra) int {
		if c := strings.Compare(first(a), first(b)); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	out := []byte{'{'}
	for i, x := range extras {
		opens, closes := x.group != "", x.group != ""
		if i > 0 {
			switch before := extras[i-1]; {
			case first(before) != first(x):
				out = append(out, ',')
			case before.group != x.group || before.name == x.name:
				return nil, fmt.Errorf("%.40q stands twice", x.name)
			default:
				out, opens = append(out, ','), false
			}
		}
		if i+1 < len(extras) && first(extras[i+1]) == x.group {
			closes = false
		}
		if opens {
			out = append(appendName(out, x.group), '{')
		}
		out = append(appendName(out, x.name), x.value...)
		if closes {
			out = append(out, '}')
		}
	}
	return append(out, '}'), nil
}

// appendName appends a text that is valid UTF-8 as a member's name.
func appendName(dst []byte, name string) []byte { return append(appendText(dst, name), ':') }

// appendText appends a text as a canonical JSON string.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		if b := text[i]; b < ' ' || b == '"' || b == '\\' || b >= utf8.RuneSelf {
			raw, _ := json.Marshal(text) // a string always can
			canonical, _ := audit.CanonicalJSON(raw)
			return append(dst, canonical...)
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}

// members reads an object. Each of the known members may stand once and goes to read; all
// others stay under More, in a group. path is what an error puts before a name.
func (r *reader) members(path, group string, known []string, read func(key string) error) error {
	var seen names
	return r.Object(func(name []byte) error {
		key := string(name)
		i := slices.Index(known, key)
		if i < 0 {
			return r.besides(group, key)
		}
		if err := seen.take(i); err != nil {
			return fmt.Errorf("%s%s: %w", path, key, err)
		}
		return read(key)
	})
}

// besides reads a value that has no field of its own.
func (r *reader) besides(group, name string) error {
	if r.Null() {
		return nil
	}
	from := r.Offset()
	if r.over {
		r.drop(group, name, errOver.Error())
		return r.Skip()
	}
	if r.grown() {
		return errOver
	}
	value, err := r.AppendValue(nil)
	if err != nil {
		r.Seek(from)
		r.drop(group, name, err.Error())
		return r.Skip()
	}
	if string(value) == "{}" {
		return nil
	}
	r.extras = append(r.extras, extra{group, name, value})
	return nil
}

func (r *reader) drop(group, name, why string) {
	if group != "" {
		name = group + "." + name
	}
	if len(r.dropped) < 8 {
		r.dropped = append(r.dropped, fmt.Sprintf("%.60s: %s", name, why))
	}
}

// body reads a request's or response's body.
func (r *reader) body(name string) (json.RawMessage, error) {
	r.Next()
	from := r.Offset()
	if r.over {
		r.drop("", name, errOver.Error())
		return nil, r.Skip()
	}
	var err error
	if r.buffer, err = r.AppendValue(r.buffer[:0]); err != nil {
		r.Seek(from)
		r.drop("", name, err.Error())
		return nil, r.Skip()
	}
	if string(r.buffer) == "null" {
		return nil, nil
	}
	return bytes.Clone(r.buffer), nil
}

// text reads a string that is likely to come again. A null is an empty one.
func (r *reader) text() (string, error) {
	b, err := r.bytes()
	return r.words.Text(b), err
}

// single reads a string that is not likely to come again.
func (r *reader) single() (string, error) {
	b, err := r.bytes()
	return string(b), err
}

func (r *reader) bytes() ([]byte, error) {
	if r.Null() {
		return nil, nil
	}
	b, err := r.String()
	if r.over && err == nil {
		b = r.fit(b, r.limit/partOfText)
	}
	return b, err
}

// fit cuts a text of an event that is too large, between two characters.
func (r *reader) fit(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	r.cut = true
	for most > 0 && !utf8.RuneStart(b[most]) {
		most--
	}
	return b[:most]
}

// item reads a text that stands in a list or map.
func (r *reader) item() (string, error) {
	b, err := r.bytes()
	return r.charge(b), err
}

// charge takes a text in a list or map, or a map's key, out of the room for them.
func (r *reader) charge(b []byte) string {
	if r.over {
		b = r.fit(b, min(r.room, r.limit/partOfText))
		r.room -= len(b)
	}
	return r.words.Text(b)
}

// takes reports whether a list or map may have one more element.
func (r *reader) takes() bool {
	const each = 32 // what an empty element costs
	if r.over {
		if r.room < each {
			r.cut = true
			return false
		}
		r.room -= each
	}
	return true
}

func (r *reader) texts() ([]string, error) {
	if r.Null() {
		return nil, nil
	}
	var room [8]string
	list := room[:0]
	err := r.Array(func() error {
		if !r.takes() {
			return r.Skip()
		}
		s, err := r.item()
		list = append(list, s)
		return err
	})
	return slices.Clone(list), err
}

// time reads a time, and keeps under More what is none.
func (r *reader) time(name string) (time.Time, error) {
	from := r.Offset()
	b, err := r.bytes()
	if err != nil || len(b) == 0 {
		return time.Time{}, err
	}
	t, err := audit.ParseTime(b)
	if err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05"} { // without a zone: UTC
		if t, err := time.Parse(layout, string(b)); err == nil {
			return micros(t), nil
		}
	}
	r.Seek(from)
	return time.Time{}, r.besides("", name)
}

func (r *reader) code() (int32, error) {
	if r.Null() {
		return 0, nil
	}
	b, err := r.Number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, errors.New("a status code is no 32-bit number")
	}
	return int32(n), nil
}

// names notices a name that stands twice in an object. The zero value has seen none.
type names uint32

var errTwice = errors.New("a name stands twice")

func (n *names) take(i int) error {
	if *n>>i&1 == 1 {
		return errTwice
	}
	*n |= 1 << i
	return nil
}
