package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// TestAnotherReaderUnderstands reads every column with parquet-go, whose reader shares no
// code with ours, and compares it with the events.
func TestAnotherReaderUnderstands(t *testing.T) {
	rows := append(newTraffic(6).rows(3000), hostile{rand.New(rand.NewPCG(8, 8))}.rows(t, 500)...)
	file := made(t, 1, rows)
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, file)
	g := r.groups[0]
	if err := r.loadAll(g); err != nil {
		t.Fatal(err)
	}
	leaves := f.Root().Columns()
	if len(leaves) != int(columnCount) || f.NumRows() != int64(len(rows)) {
		t.Fatalf("%d columns, %d rows", len(leaves), f.NumRows())
	}
	compared := 0
	for id, chunk := range f.RowGroups()[0].ColumnChunks() {
		c := &g.columns[id]
		if name := f.Schema().Columns()[id][0]; name != c.spec.name {
			t.Fatalf("column %d is %s, want %s", id, name, c.spec.name)
		}
		for i, value := range columnValues(t, chunk) {
			got := "null"
			switch {
			case !c.has(i):
			case c.spec.shape == shapeText:
				got = fmt.Sprintf("%q", c.text(i))
			case c.spec.shape == shapeSmall:
				got = c.text(i)
			case c.spec.shape == shapeInt:
				got = fmt.Sprint(c.integer(i))
			case c.spec.shape == shapeFixed:
				got = fmt.Sprintf("%q", c.fixed(i))
			case c.spec.shape == shapeBlob:
				got = fmt.Sprintf("%q", c.blob(i))
			}
			want := "null"
			switch {
			case value.IsNull():
			case value.Kind() == parquet.ByteArray, value.Kind() == parquet.FixedLenByteArray:
				want = fmt.Sprintf("%q", value.ByteArray())
			default:
				want = value.String()
			}
			if got != want {
				t.Fatalf("%s of row %d: we read %s, parquet-go %s", c.spec.name, i, got, want)
			}
			compared++
		}
	}
	if compared != len(rows)*int(columnCount) {
		t.Errorf("%d values compared", compared)
	}
}

func columnValues(t *testing.T, chunk parquet.ColumnChunk) []parquet.Value {
	t.Helper()
	pages := chunk.Pages()
	defer func() {
		if err := pages.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all []parquet.Value
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		values := make([]parquet.Value, page.NumValues())
		if n, err := page.Values().ReadValues(values); n != len(values) {
			t.Fatalf("%d values of %d: %v", n, len(values), err)
		}
		for _, v := range values {
			all = append(all, v.Clone())
		}
	}
}
