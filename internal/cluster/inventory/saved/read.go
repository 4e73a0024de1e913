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
	// MaxObject is how many bytes one object may have; etcd takes a tenth.
	MaxObject = 16 << 20
	// MaxFile is how many bytes a file may have, unpacked.
	MaxFile = 8 << 30
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
	const buffer = 1 << 20
	in := bufio.NewReaderSize(r, buffer)
	if prefix, _ := in.Peek(2); gzipped(prefix) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpack a snapshot: %w", err)
		}
		in = bufio.NewReaderSize(unpacked, buffer)
	}
	limited := &limit{r: in, left: MaxFile}
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
		return readList(in)
	}
}

// ErrManifests is the error for a list whose objects no server stored, as none has
// a UID: somebody wrote it, and package manifest knows its lines.
var ErrManifests = errors.New("a list of manifests, not of a cluster's objects")

var errTooLarge = fmt.Errorf("the file has more than %d bytes, the limit", int64(MaxFile))

// limit fails where io.LimitReader would end.
type limit struct {
	r    io.Reader
	left int64
}

func (l *limit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err //nolint:wrapcheck // a reader gives what it got
}

// explain says of an end that came early what it means.
func explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the file is cut short: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// lines cuts lines off and keeps their text in large blocks: one for each object
// would cost more memory.
type lines struct {
	in    *bufio.Reader
	block []byte
	n     int
}

// next gives a line without its end. The text stays.
func (l *lines) next() ([]byte, error) {
	const size = 4 << 20
	start := len(l.block)
	for {
		part, err := l.in.ReadSlice('\n')
		if len(l.block)+len(part) > cap(l.block) {
			old := l.block[start:]
			l.block = make([]byte, 0, max(size, 2*(len(old)+len(part))))
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
	const most = 1 << 20 // a header may lie
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
func readList(in *bufio.Reader) (*inventory.Snapshot, error) {
	dec := json.NewDecoder(in)
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
		key, err := dec.Token()
		if err != nil {
			return fail(err)
		}
		switch key {
		case "items":
			found = true
			if objects, problems, err = readItems(dec, apiVersion, kind, objects, problems); err != nil {
				return fail(err)
			}
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
	if !slices.ContainsFunc(objects, func(o *inventory.Object) bool { return o.UID != "" }) {
		return nil, ErrManifests
	}
	return inventory.NewSnapshot(objects, inventory.Facts{Live: true, Partial: true}, nil, problems), nil
}

func readItems(dec *json.Decoder, apiVersion, kind string, objects []*inventory.Object, problems []inventory.Problem) ([]*inventory.Object, []inventory.Problem, error) {
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, nil, errors.Join(errors.New("items is no list"), err)
	}
	for dec.More() {
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
