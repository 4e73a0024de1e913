package segment

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// The keys of what a file says of itself. Notes have notePrefix before theirs.
const (
	keyVersion = "bulwark.segment.version"
	keyFirst   = "bulwark.segment.first"
	keyLast    = "bulwark.segment.last"
	keyCount   = "bulwark.segment.count"
	keyBlocks  = "bulwark.segment.blocks" // base64 of the roots end to end
	keyFrom    = "bulwark.segment.from"   // microseconds since 1970
	keyTo      = "bulwark.segment.to"
	keyKind    = "bulwark.segment.kind." // with the kind after it
	notePrefix = "bulwark.note."
)

// tally counts what Meta says of the rows.
type tally struct {
	blocks blocks
	kinds  map[audit.Kind]int
	from   time.Time
	to     time.Time
}

func newTally() *tally {
	return &tally{blocks: blocks{hasher: newHasher()}, kinds: map[audit.Kind]int{}}
}

func (t *tally) add(e *audit.Event, leaf [32]byte) {
	t.blocks.add(leaf)
	if e == nil {
		return
	}
	t.kinds[e.Kind]++
	at := e.Time()
	if at.IsZero() {
		return
	}
	if t.from.IsZero() || at.Before(t.from) {
		t.from = at
	}
	if t.to.IsZero() || at.After(t.to) {
		t.to = at
	}
}

// finish makes a Meta of what was counted.
func (t *tally) finish(notes map[string]string) Meta {
	t.blocks.flush()
	return Meta{Notes: notes, Blocks: t.blocks.roots, Kinds: t.kinds, From: t.from, To: t.to}
}

// notes gives what the footer says of the rows.
func (m *Meta) notes(first uint64, count int) map[string]string {
	var roots []byte
	for _, root := range m.Blocks {
		roots = append(roots, root[:]...)
	}
	all := map[string]string{
		keyVersion: strconv.Itoa(Version),
		keyFirst:   strconv.FormatUint(first, 10),
		keyLast:    strconv.FormatUint(first+uint64(count)-1, 10), //nolint:gosec // count is at least 1
		keyCount:   strconv.Itoa(count),
		keyBlocks:  base64.StdEncoding.EncodeToString(roots),
	}
	if !m.From.IsZero() {
		all[keyFrom] = strconv.FormatInt(m.From.UnixMicro(), 10)
		all[keyTo] = strconv.FormatInt(m.To.UnixMicro(), 10)
	}
	for kind, n := range m.Kinds {
		all[keyKind+string(kind)] = strconv.Itoa(n)
	}
	for key, value := range m.Notes {
		all[notePrefix+key] = value
	}
	return all
}

// readMeta checks the footer's notes against one another and the number of rows.
func (r *Reader) readMeta(f *footer) error {
	if v := f.notes[keyVersion]; v != strconv.Itoa(Version) {
		return fmt.Errorf("%w: it is of version %q, not %d", ErrFormat, v, Version)
	}
	var err error
	if r.first, err = strconv.ParseUint(f.notes[keyFirst], 10, 63); err != nil || r.first == 0 {
		return broken("its first event is %q", f.notes[keyFirst])
	}
	if r.last, err = strconv.ParseUint(f.notes[keyLast], 10, 63); err != nil || r.last < r.first {
		return broken("its last event is %q", f.notes[keyLast])
	}
	if r.last-r.first != uint64(f.rows)-1 || f.notes[keyCount] != strconv.Itoa(f.rows) { //nolint:gosec // at least 1
		return broken("it says it has events %d to %d, and has %d rows", r.first, r.last, f.rows)
	}
	roots, err := base64.StdEncoding.Strict().DecodeString(f.notes[keyBlocks])
	if err != nil || len(roots) != 32*((f.rows+blockRows-1)/blockRows) {
		return broken("it has %d bytes of block roots for %d rows", len(roots), f.rows)
	}
	m := Meta{Notes: map[string]string{}, Kinds: map[audit.Kind]int{}}
	for block := range slices.Chunk(roots, 32) {
		m.Blocks = append(m.Blocks, [32]byte(block))
	}
	for _, key := range slices.Sorted(maps.Keys(f.notes)) {
		value := f.notes[key]
		if kind, ok := strings.CutPrefix(key, keyKind); ok {
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > f.rows {
				return broken("it says it has %q events of kind %q", value, kind)
			}
			m.Kinds[audit.Kind(kind)] = n
		} else if note, ok := strings.CutPrefix(key, notePrefix); ok {
			m.Notes[note] = value
		} else if !slices.Contains([]string{keyVersion, keyFirst, keyLast, keyCount, keyBlocks, keyFrom, keyTo}, key) {
			return broken("it says %q of itself, which we do not write", key)
		}
	}
	if m.From, err = readInstant(f.notes, keyFrom); err != nil {
		return err
	}
	if m.To, err = readInstant(f.notes, keyTo); err != nil {
		return err
	}
	r.meta = m
	return nil
}

func readInstant(notes map[string]string, key string) (time.Time, error) {
	text, ok := notes[key]
	if !ok {
		return time.Time{}, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v == math.MinInt64 {
		return time.Time{}, broken("%s is %q", key, text)
	}
	return time.UnixMicro(v).UTC(), nil
}
