package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"sync"

	"github.com/parquet-go/parquet-go/format"
)

// column is one column of a row group, unpacked when it is first asked for. The
// dictionary comes first and alone: a search that finds nothing in it need not look at
// the rows.
type column struct {
	spec  *columnSpec
	chunk *chunkFooter
	rows  int

	mu       sync.Mutex
	page     *page // the data page, until it is unpacked
	dictDone bool
	rowsDone bool
	err      error

	dict    []string
	codes   []uint32 // 0 is null, else 1 + the place in dict; nil when every row is null
	ints    []int64  // absent is null; nil when every row is null
	data    []byte   // fixed: every row has size bytes
	present []uint32 // fixed: 1 where there is a value; nil when every row is null, or none
	blobs   []byte
	ends    []uint32 // blob: where each row's text ends in blobs; nil when every row is null

	lists parsed[[]string]
	maps  parsed[map[string][]string]
}

// page is one page of a chunk, still packed.
type page struct {
	kind     int64
	nulls    int64
	unpacked int
	values   int
	encoding int64
	packed   []byte
}

// open reads the chunk's pages and unpacks the dictionary. The caller holds c.mu.
func (r *Reader) openColumn(c *column) error {
	if c.dictDone || c.err != nil {
		return c.err
	}
	c.err = r.readChunk(c)
	if c.err != nil {
		c.err = fmt.Errorf("read column %s: %w", c.spec.name, c.err)
		return c.err
	}
	c.dictDone = true
	return nil
}

func (r *Reader) readChunk(c *column) error {
	raw := make([]byte, c.chunk.size)
	if err := readAt(r.file, raw, c.chunk.start()); err != nil {
		return err
	}
	unpacked := c.chunk.unpacked - c.chunk.size
	if c.chunk.dict > 0 {
		dict, size, err := readPage(raw)
		if err != nil {
			return err
		}
		if dict.kind != int64(format.DictionaryPage) || dict.encoding != int64(format.Plain) || c.chunk.dict+int64(size) != c.chunk.data {
			return broken("there is no dictionary where it belongs")
		}
		raw = raw[size:]
		unpacked -= int64(dict.unpacked - len(dict.packed))
		if c.spec.shape != shapeText && c.spec.shape != shapeSmall || dict.values == 0 || dict.values > c.rows {
			return broken("a dictionary of %d texts for %d rows", dict.values, c.rows)
		}
		if err := r.readDictionary(c, dict); err != nil {
			return err
		}
	}
	data, size, err := readPage(raw)
	if err != nil {
		return err
	}
	if data.kind != int64(format.DataPage) || data.values != c.rows || size != len(raw) {
		return broken("there is no page of %d rows where it belongs", c.rows)
	}
	if unpacked != int64(data.unpacked-len(data.packed)) {
		return broken("its pages unpack to another size than the footer says")
	}
	c.page = data
	return nil
}

func (r *Reader) readDictionary(c *column, p *page) error {
	raw, err := r.unpack(c.chunk, p)
	if err != nil {
		return err
	}
	if c.spec.shape == shapeText {
		c.dict, err = decodeTexts(string(raw), p.values)
		return err
	}
	if len(raw) != 4*p.values {
		return broken("%d numbers in %d bytes", p.values, len(raw))
	}
	for ; len(raw) > 0; raw = raw[4:] {
		v := binary.LittleEndian.Uint32(raw)
		if v == 0 {
			return broken("a 0 that stands for none")
		}
		c.dict = append(c.dict, strconv.Itoa(int(signed32(v))))
	}
	return nil
}

// readPage reads the header of the page that raw begins with, checks its checksum, and
// tells how long it is with its header.
func readPage(raw []byte) (*page, int, error) {
	t := &thriftReader{rest: raw}
	p := &page{kind: -1, encoding: -1}
	var packed int
	var sum int64
	header := func(id int64, kind byte) {
		switch {
		case id == 1 && t.want(kind, thriftInt32):
			p.values = t.count("the number of values of a page", groupRows)
		case id == 2 && t.want(kind, thriftInt32):
			p.encoding = t.integer()
		case id == 5 && p.kind == int64(format.DataPage) && t.want(kind, thriftStruct):
			t.object(func(id int64, kind byte) {
				if id != 3 || kind != thriftInt64 { // other readers would skip the page by its bounds
					t.unknown()
				}
				p.nulls = t.integer()
			})
		case (id == 3 || id == 4) && t.want(kind, thriftInt32):
			if t.integer() != int64(format.RLE) {
				t.unknown()
			}
		default:
			t.unknown()
		}
	}
	t.object(func(id int64, kind byte) {
		switch {
		case id == 1 && t.want(kind, thriftInt32):
			p.kind = t.integer()
		case id == 2 && t.want(kind, thriftInt32):
			p.unpacked = t.count("the unpacked size of a page", maxPage)
		case id == 3 && t.want(kind, thriftInt32):
			packed = t.count("the size of a page", maxPage)
		case id == 4 && t.want(kind, thriftInt32):
			sum = t.integer()
		case id == 5 && p.kind == int64(format.DataPage), id == 7 && p.kind == int64(format.DictionaryPage):
			if t.want(kind, thriftStruct) {
				t.object(header)
			}
		default:
			t.unknown()
		}
	})
	if t.err != nil {
		return nil, 0, t.err
	}
	if packed > len(t.rest) {
		return nil, 0, broken("a page of %d bytes where %d are left", packed, len(t.rest))
	}
	p.packed = t.rest[:packed]
	if int64(signed32(crc32.ChecksumIEEE(p.packed))) != sum {
		return nil, 0, broken("a page does not have its checksum")
	}
	return p, len(raw) - len(t.rest) + packed, nil
}

// unpack gives the bytes of a page, no more than its header says. The decompressor is
// somebody else's code; should it panic, the page is at fault.
func (r *Reader) unpack(c *chunkFooter, p *page) (raw []byte, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			raw, err = nil, broken("a page cannot be unpacked: %v", fault)
		}
	}()
	if c.codec == int64(format.Uncompressed) {
		if p.unpacked != len(p.packed) {
			return nil, broken("a page of %d bytes says that it has %d", len(p.packed), p.unpacked)
		}
		return p.packed, nil
	}
	if c.codec != int64(format.Zstd) {
		return nil, broken("compression %d, which we do not write", c.codec)
	}
	if raw, err = r.zstd.DecodeAll(p.packed, make([]byte, 0, p.unpacked)); err != nil {
		return nil, broken("a page cannot be unpacked: %v", err)
	}
	if len(raw) != p.unpacked {
		return nil, broken("a page unpacks to %d bytes, not %d", len(raw), p.unpacked)
	}
	return raw, nil
}

// openRows unpacks the rows too. The caller holds c.mu.
func (r *Reader) openRows(c *column) error {
	if err := r.openColumn(c); err != nil || c.rowsDone {
		return err
	}
	if err := r.readRows(c); err != nil {
		c.err = fmt.Errorf("read column %s: %w", c.spec.name, err)
		return c.err
	}
	c.page, c.rowsDone = nil, true
	return nil
}

func (r *Reader) readRows(c *column) error {
	raw, err := r.unpack(c.chunk, c.page)
	if err != nil {
		return err
	}
	values := c.rows
	var levels []uint32 // nil where every row has a value
	if !c.spec.required {
		if len(raw) < 4 || int64(binary.LittleEndian.Uint32(raw)) > int64(len(raw)-4) {
			return broken("the list of nulls ends too early")
		}
		size := binary.LittleEndian.Uint32(raw)
		if levels, err = decodeHybrid(make([]uint32, 0, c.rows), raw[4:4+size], 1, c.rows, 0); err != nil {
			return err
		}
		raw = raw[4+size:]
		values = 0
		for _, level := range levels {
			values += int(level)
		}
	}
	if nulls := int64(c.rows - values); nulls != c.chunk.nulls || nulls != c.page.nulls {
		return broken("%d rows are null, and %d and %d said to be", nulls, c.chunk.nulls, c.page.nulls)
	}
	if bounds := len(c.chunk.min) + len(c.chunk.max); bounds > 0 && (values == 0 || c.spec.shape != shapeInt) {
		return broken("bounds of values, which we do not write")
	}
	if values == 0 {
		if len(raw) > 0 || c.page.encoding != int64(format.Plain) || c.dict != nil {
			return broken("values where every row is null")
		}
		return nil
	}
	if values == c.rows {
		levels = nil
	}
	switch c.spec.shape {
	case shapeText, shapeSmall:
		return c.readCodes(raw, levels, values)
	case shapeInt:
		return c.readInts(raw, levels, values)
	case shapeFixed:
		return c.readFixed(raw, levels, values)
	case shapeBlob:
		return c.readBlobs(raw, levels)
	}
	return nil
}

func (c *column) readCodes(raw []byte, levels []uint32, values int) error {
	if c.page.encoding != int64(format.RLEDictionary) || c.dict == nil || len(raw) == 0 {
		return broken("a page without codes")
	}
	codes, err := decodeHybrid(make([]uint32, 0, c.rows), raw[1:], int(raw[0]), values, 1)
	if err != nil {
		return err
	}
	for _, code := range codes {
		if code == 0 || uint64(code) > uint64(len(c.dict)) {
			return broken("a code beyond the %d texts of the dictionary", len(c.dict))
		}
	}
	c.codes = spread(codes, levels)
	return nil
}

func (c *column) readInts(raw []byte, levels []uint32, values int) error {
	if c.page.encoding != int64(format.DeltaBinaryPacked) {
		return broken("integers in encoding %d", c.page.encoding)
	}
	ints, err := decodeDelta(make([]int64, 0, c.rows), raw, values)
	if err != nil {
		return err
	}
	least, most := ints[0], ints[0]
	for _, v := range ints {
		least, most = min(least, v), max(most, v)
	}
	if least == absent {
		return broken("an integer that stands for none")
	}
	// Other readers skip row groups by these; a lie in them hides rows.
	if !bytes.Equal(c.chunk.min, plainInt64(least)) || !bytes.Equal(c.chunk.max, plainInt64(most)) {
		return broken("its least or greatest value is not what the footer says")
	}
	if levels != nil {
		ints = spread(ints, levels)
		for i, level := range levels {
			if level == 0 {
				ints[i] = absent
			}
		}
	}
	c.ints = ints
	return nil
}

func (c *column) readFixed(raw []byte, levels []uint32, values int) error {
	size := c.spec.size
	if c.page.encoding != int64(format.Plain) || len(raw) != size*values {
		return broken("%d bytes for %d values of %d", len(raw), values, size)
	}
	c.data, c.present = raw, levels
	if levels != nil {
		c.data = make([]byte, size*c.rows)
		for i, level := range levels {
			if level != 0 {
				copy(c.data[i*size:], raw[:size])
				raw = raw[size:]
			}
		}
	}
	return nil
}

func (c *column) readBlobs(raw []byte, levels []uint32) error {
	if c.page.encoding != int64(format.Plain) {
		return broken("texts in encoding %d", c.page.encoding)
	}
	c.ends = make([]uint32, c.rows)
	c.blobs = raw[:0] // lengths are taken out in place
	for i := range c.rows {
		if levels == nil || levels[i] != 0 {
			if len(raw) < 4 {
				return broken("a text has no length")
			}
			size := binary.LittleEndian.Uint32(raw)
			if int64(size) > int64(len(raw)-4) || size == 0 {
				return broken("a text of %d bytes where %d are left", size, len(raw)-4)
			}
			c.blobs = append(c.blobs, raw[4:4+size]...)
			raw = raw[4+size:]
		}
		c.ends[i] = uint32(len(c.blobs) & 0x7fffffff)
	}
	if len(raw) > 0 {
		return broken("%d bytes after the last text", len(raw))
	}
	return nil
}

// spread puts values, in the memory they have, where levels is not 0. The others become
// 0. values has room for all.
func spread[T uint32 | int64](values []T, levels []uint32) []T {
	if levels == nil {
		return values
	}
	from := len(values) - 1
	values = values[:len(levels)]
	for i := len(levels) - 1; i >= 0; i-- {
		if levels[i] == 0 {
			values[i] = 0
			continue
		}
		values[i] = values[from]
		from--
	}
	return values
}
