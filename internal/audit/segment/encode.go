package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// encoder turns row groups into the bytes of a file. Each column chunk is a dictionary
// page, where it has a dictionary with entries, and one data page (version 1, which every
// reader knows).
type encoder struct {
	out   []byte
	specs [columnCount]columnSpec
	zstd  *zstd.Encoder
	rle   rle.Encoding
	delta delta.BinaryPackedEncoding
	proto thrift.CompactProtocol

	footer footer

	// Memory that is used again.
	page, packed, dictPacked, levels []byte
	codes                            []int32
	ints                             []int64
	header                           bytes.Buffer
}

func newEncoder() (*encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("make a compressor for a segment: %w", err)
	}
	return &encoder{out: []byte(magic), specs: columnSpecs(), zstd: z}, nil
}

// pageBytes is a page before its header is known.
type pageBytes struct {
	size   int // unpacked
	packed []byte
	header format.PageHeader
}

// addGroup encodes a row group; pause is called before each column.
func (w *encoder) addGroup(g *group, pause func() error) error {
	group := groupFooter{rows: g.rows}
	for id := range g.columns {
		if err := pause(); err != nil {
			return err
		}
		chunk, err := w.addChunk(&w.specs[id], &g.columns[id], g.rows)
		if err != nil {
			return fmt.Errorf("encode column %s of a segment: %w", w.specs[id].name, err)
		}
		group.columns = append(group.columns, chunk)
	}
	w.footer.groups = append(w.footer.groups, group)
	w.footer.rows += g.rows
	return nil
}

// addChunk appends one column of a row group.
func (w *encoder) addChunk(spec *columnSpec, b *builder, rows int) (chunkFooter, error) {
	chunk := chunkFooter{
		name: spec.name, physical: int64(physical(spec)), values: int64(rows), nulls: int64(b.nulls), codec: int64(format.Zstd),
	}
	pages := make([]pageBytes, 0, 2)
	w.page = w.page[:0]
	var err error
	if !spec.required {
		if err = w.appendLevels(spec, b, rows); err != nil {
			return chunk, err
		}
	}
	encoding := format.Plain
	switch {
	case b.nulls == rows: // no values: an empty PLAIN page
	case spec.shape == shapeText || spec.shape == shapeSmall:
		encoding = format.RLEDictionary
		pages = append(pages, w.dictionaryPage(spec, b))
		err = w.appendCodes(b)
	case spec.shape == shapeInt:
		encoding = format.DeltaBinaryPacked
		err = w.appendInts(b, &chunk)
	default:
		w.page = append(w.page, b.data...)
	}
	if err != nil {
		return chunk, err
	}
	w.packed = w.zstd.EncodeAll(w.page, w.packed[:0])
	pages = append(pages, pageBytes{size: len(w.page), packed: w.packed, header: format.PageHeader{
		Type: format.DataPage,
		DataPageHeader: thrift.New(format.DataPageHeader{
			NumValues: count32(rows), Encoding: encoding,
			DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
			Statistics: format.Statistics{NullCount: int64(b.nulls)},
		}),
	}})
	if len(pages) == 1 && len(w.packed) >= len(w.page) { // random bytes, such as tags
		pages[0].packed, chunk.codec = w.page, int64(format.Uncompressed)
	}
	for i := range pages {
		if err := w.appendPage(&pages[i], &chunk); err != nil {
			return chunk, err
		}
	}
	return chunk, nil
}

func (w *encoder) appendPage(p *pageBytes, chunk *chunkFooter) error {
	if p.size > maxPage {
		return fmt.Errorf("a page of %d bytes is larger than the %d allowed", p.size, maxPage)
	}
	p.header.UncompressedPageSize, p.header.CompressedPageSize = count32(p.size), count32(len(p.packed))
	p.header.CRC = signed32(crc32.ChecksumIEEE(p.packed))
	w.header.Reset()
	if err := thrift.NewEncoder(w.proto.NewWriter(&w.header)).Encode(&p.header); err != nil {
		return fmt.Errorf("encode a page header: %w", err)
	}
	if p.header.Type == format.DictionaryPage {
		chunk.dict = int64(len(w.out))
	} else {
		chunk.data = int64(len(w.out))
	}
	w.out = append(append(w.out, w.header.Bytes()...), p.packed...)
	chunk.size += int64(w.header.Len() + len(p.packed))
	chunk.unpacked += int64(w.header.Len() + p.size)
	return nil
}

// appendLevels puts down which rows are null: in a data page of version 1 the levels
// stand before the values, with their length in front.
func (w *encoder) appendLevels(spec *columnSpec, b *builder, rows int) error {
	levels := b.present
	if spec.shape != shapeFixed && spec.shape != shapeBlob {
		levels = slices.Grow(w.levels[:0], rows)[:rows]
		w.levels = levels
		for i := range levels {
			levels[i] = 1
			if spec.shape == shapeInt && b.ints[i] == absent || spec.shape != shapeInt && b.codes[i] == 0 {
				levels[i] = 0
			}
		}
	}
	w.rle.BitWidth = 1
	encoded, err := w.rle.EncodeLevels(w.packed[:0], levels)
	w.packed = encoded
	w.page = append(appendLength(w.page, len(encoded)), encoded...)
	return err
}

func (w *encoder) appendCodes(b *builder) error {
	w.codes = w.codes[:0]
	for _, code := range b.codes {
		if code != 0 {
			w.codes = append(w.codes, code-1)
		}
	}
	width := bits.Len(uint(len(b.dict) - 1))
	w.rle.BitWidth = width
	encoded, err := w.rle.EncodeInt32(w.packed[:0], w.codes)
	w.packed = encoded
	w.page = append(append(w.page, width8(width)), encoded...)
	return err
}

func (w *encoder) appendInts(b *builder, chunk *chunkFooter) error {
	w.ints = w.ints[:0]
	for _, v := range b.ints {
		if v != absent {
			w.ints = append(w.ints, v)
		}
	}
	encoded, err := w.delta.EncodeInt64(w.packed[:0], w.ints)
	w.packed = encoded
	w.page = append(w.page, encoded...)
	chunk.min = plainInt64(slices.Min(w.ints))
	chunk.max = plainInt64(slices.Max(w.ints))
	return err
}

func (w *encoder) dictionaryPage(spec *columnSpec, b *builder) pageBytes {
	raw := make([]byte, 0, b.texts+4*len(b.dict))
	for _, s := range b.dict {
		if spec.shape == shapeSmall {
			n, _ := strconv.ParseInt(s, 10, 32) // addEvent made it of an int32
			raw = binary.LittleEndian.AppendUint32(raw, uint32(n&0xffffffff))
			continue
		}
		raw = append(appendLength(raw, len(s)), s...)
	}
	w.dictPacked = w.zstd.EncodeAll(raw, w.dictPacked[:0])
	return pageBytes{size: len(raw), packed: w.dictPacked, header: format.PageHeader{
		Type: format.DictionaryPage,
		DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{
			NumValues: count32(len(b.dict)), Encoding: format.Plain,
		}),
	}}
}

// finish appends the footer.
func (w *encoder) finish(notes map[string]string) ([]byte, error) {
	w.footer.notes = notes
	footer, err := w.footer.encode()
	if err != nil {
		return nil, err
	}
	if len(footer) > maxFooter {
		return nil, fmt.Errorf("encode the footer of a segment: %d bytes are more than the %d allowed", len(footer), maxFooter)
	}
	w.out = appendLength(append(w.out, footer...), len(footer))
	return append(w.out, magic...), nil
}
