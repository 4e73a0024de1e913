package segment

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit"
)

// A trail is kept for years, so every segment that some Bulwark has written must be
// readable by every later one. testdata has
//
//	golden.jsonl      the rows: canonical events, one a line, or "pruned" and a leaf hash
//	golden-1.parquet  what Write made of them, and golden-2.parquet and so on: what it made
//	                  after its bytes were changed on purpose
//
// A file that is there is never changed or removed. The last one must be what Write makes
// today. When TestGoldenBytes fails, find out why before anything else:
//
//   - The format was changed by mistake, here or by a new parquet-go: take it back.
//   - The same format, packed otherwise (a new compress): the old file is still read and
//     other programs read the new one. Add it.
//   - The format was changed on purpose: Version goes up, Open goes on reading the old
//     one, the guide says so. Add it.
//
// To add the next file: go test ./internal/audit/segment -run TestGoldenBytes -golden-add
// The first was made in this way in November 2026, with parquet-go 0.32 and compress 1.20.
var goldenAdd = flag.Bool("golden-add", false, "write what is written today as the next golden file")

// goldenFirst is the number of the golden segments' first event.
const goldenFirst = 1_000_001

// goldenLimits make more than one row group.
func goldenLimits() limits { return limits{rows: 40, bytes: groupBytes} }

func goldenMeta() Meta { return Meta{Notes: map[string]string{"origin": "example.com/audit"}} }

// goldenRows reads the rows.
func goldenRows(t *testing.T) []Row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	h := newHasher()
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if leaf, ok := strings.CutPrefix(line, "pruned "); ok {
			raw, err := hex.DecodeString(leaf)
			if err != nil || len(raw) != 32 {
				t.Fatalf("%q is no leaf hash: %v", leaf, err)
			}
			rows = append(rows, Row{Leaf: [32]byte(raw), Pruned: true})
			continue
		}
		e, err := audit.ParseCanonical([]byte(line))
		if err != nil {
			t.Fatalf("row %d: %v", len(rows), err)
		}
		rows = append(rows, Row{Event: e, Leaf: h.leaf(e)})
	}
	return rows
}

// goldenFiles gives the golden files, in the order of their numbers.
func goldenFiles(t *testing.T) [][]byte {
	t.Helper()
	var files [][]byte
	for {
		file, err := os.ReadFile(goldenName(len(files) + 1))
		if os.IsNotExist(err) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	all, err := filepath.Glob(filepath.Join("testdata", "golden-*.parquet"))
	if err != nil || len(all) != len(files) {
		t.Fatalf("%d golden files are numbered one after the other, and there are %d: %v", len(files), len(all), err)
	}
	return files
}

func goldenName(n int) string {
	return filepath.Join("testdata", fmt.Sprintf("golden-%d.parquet", n))
}

// TestGoldenFiles: what was ever written is still read, exactly.
func TestGoldenFiles(t *testing.T) {
	t.Parallel()
	rows := goldenRows(t)
	files := goldenFiles(t)
	if len(files) == 0 || len(rows) < 80 {
		t.Fatalf("%d golden files of %d rows", len(files), len(rows))
	}
	for n, file := range files {
		r := open(t, file)
		if r.First() != goldenFirst || r.Len() != len(rows) || len(r.groups) < 2 || r.Meta().Notes["origin"] != "example.com/audit" {
			t.Errorf("%s: %d rows from %d in %d row groups, %v", goldenName(n+1), r.Len(), r.First(), len(r.groups), r.Meta().Notes)
		}
		checkSame(t, r, goldenFirst, rows)
		faults, err := r.Check(t.Context(), func(i int, leaf [32]byte) error {
			if leaf != rows[i].Leaf {
				return fmt.Errorf("row %d has another leaf hash", i)
			}
			return nil
		})
		if err != nil || len(faults) > 0 {
			t.Errorf("%s: %v, %v", goldenName(n+1), faults, err)
		}
	}
}

// TestGoldenCoversColumns: a column that no golden row has a value in is not guarded.
func TestGoldenCoversColumns(t *testing.T) {
	t.Parallel()
	r := open(t, goldenFiles(t)[0])
	for id := range columnCount {
		values, nulls := 0, 0
		for _, g := range r.groups {
			c := &g.columns[id]
			values += g.rows - int(c.chunk.nulls)
			nulls += int(c.chunk.nulls)
		}
		if spec := columnSpecs()[id]; values == 0 || nulls == 0 && !spec.required && spec.name != "kind" {
			t.Errorf("column %s has %d values and %d nulls in the golden rows", spec.name, values, nulls)
		}
	}
}

// TestGoldenBytes: the same rows are written as they were.
func TestGoldenBytes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := write(t.Context(), &out, goldenFirst, goldenRows(t), goldenMeta(), goldenLimits()); err != nil {
		t.Fatal(err)
	}
	files := goldenFiles(t)
	if len(files) > 0 && bytes.Equal(files[len(files)-1], out.Bytes()) {
		return
	}
	if *goldenAdd {
		if err := os.WriteFile(goldenName(len(files)+1), out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the golden rows are written otherwise than in %s: golden_test.go says what to do", goldenName(len(files)))
}
