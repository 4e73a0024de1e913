package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"bulwark.dev/bulwark/internal/audit"
)

// readAll does everything that a Reader can do. It gives the leaf hashes, from which a
// caller tells whether the events are those that it was promised.
func readAll(file []byte) ([][32]byte, []Fault, error) {
	r, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, nil, err
	}
	var leaves [][32]byte
	faults, err := r.Check(context.Background(), func(_ int, leaf [32]byte) error {
		leaves = append(leaves, leaf)
		return nil
	})
	if err != nil {
		return leaves, faults, err
	}
	for _, field := range Columns() {
		rows, findErr := r.Find(context.Background(), Query{Conditions: []Condition{{Field: field, Test: func(s string) bool { return len(s) > 3 }}}})
		if findErr == nil {
			_, findErr = r.Values(field, rows)
		}
		err = errors.Join(err, findErr)
	}
	return leaves, faults, err
}

// smallFile is a real file with something in every column.
func smallFile(tb testing.TB) []byte {
	tb.Helper()
	rows := hostile{rand.New(rand.NewPCG(11, 1))}.rows(tb, 14)
	kept := rows[:0]
	for _, row := range rows { // without the very long texts, so that every byte can be tried
		if row.Pruned || len(audit.AppendCanonical(nil, row.Event)) < 5000 && len(row.Event.RequestObject)+len(row.Event.ResponseObject) < 1000 {
			kept = append(kept, row)
		}
	}
	return made(tb, 5, append(kept, newTraffic(5).rows(6)...))
}

func TestEveryFlippedByteIsNoticedOrHarmless(t *testing.T) {
	file := smallFile(t)
	before, _, err := readAll(file)
	if err != nil {
		t.Fatal(err)
	}
	end := len(file) - 8 - int(binary.LittleEndian.Uint32(file[len(file)-8:]))
	const noted = "origin\x18\x04test"
	note := bytes.LastIndex(file, []byte(noted))
	if note < 0 {
		t.Fatal("the file has no note")
	}
	inPages, inFooter, harmless := 0, 0, 0
	for i := range file {
		for _, flip := range [][]byte{{1}, {0x80}, {0xff}}[i%3] {
			bad := bytes.Clone(file)
			bad[i] ^= flip
			leaves, faults, err := readAll(bad)
			switch {
			case err != nil || len(faults) > 0:
				if err != nil && !errors.Is(err, ErrFormat) {
					t.Fatalf("byte %d: an error of another kind: %v", i, err)
				}
				if i < end {
					inPages++
				} else {
					inFooter++
				}
			case len(leaves) != len(before):
				t.Fatalf("byte %d of %d flipped by %x: %d rows instead of %d, unnoticed", i, len(file), flip, len(leaves), len(before))
			default: // a note may say anything
				harmless++
				if i < note || i >= note+len(noted) {
					t.Errorf("byte %d of %d, with pages to %d, flipped by %x goes unnoticed: %q", i, len(file), end, flip, file[max(0, i-10):i+8])
				}
				for n := range leaves {
					if leaves[n] != before[n] {
						t.Fatalf("byte %d of %d flipped by %x: event %d is another, unnoticed", i, len(file), flip, n)
					}
				}
			}
		}
	}
	t.Logf("%d bytes: noticed %d in pages, %d in the footer; harmless %d", len(file), inPages, inFooter, harmless)
	if inPages != end || inFooter+harmless != len(file)-end {
		t.Error("not every byte was tried")
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	file := smallFile(t)
	for n := range file {
		if _, _, err := readAll(file[:n]); err == nil {
			t.Fatalf("%d of %d bytes were taken for a segment", n, len(file))
		}
		if _, _, err := readAll(file[n+1:]); err == nil {
			t.Fatalf("the last %d of %d bytes were taken for a segment", len(file)-n-1, len(file))
		}
	}
}

// TestSizesThatLie puts great numbers where the reader might believe them. What matters is
// that it neither panics nor fills the memory.
func TestSizesThatLie(t *testing.T) {
	file := smallFile(t)
	random := rand.New(rand.NewPCG(1, 1))
	for range 4000 {
		bad := bytes.Clone(file)
		at := random.IntN(len(bad) - 16)
		if random.IntN(2) == 0 { // where the headers are
			at = len(bad) - 9 - random.IntN(int(binary.LittleEndian.Uint32(bad[len(bad)-8:])))
		}
		switch random.IntN(3) {
		case 0:
			copy(bad[at:], binary.AppendUvarint(nil, random.Uint64()>>random.IntN(60)))
		case 1:
			binary.LittleEndian.PutUint32(bad[min(at, len(bad)-4):], 1<<31-1>>random.IntN(8))
		default:
			copy(bad[at:], bad[random.IntN(len(bad)):])
		}
		_, _, _ = readAll(bad)
	}
}

func TestReadErrorsAreTold(t *testing.T) {
	file := smallFile(t)
	if _, err := Open(failing{}, int64(len(file))); !errors.Is(err, errDisk) {
		t.Errorf("error: %v", err)
	}
	if _, err := Open(bytes.NewReader(file), int64(len(file))+1); err == nil {
		t.Error("a wrong size was taken")
	}
}

var errDisk = errors.New("the disk is gone")

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

// FuzzReader changes a real file: eight bytes, a run of another value, and where it ends.
func FuzzReader(f *testing.F) {
	file := smallFile(f)
	f.Add(uint32(0), uint64(0), uint32(0), uint8(0), byte(0), uint32(0))
	f.Add(uint32(len(file)-200), uint64(0xffffffffff), uint32(200), uint8(9), byte(0xff), uint32(0))
	f.Add(uint32(len(file)-8), uint64(1)<<31, uint32(4), uint8(1), byte(0), uint32(7))
	f.Fuzz(func(_ *testing.T, at uint32, xor uint64, from uint32, n uint8, fill byte, cut uint32) {
		bad := bytes.Clone(file)
		i := int(at) % (len(bad) - 8)
		binary.LittleEndian.PutUint64(bad[i:], binary.LittleEndian.Uint64(bad[i:])^xor)
		for j := range int(n) {
			bad[(int(from)+j)%len(bad)] = fill
		}
		_, _, _ = readAll(bad[:len(bad)-int(cut)%len(bad)])
	})
}

// FuzzColumn makes a column of any dictionary and page, with sound checksums and
// compression, so that what is behind those is reached.
func FuzzColumn(f *testing.F) {
	unzip := open(f, smallFile(f)).zstd
	f.Add(uint8(colVerb), []byte{3, 0, 0, 0, 'g', 'e', 't'}, uint8(1), []byte{2, 0, 0, 0, 8, 1, 0, 8}, uint8(4), int64(0), int64(8))
	f.Add(uint8(colReceived), []byte{}, uint8(0), []byte{2, 0, 0, 0, 8, 1, 128, 1, 4, 4, 2, 2, 0, 0, 0, 0}, uint8(4), int64(0), int64(5))
	f.Add(uint8(colMore), []byte{}, uint8(0), []byte{2, 0, 0, 0, 2, 1, 1, 0, 0, 0, '1'}, uint8(1), int64(0), int64(0))
	f.Add(uint8(colAuditID), []byte{}, uint8(0), []byte{2, 0, 0, 0, 8, 0}, uint8(4), int64(4), int64(0))
	f.Fuzz(func(t *testing.T, id uint8, dict []byte, texts uint8, data []byte, rows uint8, nulls, encoding int64) {
		if rows == 0 || columnID(id) >= columnCount {
			return
		}
		enc, err := newEncoder()
		if err != nil {
			t.Fatal(err)
		}
		spec := enc.specs[id]
		chunk := chunkFooter{name: spec.name, values: int64(rows), nulls: nulls, codec: int64(format.Zstd)}
		add := func(raw []byte, header format.PageHeader) {
			p := pageBytes{size: len(raw), packed: enc.zstd.EncodeAll(raw, nil), header: header}
			if err := enc.appendPage(&p, &chunk); err != nil {
				t.Fatal(err)
			}
		}
		if texts > 0 {
			add(dict, format.PageHeader{
				Type:                 format.DictionaryPage,
				DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: int32(texts)}),
			})
		}
		add(data, format.PageHeader{Type: format.DataPage, DataPageHeader: thrift.New(format.DataPageHeader{
			NumValues: int32(rows), Encoding: format.Encoding(encoding & 15),
			DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
			Statistics: format.Statistics{NullCount: nulls},
		})})
		r, g := &Reader{file: bytes.NewReader(enc.out), zstd: unzip}, &rowGroup{rows: int(rows)}
		for id := range g.columns {
			g.columns[id] = column{spec: &enc.specs[id], rows: int(rows)}
		}
		c := &g.columns[id]
		c.chunk = &chunk
		if r.openRows(c) != nil {
			return
		}
		for i := range c.rows {
			_ = g.event(i, new(audit.Event))
			_ = g.checkAlternatives(i, 1)
			c.has(i)
		}
	})
}

// FuzzPages feeds the decoders behind the checksums.
func FuzzPages(f *testing.F) {
	f.Add([]byte{2, 0, 3, 0x88}, uint8(3), uint16(9))
	f.Add([]byte{0x80, 1, 4, 9, 2, 2, 8, 0, 0, 0}, uint8(1), uint16(9))
	f.Fuzz(func(t *testing.T, data []byte, width uint8, n uint16) {
		if codes, err := decodeHybrid(nil, data, int(width), int(n), 0); err == nil && len(codes) != int(n) {
			t.Errorf("%d codes, want %d", len(codes), n)
		}
		if ints, err := decodeDelta(nil, data, int(n)+1); err == nil && len(ints) != int(n)+1 {
			t.Errorf("%d integers, want %d", len(ints), int(n)+1)
		}
		if texts, err := decodeTexts(string(data), int(n)); err == nil && len(texts) != int(n) {
			t.Errorf("%d texts, want %d", len(texts), n)
		}
		_, _ = parseLists(string(data))
		_, _ = parseTexts(string(data))
		_, _ = parseList(string(data))
		_, _ = parseRedactions(string(data))
		_, _, _ = readPage(data)
		_, _ = parseFooter(data)
	})
}
