package verify_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/verify"
)

// tampering is one way to change a log, and what verification must say of it.
type tampering struct {
	name   string
	tamper func(t *testing.T, dir string, l *logs)
	// options changes what verification is given.
	options func(o *verify.Options, l *logs)
	want    verify.Kind
	at      verify.Place // what of it is not zero must be in the finding
	detail  string       // a part of the text
	// only says that no other kind may be found.
	only bool
	// sound says that nothing is found: the limit of what can be seen.
	sound bool
}

func tamperings() []tampering {
	withKept := func(o *verify.Options, l *logs) { o.Kept = [][]byte{l.kept} }
	second := func(dir string) string { return sealedPath(dir, s1+1, s2) }
	return []tampering{
		// One byte in each kind of file.
		{
			name: "flip in a segment's data", want: verify.KindUnreadable, at: verify.Place{Segment: 2}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); flip(t, second(dir), 600) },
		},
		{
			name: "flip in a segment's footer", want: verify.KindUnreadable, at: verify.Place{Segment: 2}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); flip(t, second(dir), -8) },
		},
		{
			name: "flip in the checkpoint", want: verify.KindCheckpoint, detail: "",
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				flip(t, filepath.Join(dir, "tlog/checkpoint"), 30)
			},
		},
		{
			name: "flip in a tile", want: verify.KindTile, at: verify.Place{File: "tlog/tile/0/000.p/3"}, detail: "record 2", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				flip(t, filepath.Join(dir, "tlog/tile/0/000.p/3"), 40)
			},
		},
		{
			name: "flip in a record", want: verify.KindRecord, at: verify.Place{Segment: 1}, detail: "not the one that was signed",
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				flip(t, filepath.Join(dir, "tlog/tile/entries/000.p/3"), 100)
			},
		},
		{
			name: "flip in a write-ahead file", want: verify.KindActive, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); flip(t, activePath(t, dir), 500) },
		},
		{
			name: "flip in the public key", want: verify.KindKey, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); flip(t, filepath.Join(dir, "keys/log.pub"), 30) },
		},

		// Events.
		{
			name: "event changed, block roots in the file left", want: verify.KindEventChanged, at: verify.Place{Segment: 2, First: s1 + 1, Last: s1 + 256}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				rewriteRows(t, second(dir), s1+1, changeAt(99))
			},
		},
		{
			name: "event changed, the file written anew", want: verify.KindEventChanged, at: verify.Place{Segment: 2, First: s1 + 1, Last: s1 + 256}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				rewrite(t, second(dir), s1+1, changeAt(99))
			},
		},
		{
			name: "event changed, everything written anew", want: verify.KindChanged, at: verify.Place{Segment: 2, First: s1 + 1, Last: s2}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				remove(t, dir, "tlog/blocks")
				rewrite(t, second(dir), s1+1, changeAt(99))
			},
		},
		{
			name: "tag edited", want: verify.KindUnreadable, at: verify.Place{Segment: 2}, detail: "column tag", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				tag := readRows(t, second(dir))[99].Tag
				raw := read(t, second(dir))
				write(t, second(dir), bytes.Replace(raw, tag[:], []byte("BAD!"), 1))
			},
		},
		{
			name: "block roots edited", want: verify.KindChanged, at: verify.Place{Segment: 2}, detail: "what the file says of them was edited", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				path := second(dir)
				roots := regexp.MustCompile(`[A-Za-z0-9+/]{128}`) // three roots in base64
				write(t, path, roots.ReplaceAll(read(t, path), bytes.Repeat([]byte("A"), 128)))
			},
		},
		{
			name: "events deleted, everything written anew", want: verify.KindEventMissing, at: verify.Place{Segment: 2, First: s1 + 1, Last: s2}, detail: "2 were taken out", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				remove(t, dir, "tlog/blocks")
				rewrite(t, second(dir), s1+1, func(rows []segment.Row) []segment.Row { return slices.Delete(rows, 300, 302) })
			},
		},
		{
			name: "events deleted", want: verify.KindEventMissing, at: verify.Place{Segment: 2, First: s1 + 257, Last: s1 + 512}, detail: "2 events were taken out from among these", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				rewrite(t, second(dir), s1+1, func(rows []segment.Row) []segment.Row { return slices.Delete(rows, 300, 302) })
			},
		},
		{
			name: "event inserted, everything written anew", want: verify.KindEventInserted, at: verify.Place{Segment: 2}, detail: "1 were put in", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				remove(t, dir, "tlog/blocks")
				rewrite(t, second(dir), s1+1, insertAt(300))
			},
		},
		{
			name: "event inserted", want: verify.KindEventInserted, at: verify.Place{Segment: 2, First: s1 + 301}, detail: "without it", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				rewrite(t, second(dir), s1+1, insertAt(300))
			},
		},
		{
			name: "events reordered, everything written anew", want: verify.KindChanged, at: verify.Place{Segment: 2}, detail: "another order", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				remove(t, dir, "tlog/blocks")
				rewrite(t, second(dir), s1+1, swap(10, 400))
			},
		},
		{
			name: "events reordered", want: verify.KindEventReordered, at: verify.Place{Segment: 2, First: 611, Last: 1001}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				rewrite(t, second(dir), s1+1, swap(10, 400))
			},
		},
		{
			name: "events of one block reordered", want: verify.KindEventReordered, at: verify.Place{Segment: 2, First: 1150, Last: 1151}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				rewrite(t, second(dir), s1+1, swap(549, 550))
			},
		},
		{
			name: "event moved into the next segment", want: verify.KindEventMoved, at: verify.Place{Segment: 1}, detail: "segments 1 to 2",
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				var last segment.Row
				rewrite(t, sealedPath(dir, 1, s1), 1, func(rows []segment.Row) []segment.Row {
					last = rows[len(rows)-1]
					return rows[:len(rows)-1]
				})
				rewrite(t, second(dir), s1+1, func(rows []segment.Row) []segment.Row { return append([]segment.Row{last}, rows...) })
			},
		},
		{
			name: "event pruned by nobody", want: verify.KindPruned, at: verify.Place{First: s1 + 6}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				rewrite(t, second(dir), s1+1, func(rows []segment.Row) []segment.Row {
					rows[5].Event, rows[5].Pruned = nil, true
					return rows
				})
			},
		},

		// Segments.
		{
			name: "segment cut off", want: verify.KindUnreadable, at: verify.Place{Segment: 2}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				raw := read(t, second(dir))
				write(t, second(dir), raw[:len(raw)/2])
			},
		},
		{
			name: "segment emptied", want: verify.KindUnreadable, at: verify.Place{Segment: 2}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); write(t, second(dir), nil) },
		},
		{
			name: "segment missing", want: verify.KindMissing, at: verify.Place{Segment: 2, First: s1 + 1, Last: s2}, detail: "600 events are gone", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); remove(t, second(dir)) },
		},
		{
			name: "last segment missing", want: verify.KindMissing, at: verify.Place{Segment: 3}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); remove(t, sealedPath(dir, s2+1, s3)) },
		},
		{
			name: "segment of another log", want: verify.KindChanged, at: verify.Place{Segment: 2}, detail: "another log", only: true,
			tamper: func(t *testing.T, dir string, l *logs) {
				t.Helper()
				write(t, second(dir), read(t, sealedPath(l.other, s1+1, s2)))
			},
		},
		{
			name: "segments exchanged", want: verify.KindExchanged, at: verify.Place{Segment: 1}, detail: "has the events 601 to 1200 of segment 2", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				one, two := read(t, sealedPath(dir, 1, s1)), read(t, second(dir))
				write(t, sealedPath(dir, 1, s1), two)
				write(t, second(dir), one)
			},
		},
		{
			name: "segment more than there were", want: verify.KindExtra, at: verify.Place{First: end + 1, Last: end + 600}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				path := sealedPath(dir, end+1, end+600)
				write(t, path, read(t, second(dir)))
				rewrite(t, path, end+1, changeAt(0))
			},
		},
		{
			name: "a copy of a segment under another name", want: verify.KindExtra, detail: "copy of segment 2", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				write(t, sealedPath(dir, s1+2, s2+1), read(t, second(dir)))
			},
		},
		{
			name: "a file that does not belong", want: verify.KindExtra, at: verify.Place{File: "log/sealed/notes.txt"}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				write(t, filepath.Join(dir, "log/sealed/notes.txt"), nil)
			},
		},

		// What is not sealed.
		{
			name: "write-ahead file of another log", want: verify.KindActive, detail: "does not go on from there", only: true,
			tamper: func(t *testing.T, dir string, l *logs) {
				t.Helper()
				write(t, activePath(t, dir), read(t, activePath(t, l.other)))
			},
		},
		{
			name: "write-ahead file put back", want: verify.KindActive, at: verify.Place{First: s2 + 1},
			tamper: func(t *testing.T, dir string, l *logs) {
				t.Helper()
				remove(t, activePath(t, dir))
				path := activePath(t, l.early)
				write(t, filepath.Join(dir, "log", filepath.Base(path)), bytes.ReplaceAll(read(t, path), []byte("user-1"), []byte("user-2")))
			},
		},
		{
			name: "the end of a write-ahead file cut off", sound: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); remove(t, activePath(t, dir)) },
		},

		// The ledger.
		{
			name: "no ledger", want: verify.KindCheckpoint, detail: "nothing is proven",
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); remove(t, dir, "tlog") },
		},
		{
			name: "checkpoint's size edited", want: verify.KindCheckpoint, at: verify.Place{Size: 2}, detail: "edited after it was signed",
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				path := filepath.Join(dir, "tlog/checkpoint")
				write(t, path, bytes.Replace(read(t, path), []byte("\n3\n"), []byte("\n2\n"), 1))
			},
		},
		{
			name: "checkpoint of more records than there are", want: verify.KindRecord, detail: "missing from the ledger",
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				path := filepath.Join(dir, "tlog/checkpoint")
				write(t, path, bytes.Replace(read(t, path), []byte("\n3\n"), []byte("\n18446744073709551615\n"), 1))
			},
		},
		{
			name: "tiles exchanged", want: verify.KindTile, at: verify.Place{File: "tlog/tile/0/000.p/3"},
			tamper: func(t *testing.T, dir string, l *logs) {
				t.Helper()
				write(t, filepath.Join(dir, "tlog/tile/0/000.p/3"), read(t, l.other, "tlog/tile/0/000.p/3"))
			},
		},
		{
			name: "tile missing", want: verify.KindTile, at: verify.Place{File: "tlog/tile/0/000.p/3"}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); remove(t, dir, "tlog/tile/0") },
		},
		{
			name: "records missing", want: verify.KindRecord, detail: "cannot be read",
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); remove(t, dir, "tlog/tile/entries") },
		},
		{
			name: "records and tiles of another log", want: verify.KindCheckpoint, detail: "do not give it",
			tamper: func(t *testing.T, dir string, l *logs) {
				t.Helper()
				remove(t, dir, "tlog/tile")
				if err := os.CopyFS(filepath.Join(dir, "tlog/tile"), os.DirFS(filepath.Join(l.other, "tlog/tile"))); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "ledger of an older state", want: verify.KindExtra, at: verify.Place{First: s2 + 1, Last: s3},
			tamper: func(t *testing.T, dir string, l *logs) {
				t.Helper()
				remove(t, dir, "tlog")
				if err := os.CopyFS(filepath.Join(dir, "tlog"), os.DirFS(filepath.Join(l.early, "tlog"))); err != nil {
					t.Fatal(err)
				}
			},
		},

		// The whole, which only what was kept elsewhere shows.
		{name: "everything put back, and nothing kept", sound: true, tamper: putBack},
		{name: "everything put back, a checkpoint kept", want: verify.KindRollback, at: verify.Place{Size: 3}, tamper: putBack, options: withKept, only: true},
		{
			name: "everything put back, a smaller checkpoint kept", sound: true, tamper: putBack,
			options: func(o *verify.Options, l *logs) { o.Kept = [][]byte{l.first} },
		},
		{name: "written anew with the same key, and nothing kept", sound: true, tamper: replaceBy(func(l *logs) string { return l.twin })},
		{
			name: "written anew with the same key, a checkpoint kept", want: verify.KindFork, at: verify.Place{Size: 3}, only: true,
			tamper: replaceBy(func(l *logs) string { return l.twin }), options: withKept,
		},
		{
			name: "written anew with the same key, an early checkpoint kept", want: verify.KindFork, at: verify.Place{Size: 1}, only: true,
			tamper: replaceBy(func(l *logs) string { return l.twin }), options: func(o *verify.Options, l *logs) { o.Kept = [][]byte{l.first} },
		},
		{name: "another log in its place", want: verify.KindKey, detail: "exchanged", tamper: replaceBy(func(l *logs) string { return l.other })},
		{
			name: "the public key exchanged", want: verify.KindKey, detail: "exchanged", only: true,
			tamper: func(t *testing.T, dir string, l *logs) {
				t.Helper()
				write(t, filepath.Join(dir, "keys/log.pub"), read(t, l.other, "keys/log.pub"))
			},
		},
		{
			name: "signed with another key of the same name", want: verify.KindCheckpoint, detail: "not signed with the key that was given",
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); resign(t, dir, "example.com/audit", false) },
		},
		{
			name: "signed with another key of another name", want: verify.KindCheckpoint, detail: `of log "example.com/other", and the key`, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); resign(t, dir, "example.com/other", false) },
		},
		{
			name: "the key used for a log of another name", want: verify.KindCheckpoint, detail: "was used for another log", only: true,
			tamper: func(t *testing.T, dir string, _ *logs) { t.Helper(); resign(t, dir, "example.com/other", true) },
		},
		{
			name: "kept block roots edited", want: verify.KindTile, at: verify.Place{Segment: 2, File: "tlog/blocks/00000000000000000002"}, only: true,
			tamper: func(t *testing.T, dir string, _ *logs) {
				t.Helper()
				flip(t, filepath.Join(dir, "tlog/blocks/00000000000000000002"), 40)
			},
		},
	}
}
