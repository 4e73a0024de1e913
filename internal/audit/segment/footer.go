package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// footer is what stands at a file's end. All the rest of it follows from this.
type footer struct {
	rows   int
	groups []groupFooter
	notes  map[string]string
}

type groupFooter struct {
	rows    int
	columns []chunkFooter
}

// chunkFooter is where a column of a row group stands.
type chunkFooter struct {
	name       string
	physical   int64
	codec      int64
	values     int64
	size       int64
	unpacked   int64
	data, dict int64
	nulls      int64
	min, max   []byte
}

func (c *chunkFooter) start() int64 {
	if c.dict > 0 {
		return c.dict
	}
	return c.data
}

// readFooter reads and checks the end of a file of size bytes.
func readFooter(r io.ReaderAt, size int64) (*footer, error) {
	var tail [8]byte
	if size < int64(len(magic)+len(tail)) {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrFormat, size)
	}
	if err := readAt(r, tail[:4], 0); err != nil {
		return nil, fmt.Errorf("read the head of a segment: %w", err)
	}
	if string(tail[:4]) != magic {
		return nil, fmt.Errorf("%w: it does not begin as Parquet does", ErrFormat)
	}
	if err := readAt(r, tail[:], size-8); err != nil {
		return nil, fmt.Errorf("read the end of a segment: %w", err)
	}
	if string(tail[4:]) != magic {
		return nil, fmt.Errorf("%w: it does not end as Parquet does, so it may be cut off", ErrFormat)
	}
	length := int64(binary.LittleEndian.Uint32(tail[:4]))
	if length > maxFooter || length > size-int64(len(magic)+len(tail)) {
		return nil, fmt.Errorf("%w: a footer of %d bytes does not fit a file of %d", ErrFormat, length, size)
	}
	raw := make([]byte, length)
	if err := readAt(r, raw, size-8-length); err != nil {
		return nil, fmt.Errorf("read the footer of a segment: %w", err)
	}
	f, err := parseFooter(raw)
	if err != nil {
		return nil, err
	}
	if err := f.check(size - 8 - length); err != nil {
		return nil, err
	}
	// What we do not look at, another reader might believe: a Bloom filter that hides rows, a
	// key that gives columns another meaning. So a footer must be the one that we would write.
	again, err := f.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, raw) {
		return nil, fmt.Errorf("%w: its footer is not as we write it", ErrFormat)
	}
	return f, nil
}

// readAt reads all of b.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func parseFooter(raw []byte) (*footer, error) {
	f := &footer{notes: map[string]string{}}
	r := &thriftReader{rest: raw}
	r.object(func(id int64, kind byte) {
		switch {
		case id == 1 && r.want(kind, thriftInt32):
			r.count("the format's version", formatVersion)
		case id == 2 && r.want(kind, thriftList):
			r.skip(kind)
		case id == 3 && r.want(kind, thriftInt64):
			f.rows = r.count("the number of rows", maxRows)
		case id == 4 && r.want(kind, thriftList):
			r.list(thriftStruct, func() {
				f.groups = append(f.groups, parseGroup(r))
				r.most("row groups", len(f.groups), maxGroups)
			})
		case id == 5 && r.want(kind, thriftList):
			r.list(thriftStruct, func() {
				var key, value string
				r.object(func(id int64, kind byte) {
					switch {
					case id == 1 && r.want(kind, thriftBinary):
						key = string(r.bytes())
					case id == 2 && r.want(kind, thriftBinary):
						value = string(r.bytes())
					default:
						r.unknown()
					}
				})
				if _, twice := f.notes[key]; twice {
					r.fail("it says something twice of itself")
				}
				f.notes[key] = value
				r.most("notes", len(f.notes), maxNotes)
			})
		case id == 6 && r.want(kind, thriftBinary):
			r.bytes()
		case id == 7 && r.want(kind, thriftList):
			r.skip(kind)
		default:
			r.unknown()
		}
	})
	if len(r.rest) > 0 {
		r.fail("there is more after the footer's end")
	}
	return f, r.err
}

func parseGroup(r *thriftReader) groupFooter {
	var g groupFooter
	r.object(func(id int64, kind byte) {
		switch {
		case id == 1 && r.want(kind, thriftList):
			r.list(thriftStruct, func() {
				r.object(func(id int64, kind byte) {
					switch {
					case id == 2 && r.want(kind, thriftInt64):
						r.integer()
					case id == 3 && r.want(kind, thriftStruct):
						g.columns = append(g.columns, parseChunk(r))
						r.most("columns in a row group", len(g.columns), int(columnCount))
					default: // another file's column, or an index
						r.unknown()
					}
				})
			})
		case (id == 2 || id == 5 || id == 6) && r.want(kind, thriftInt64), id == 7 && r.want(kind, thriftInt16):
			r.integer()
		case id == 3 && r.want(kind, thriftInt64):
			g.rows = r.count("a row group's number of rows", groupRows)
		default:
			r.unknown()
		}
	})
	return g
}

func parseChunk(r *thriftReader) chunkFooter {
	var c chunkFooter
	r.object(func(id int64, kind byte) {
		switch {
		case id == 1 && r.want(kind, thriftInt32):
			c.physical = r.integer()
		case id == 2 && r.want(kind, thriftList):
			r.skip(kind)
		case id == 3 && r.want(kind, thriftList):
			r.list(thriftBinary, func() { c.name += string(r.bytes()) })
		case id == 4 && r.want(kind, thriftInt32):
			c.codec = r.integer()
		case id == 5 && r.want(kind, thriftInt64):
			c.values = r.integer()
		case id == 6 && r.want(kind, thriftInt64):
			c.unpacked = r.integer()
		case id == 7 && r.want(kind, thriftInt64):
			c.size = r.integer()
		case id == 9 && r.want(kind, thriftInt64):
			c.data = r.integer()
		case id == 11 && r.want(kind, thriftInt64):
			c.dict = r.integer()
		case id == 12 && r.want(kind, thriftStruct):
			r.object(func(id int64, kind byte) {
				switch {
				case id == 3 && r.want(kind, thriftInt64):
					c.nulls = r.integer()
				case id == 5 && r.want(kind, thriftBinary):
					c.max = r.bytes()
				case id == 6 && r.want(kind, thriftBinary):
					c.min = r.bytes()
				default:
					r.unknown()
				}
			})
		default:
			r.unknown()
		}
	})
	return c
}

// check compares the footer with the schema and with end, where the pages end. Columns
// must follow one another without gaps, so that nothing hides between them.
func (f *footer) check(end int64) error {
	specs := columnSpecs()
	at, rows := int64(len(magic)), 0
	for n := range f.groups {
		g := &f.groups[n]
		if g.rows == 0 || len(g.columns) != len(specs) {
			return fmt.Errorf("%w: row group %d has %d rows and %d columns", ErrFormat, n, g.rows, len(g.columns))
		}
		rows += g.rows
		var unpacked int64
		for i := range g.columns {
			c := &g.columns[i]
			switch {
			case c.name != specs[i].name || c.physical != int64(physical(&specs[i])):
				return fmt.Errorf("%w: row group %d has column %q where %q belongs", ErrFormat, n, c.name, specs[i].name)
			case c.values != int64(g.rows):
				return fmt.Errorf("%w: column %s of row group %d has %d values for %d rows", ErrFormat, c.name, n, c.values, g.rows)
			case c.start() != at || c.size <= 0 || c.size > end-at:
				return fmt.Errorf("%w: column %s of row group %d does not stand where it must", ErrFormat, c.name, n)
			case c.dict > 0 && (c.data <= c.dict || c.data >= at+c.size):
				return fmt.Errorf("%w: column %s of row group %d has its pages in no sound order", ErrFormat, c.name, n)
			}
			at += c.size
			unpacked += c.unpacked
			if c.unpacked < 0 || c.unpacked > maxGroup || unpacked > maxGroup {
				return fmt.Errorf("%w: row group %d says it unpacks to %d bytes, more than the %d allowed", ErrFormat, n, unpacked, maxGroup)
			}
		}
	}
	if at != end {
		return fmt.Errorf("%w: there are %d bytes that belong to no column", ErrFormat, end-at)
	}
	if rows == 0 || rows != f.rows {
		return fmt.Errorf("%w: its row groups have %d rows, its footer says %d", ErrFormat, rows, f.rows)
	}
	return nil
}
