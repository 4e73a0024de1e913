package segment

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"bulwark.dev/bulwark/internal/audit"
)

// Reader reads one segment. It may be used by many goroutines at once. It unpacks a
// column when it is first asked for and keeps it, up to maxHeld bytes in all. Nothing
// needs to be closed but the file that it was given.
type Reader struct {
	file        io.ReaderAt
	zstd        *zstd.Decoder
	meta        Meta
	first, last uint64
	rows        int
	starts      []int // the first row of each row group

	mu     sync.Mutex
	groups []*rowGroup
	held   int64 // bytes unpacked in groups, more or less
	most   int64 // of held: maxHeld
}

// rowGroup is a run of rows with columns of its own.
type rowGroup struct {
	first   int // the place of its first row in the segment
	rows    int
	columns [columnCount]column

	mu          sync.Mutex
	annotations map[[3]uint32]map[string]string
}

// Open reads what a file of size bytes says of itself. It does not read the rows.
func Open(file io.ReaderAt, size int64) (*Reader, error) {
	f, err := readFooter(file, size)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(maxPage), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("make a decompressor for a segment: %w", err)
	}
	r := &Reader{file: file, zstd: z, rows: f.rows, most: maxHeld}
	if err := r.readMeta(f); err != nil {
		return nil, err
	}
	specs := columnSpecs()
	at := 0
	for n := range f.groups {
		g := &rowGroup{first: at, rows: f.groups[n].rows}
		for id := range g.columns {
			c := &g.columns[id]
			c.spec, c.chunk, c.rows = &specs[id], &f.groups[n].columns[id], g.rows
		}
		r.starts = append(r.starts, at)
		r.groups = append(r.groups, g)
		at += g.rows
	}
	return r, nil
}

// First is the number of the first event.
func (r *Reader) First() uint64 { return r.first }

// Last is the number of the last event.
func (r *Reader) Last() uint64 { return r.last }

// Len is how many rows there are.
func (r *Reader) Len() int { return r.rows }

// Meta is what the file says of itself. Check says whether it is so.
func (r *Reader) Meta() Meta { return r.meta }

// TimeRange is Meta's From and To.
func (r *Reader) TimeRange() (from, to time.Time) { return r.meta.From, r.meta.To }

// load unpacks columns of a row group; afterwards their values may be read without a lock.
func (r *Reader) load(g *rowGroup, ids ...columnID) error {
	for _, id := range ids {
		c := &g.columns[id]
		c.mu.Lock()
		before := c.rowsDone
		err := r.openRows(c)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if !before {
			r.hold(g, c.chunk.unpacked+8*int64(g.rows))
		}
	}
	return nil
}

// loadDictionary unpacks the dictionary alone.
func (r *Reader) loadDictionary(g *rowGroup, id columnID) ([]string, error) {
	c := &g.columns[id]
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.dictDone
	err := r.openColumn(c)
	if err == nil && !before {
		r.hold(g, c.chunk.unpacked)
	}
	return c.dict, err
}

// loadAll unpacks every column, as rebuilding events needs it.
func (r *Reader) loadAll(g *rowGroup) error {
	for id := range columnCount {
		if err := r.load(g, id); err != nil {
			return err
		}
	}
	return nil
}

// group gives row group n with the columns that are held of it.
func (r *Reader) group(n int) *rowGroup {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.groups[n]
}

// groupOf finds the row group that has a row.
func (r *Reader) groupOf(row int) *rowGroup {
	n, found := slices.BinarySearch(r.starts, row)
	if !found {
		n--
	}
	return r.group(n)
}

// hold counts what was unpacked. Beyond the limit it lets go of every other row group,
// so that neither a long search nor a file that unpacks to a thousand times its size
// fills the memory. Who still reads in one goes on with it.
func (r *Reader) hold(g *rowGroup, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held += size
	if r.held <= r.most {
		return
	}
	r.held = size
	for n, old := range r.groups {
		if old != g {
			r.groups[n] = old.fresh()
		}
	}
}

// fresh is the same row group with nothing unpacked.
func (g *rowGroup) fresh() *rowGroup {
	empty := &rowGroup{first: g.first, rows: g.rows}
	for id := range g.columns {
		c := &empty.columns[id]
		c.spec, c.chunk, c.rows = g.columns[id].spec, g.columns[id].chunk, g.rows
	}
	return empty
}

// Rows calls fn with the rows from up to, but not with, to, counted from 0. Their
// events have the canonical bytes that were written, or there is an error.
func (r *Reader) Rows(ctx context.Context, from, to int, fn func(i int, row Row) error) error {
	return r.each(ctx, from, to, nil, fn)
}

// each is Rows; every event is made in the memory of reuse, if that is not nil.
func (r *Reader) each(ctx context.Context, from, to int, reuse *audit.Event, fn func(i int, row Row) error) error {
	if from < 0 || to > r.Len() || from > to {
		return fmt.Errorf("read rows %d to %d of a segment of %d", from, to, r.Len())
	}
	for from < to {
		g := r.groupOf(from)
		if err := r.loadAll(g); err != nil {
			return err
		}
		for ; from < to && from < g.first+g.rows; from++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			row, err := r.row(g, from-g.first, reuse)
			if err != nil {
				return err
			}
			if err := fn(from, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// Events gives the events of rows, in their order; nil for a pruned row.
func (r *Reader) Events(rows []int32) ([]*audit.Event, error) {
	events := make([]*audit.Event, len(rows))
	var g *rowGroup
	for n, i := range rows {
		if i < 0 || int(i) >= r.Len() {
			return nil, fmt.Errorf("read row %d of a segment of %d", i, r.Len())
		}
		if next := r.groupOf(int(i)); next != g {
			g = next
			if err := r.loadAll(g); err != nil {
				return nil, err
			}
		}
		row, err := r.row(g, int(i)-g.first, nil)
		if err != nil {
			return nil, err
		}
		events[n] = row.Event
	}
	return events, nil
}

// row rebuilds row i of a group of which every column is loaded.
func (r *Reader) row(g *rowGroup, i int, reuse *audit.Event) (Row, error) {
	seq := r.first + uint64(g.first+i) //nolint:gosec // both are small and not negative
	var row Row
	if err := g.checkAlternatives(i, seq); err != nil {
		return row, err
	}
	if got := g.columns[colSeq].ints[i]; got != seqInt(seq) {
		return row, broken("row %d says it is event %d, not %d", g.first+i, got, seq)
	}
	copy(row.Tag[:], g.columns[colTag].fixed(i))
	if leaf := g.columns[colLeaf].fixed(i); leaf != nil {
		copy(row.Leaf[:], leaf)
		row.Pruned = true
		if [tagSize]byte(row.Leaf[:tagSize]) != row.Tag {
			return row, broken("pruned event %d has a leaf hash that is not its tag's", seq)
		}
		return row, g.checkPruned(i, seq)
	}
	row.Event = reuse
	if reuse == nil {
		row.Event = new(audit.Event)
	}
	if err := g.event(i, row.Event); err != nil {
		return row, fmt.Errorf("rebuild event %d: %w", seq, err)
	}
	row.Event.Seq = seq
	return row, nil
}

// checkPruned refuses a pruned row that has values: they would be events that no leaf
// hash covers.
func (g *rowGroup) checkPruned(i int, seq uint64) error {
	for id := range columnCount {
		if id == colSeq || id == colTag || id == colLeaf {
			continue
		}
		if g.columns[id].has(i) {
			return broken("pruned event %d has a %s", seq, g.columns[id].spec.name)
		}
	}
	return nil
}

// checkAlternatives refuses values that the event would not be rebuilt from.
func (g *rowGroup) checkAlternatives(i int, seq uint64) error {
	c := &g.columns
	switch {
	case c[colAuditID].has(i) && c[colAuditIDText].has(i):
		return broken("event %d has two audit ids", seq)
	case c[colResourceVersion].has(i) && c[colResourceVersionText].has(i):
		return broken("event %d has two resource versions", seq)
	case !c[colAsUsername].has(i) && (c[colAsUID].has(i) || c[colAsGroups].has(i) || c[colAsExtra].has(i)):
		return broken("event %d has parts of an impersonated user without one", seq)
	}
	return nil
}
