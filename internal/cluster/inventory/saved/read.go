package saved

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

const (
	// MaxObject is how many bytes a line of a file, and so an object, may have: more
	// than package fetch takes. Write writes none that is longer.
	MaxObject = 20 << 20
	// MaxFile is how many bytes a file may have, unpacked.
	MaxFile = 8 << 30
	// MaxObjects is how many objects a file may have: small ones take more memory
	// than their text.
	MaxObjects = 4_000_000
	// A file that is packed may have so many bytes, and so many for each packed one.
	// Objects that are all alike become a hundredth, a file that is made to fill
	// the memory a thousandth.
	unpackedFree  = 32 << 20
	unpackedRatio = 150
)

// Is reports whether a file that begins so is for Read: one that Write wrote, or
// a list as kubectl prints it, or something that is packed with gzip. A kilobyte
// of prefix is enough.
func Is(prefix []byte) bool {
	if gzipped(prefix) {
		return true
	}
	text := bytes.TrimLeft(prefix, "\xef\xbb\xbf \t\r\n")
	if ours(text) {
		return true
	}
	// kubectl writes the fields by name: apiVersion and then items.
	rest, ok := bytes.CutPrefix(text, []byte("{"))
	if !ok {
		return false
	}
	for _, word := range []string{`"apiVersion"`, `:`, `"v1"`, `,`, `"items"`, `:`, `[`} {
		if rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(word)); !ok {
			return false
		}
	}
	return true
}

func gzipped(prefix []byte) bool { return bytes.HasPrefix(prefix, []byte{0x1f, 0x8b}) }
func ours(text []byte) bool      { return bytes.HasPrefix(text, []byte(`{"bulwark":`)) }

// Read reads a Snapshot from what Write wrote, or a list as "kubectl get -A -o
// json" prints it, both packed with gzip or not. Of such a list it is not known
// whether a kind without objects was asked for at all, so Snapshot.Unread says
// that it may be missing. A list that no server made is ErrManifests.
func Read(r io.Reader) (*inventory.Snapshot, error) {
	const buffer = 64 << 10
	packed := &counter{r: r}
	in := bufio.NewReaderSize(packed, buffer)
	limited := &limit{r: in, left: MaxFile, value: MaxFile}
	if prefix, _ := in.Peek(2); gzipped(prefix) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpack a snapshot: %w", err)
		}
		limited.r, limited.packed = unpacked, packed
	}
	in = bufio.NewReaderSize(limited, buffer)
	if mark, _ := in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = in.Discard(len(mark))
	}
	start, err := in.Peek(len(`{"bulwark":`))
	switch {
	case len(start) == 0 && (err == nil || errors.Is(err, io.EOF)):
		return nil, errors.New("read a snapshot: the file is empty")
	case len(start) == 0:
		return nil, fmt.Errorf("read a snapshot: %w", explain(err))
	case ours(start):
		return readOwn(in)
	default:
		return readList(in, limited)
	}
}

// ErrManifests is the error for a list whose objects no server stored, as none has
// a UID: somebody wrote it, and package manifest knows its lines.
var ErrManifests = errors.New("a list of manifests, not of a cluster's objects")

var (
	errTooLarge = fmt.Errorf("the file has more than %d bytes, the limit", int64(MaxFile))
	errBomb     = fmt.Errorf("the file is packed as no snapshot is: it has more than %d bytes and more than %d for each packed one", unpackedFree, unpackedRatio)
	errTooMany  = fmt.Errorf("the file has more than %d objects, the limit", MaxObjects)
	errLong     = fmt.Errorf("an object or another value has more than %d bytes, the limit", MaxObject)
)

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err //nolint:wrapcheck // a reader gives what it got
}

// limit fails where io.LimitReader would end.
type limit struct {
	r    io.Reader
	left int64
	// value is what is left for the value that is being read.
	value int64
	// packed is what r unpacks, nil for nothing.
	packed *counter
	read   int64
}

func (l *limit) Read(p []byte) (int, error) {
	switch {
	case l.left <= 0:
		return 0, errTooLarge
	case l.value <= 0:
		return 0, errLong
	case l.packed != nil && l.read > unpackedFree && l.read/unpackedRatio > l.packed.n:
		return 0, errBomb
	}
	p = p[:min(int64(len(p)), l.left, l.value)]
	n, err := 0, error(nil)
	// All of p, in which gzip puts little at a time: a JSON decoder looks at all the
	// space that it has again whenever it gets more.
	for n < len(p) && err == nil {
		var some int
		some, err = l.r.Read(p[n:])
		n += some
	}
	l.left, l.value, l.read = l.left-int64(n), l.value-int64(n), l.read+int64(n)
	return n, err //nolint:wrapcheck // a reader gives what it got
}

// explain says of an end that came early what it means.
func explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the file is cut short: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// lines cuts lines off and keeps their text in blocks, of which each is larger than
// the one before: one for each object would cost more memory.
type lines struct {
	in    *bufio.Reader
	block []byte
	size  int // of the last block
	n     int
}

// next gives a line without its end. The text stays.
func (l *lines) next() ([]byte, error) {
	const first, most = 64 << 10, 4 << 20
	start := len(l.block)
	for {
		part, err := l.in.ReadSlice('\n')
		if len(l.block)+len(part) > cap(l.block) {
			old := l.block[start:]
			l.size = max(first, min(2*l.size, most))
			l.block = make([]byte, 0, max(l.size, 2*(len(old)+len(part))))
			l.block = append(l.block, old...)
			start = 0
		}
		l.block = append(l.block, part...)
		line := l.block[start:len(l.block):len(l.block)]
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) <= MaxObject:
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("line %d has more than %d bytes, the limit", l.n+1, MaxObject)
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", l.n+1, explain(err))
		default:
			l.n++
			return line, nil
		}
	}
}

func readOwn(in *bufio.Reader) (*inventory.Snapshot, error) {
	l := &lines{in: in}
	line, err := l.next()
	if err != nil {
		return nil, fmt.Errorf("read a snapshot: %w", err)
	}
	var head header
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("read the header of a snapshot: %w", err)
	}
	if head.Bulwark != format || head.Version != version {
		return nil, fmt.Errorf("read a snapshot: the file is a %q of version %d, this program reads %q of version %d", head.Bulwark, head.Version, format, version)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, _ = sum.Write(line) // a hash takes all
	const most = 1 << 20   // a header may lie
	objects := make([]*inventory.Object, 0, max(0, min(head.Objects, most)))
	for {
		line, err := l.next()
		if err != nil {
			return nil, fmt.Errorf("read a snapshot: %w", err)
		}
		if bytes.HasPrefix(line, []byte(`{"end":`)) {
			if err := end(l, line, len(objects), head.Objects, sum.Sum32()); err != nil {
				return nil, fmt.Errorf("read a snapshot: %w", err)
			}
			return inventory.NewSnapshot(objects, head.Facts, head.Unreadable, head.Problems), nil
		}
		_, _ = sum.Write(line)
		if len(objects) == MaxObjects {
			return nil, fmt.Errorf("read a snapshot: %w", errTooMany)
		}
		o, err := inventory.New(bytes.TrimSuffix(line, []byte("\n")), nil)
		if err != nil {
			return nil, fmt.Errorf("read a snapshot: line %d is damaged: %w", l.n, err)
		}
		objects = append(objects, o)
	}
}

// end holds what was read to what the file says that it has.
func end(l *lines, line []byte, objects, announced int, sum uint32) error {
	var t trailer
	if err := json.Unmarshal(line, &t); err != nil {
		return fmt.Errorf("line %d is damaged: %w", l.n, err)
	}
	switch {
	case t.End == nil || t.End.Objects != objects || announced != objects:
		return fmt.Errorf("the file is damaged: it has %d objects and should have %d", objects, announced)
	case t.End.CRC32C != fmt.Sprintf("%08x", sum):
		return errors.New("the file is damaged: its checksum is another")
	}
	// Reading to the end also makes gzip look at its checksum.
	switch _, err := l.in.ReadByte(); {
	case err == nil:
		return fmt.Errorf("the file is damaged: text after its end, on line %d", l.n+1)
	case !errors.Is(err, io.EOF):
		return explain(err)
	}
	return nil
}

// readList reads a list as kubectl prints it, item by item.
func readList(in *bufio.Reader, limited *limit) (*inventory.Snapshot, error) {
	dec := json.NewDecoder(in)
	limited.value = MaxObject
	var objects []*inventory.Object
	var problems []inventory.Problem
	fail := func(err error) (*inventory.Snapshot, error) {
		return nil, fmt.Errorf("read a list of objects at byte %d: %w", dec.InputOffset(), explain(err))
	}
	if tok, err := dec.Token(); err != nil {
		return fail(err)
	} else if tok != json.Delim('{') {
		return fail(errors.New("expected an object"))
	}
	var kind, apiVersion string
	found := false
	for dec.More() {
		limited.value = MaxObject
		key, err := dec.Token()
		if err != nil {
			return fail(err)
		}
		switch key {
		case "items":
			found = true
			if objects, problems, err = readItems(dec, limited, apiVersion, kind, objects, problems); err != nil {
				return fail(err)
			}
		case "metadata":
			err = whole(dec)
		case "kind":
			err = dec.Decode(&kind)
		case "apiVersion":
			err = dec.Decode(&apiVersion)
		default:
			err = dec.Decode(&json.RawMessage{})
		}
		if err != nil {
			return fail(err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return fail(err)
	}
	if !found || !strings.HasSuffix(kind, "List") {
		return fail(fmt.Errorf("the file is no saved snapshot and no list of objects"))
	}
	limited.value = MaxObject
	// Of two lists in one file the second must not be passed over.
	if _, err := dec.Token(); err == nil {
		return fail(errors.New("text after the end of the list"))
	} else if !errors.Is(err, io.EOF) {
		return fail(err)
	}
	if !slices.ContainsFunc(objects, func(o *inventory.Object) bool { return o.UID != "" }) {
		return nil, ErrManifests
	}
	return inventory.NewSnapshot(objects, inventory.Facts{Live: true, Partial: true}, nil, problems), nil
}

// whole refuses a list that is one page of several: what is on the others would
// count as not there.
func whole(dec *json.Decoder) error {
	var m struct {
		Continue string `json:"continue"`
	}
	if err := dec.Decode(&m); err != nil {
		return err //nolint:wrapcheck // the caller says where
	}
	if m.Continue != "" {
		return errors.New("the list is one page of several, as metadata.continue says; ask for all of it")
	}
	return nil
}

func readItems(dec *json.Decoder, limited *limit, apiVersion, kind string, objects []*inventory.Object, problems []inventory.Problem) ([]*inventory.Object, []inventory.Problem, error) {
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, nil, errors.Join(errors.New("items is no list"), err)
	}
	for dec.More() {
		if limited.value = MaxObject; len(objects) == MaxObjects {
			return nil, nil, errTooMany
		}
		var item json.RawMessage
		if err := dec.Decode(&item); err != nil {
			return nil, nil, err //nolint:wrapcheck // the caller says where
		}
		// Nearly half of what kubectl prints is the space before it.
		var text bytes.Buffer
		// The items of a list of one kind do not say theirs.
		if kind, ok := strings.CutSuffix(kind, "List"); ok && kind != "" && !bytes.Contains(item, []byte(`"apiVersion"`)) {
			item = inventory.WithKind(item, apiVersion, kind)
		}
		if err := json.Compact(&text, item); err != nil {
			return nil, nil, err //nolint:wrapcheck // as above
		}
		o, err := inventory.New(bytes.Clone(text.Bytes()), nil)
		if err != nil {
			problems = append(problems, inventory.Problem{What: fmt.Sprintf("item %d: %v", len(objects)+len(problems)+1, err)})
			continue
		}
		objects = append(objects, o)
	}
	_, err := dec.Token()
	return objects, problems, err //nolint:wrapcheck // as above
}
