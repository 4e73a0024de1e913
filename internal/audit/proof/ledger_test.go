package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, dir string, kept ...[]byte) *Ledger {
	t.Helper()
	l, err := OpenLedger(t.Context(), LedgerConfig{Dir: dir, Origin: "example.com/audit", Kept: kept})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// sealed is a record as the log gives it: the ledger completes it.
func sealed(number uint64) Record {
	r := someRecord(number)
	r.Version, r.Number, r.Previous = 0, 0, Hash{}
	return r
}

func appendRecords(t *testing.T, l *Ledger, from, to uint64) {
	t.Helper()
	for n := from; n <= to; n++ {
		index, err := l.Append(t.Context(), sealed(n))
		if err != nil {
			t.Fatal(err)
		}
		if index != n-1 {
			t.Fatalf("segment %d has index %d", n, index)
		}
	}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	if r, ok := l.Last(); ok {
		t.Fatalf("a new ledger has %+v", r)
	}
	appendRecords(t, l, 1, 3)
	last, ok := l.Last()
	if !ok || last.Number != 3 || last.Last != 300 || last.Previous == (Hash{}) {
		t.Errorf("last is %+v", last)
	}
	c, err := l.Checkpoint()
	if err != nil || c.Size != 3 || c.Origin != "example.com/audit" {
		t.Errorf("checkpoint %+v, %v", c, err)
	}

	// The same again, as after a crash between the ledger and the log.
	index, err := l.Append(t.Context(), sealed(2))
	if err != nil || index != 1 {
		t.Errorf("segment 2 again: %d, %v", index, err)
	}
	other := sealed(2)
	other.Root = Hash{9}
	if _, err := l.Append(t.Context(), other); !errors.Is(err, ErrConflict) {
		t.Errorf("another root for the same events: %v", err)
	}
	inside := sealed(2)
	inside.First, inside.Events = 150, 51
	if _, err := l.Append(t.Context(), inside); !errors.Is(err, ErrConflict) {
		t.Errorf("events within a segment: %v", err)
	}
	if _, err := l.Append(t.Context(), sealed(5)); err == nil || errors.Is(err, ErrConflict) {
		t.Errorf("a gap: %v", err)
	}
	if c, err := l.Checkpoint(); err != nil || c.Size != 3 {
		t.Errorf("refused records grew the ledger: %+v, %v", c, err)
	}

	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), sealed(4)); err == nil {
		t.Error("a closed ledger takes a record")
	}
	again := open(t, dir, c.Raw)
	got, _ := again.Last()
	if diff := cmp.Diff(last, got); diff != "" {
		t.Errorf("last after a restart:\n%s", diff)
	}
	if again.Verifier() != l.Verifier() {
		t.Error("the key changed over a restart")
	}
	appendRecords(t, again, 4, 4)
	if _, err := again.Append(t.Context(), sealed(4)); err != nil {
		t.Error(err)
	}
}

// TestBlocks: the block roots of a segment are kept beside its record, and only those.
func TestBlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	var tree Tree
	for _, leaf := range someLeaves(600) {
		tree.Append(leaf)
	}
	r := Record{First: 1, Last: 600, Events: 600, Root: tree.Root(), Blocks: tree.Blocks(), From: time.Unix(0, 0), To: time.Unix(0, 0)}
	wrong := r
	wrong.Blocks = wrong.Blocks[1:]
	if _, err := l.Append(t.Context(), wrong); !errors.Is(err, ErrBlocks) {
		t.Errorf("blocks of something else: %v", err)
	}
	for range 2 {
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	files := NewFiles(os.DirFS(LedgerPath(dir)))
	last, _ := l.Last()
	got, err := files.Blocks(&last)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Blocks, got); diff != "" {
		t.Error(diff)
	}
	flip(t, filepath.Join(LedgerPath(dir), BlocksFile(1)), 50)
	if got, err := files.Blocks(&last); !errors.Is(err, ErrBlocks) {
		t.Errorf("edited blocks: %v, %v", got, err)
	}
}

// TestLedgerGrowsOverTiles: more records than one tile has, read back, proven, and
// refused when a tile is not theirs.
func TestLedgerGrowsOverTiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	appendRecords(t, l, 1, 260)
	c, err := l.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	files := NewFiles(os.DirFS(LedgerPath(dir)))
	for _, n := range []uint64{1, 2, 255, 256, 257, 260} {
		r, raw, err := files.Find(n*100-50, c.Size)
		if err != nil || r.Number != n {
			t.Fatalf("record of event %d: %+v, %v", n*100-50, r, err)
		}
		path, err := files.Inclusion(t.Context(), n-1, c.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckPath(LeafHash(raw), n-1, c.Size, path, c.Root); err != nil {
			t.Error(err)
		}
	}
	if _, err := files.Consistency(t.Context(), 100, c.Size); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	tile := filepath.Join(LedgerPath(dir), "tile", "1", "000.p", "1")
	flip(t, tile, 3)
	if _, err := OpenLedger(t.Context(), LedgerConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "tile/1/000.p/1") {
		t.Errorf("a ledger with a wrong tile: %v", err)
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[at] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLedgerRefuses: nothing is signed over a past that is not the one signed before.
func TestLedgerRefuses(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	l := open(t, base)
	appendRecords(t, l, 1, 2)
	early := t.TempDir()
	if err := os.CopyFS(early, os.DirFS(base)); err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 3, 4)
	newest, err := l.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, name := range names {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	older := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			raw, err := os.ReadFile(filepath.Join(early, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := []struct {
		name   string
		tamper func(t *testing.T, dir string)
		config LedgerConfig
		want   string
	}{
		{"no state", remove("tlog/.state/treeState"), LedgerConfig{}, "is missing, with a checkpoint of 4"},
		{"an older state", older("tlog/.state/treeState"), LedgerConfig{}, "its state is of 2 records, but 4 are signed"},
		{"no checkpoint", remove("tlog/checkpoint"), LedgerConfig{}, "its checkpoint is missing, with 4 records"},
		{"no records", remove("tlog/tile/entries"), LedgerConfig{}, "no such file"},
		{"a record edited", func(t *testing.T, dir string) {
			t.Helper()
			flip(t, filepath.Join(dir, "tlog/tile/entries/000.p/4"), 60)
		}, LedgerConfig{}, "record 1 of the ledger"},
		{"no key", remove("keys/log.key"), LedgerConfig{}, "a new key would begin another log"},
		{"no keys at all", remove("keys"), LedgerConfig{}, "a new key would begin another log"},
		{"another public key", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(VerifierPath(dir), []byte("example.com/audit+00000000+AAAA\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, LedgerConfig{}, "is not the public half"},
		{"an open key", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Chmod(filepath.Join(dir, "keys/log.key"), 0o640); err != nil {
				t.Fatal(err)
			}
		}, LedgerConfig{}, "can be read by others"},
		{"another origin", func(*testing.T, string) {}, LedgerConfig{Origin: "example.com/other"}, "a log keeps its origin for life"},
		{"another log's key", func(t *testing.T, dir string) {
			t.Helper()
			other := t.TempDir()
			open(t, other)
			for _, name := range []string{"keys/log.key", "keys/log.pub"} {
				raw, err := os.ReadFile(filepath.Join(other, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, LedgerConfig{}, "not signed with this key"},
		{"no ledger, with a kept checkpoint", remove("tlog"), LedgerConfig{Kept: [][]byte{newest.Raw}}, "there is no ledger, but a checkpoint of it was kept"},
		{"no ledger, with sealed segments", func(t *testing.T, dir string) {
			t.Helper()
			remove("tlog")(t, dir)
			if err := os.MkdirAll(filepath.Join(dir, "log/sealed"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "log/sealed/a.parquet"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, LedgerConfig{}, "there is no ledger, but"},
		{"put back whole, with a kept checkpoint", func(t *testing.T, dir string) {
			t.Helper()
			remove("tlog")(t, dir)
			if err := os.CopyFS(filepath.Join(dir, "tlog"), os.DirFS(filepath.Join(early, "tlog"))); err != nil {
				t.Fatal(err)
			}
		}, LedgerConfig{Kept: [][]byte{newest.Raw}}, "the ledger was rolled back: it has 2 records, and a kept checkpoint signs 4"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, "keys/log.key"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.tamper(t, dir)
			c.config.Dir = dir
			before := tree(t, filepath.Join(dir, "tlog"))
			l, err := OpenLedger(t.Context(), c.config)
			if err == nil {
				_ = l.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %q", err, c.want)
			}
			if after := tree(t, filepath.Join(dir, "tlog")); after != before {
				t.Errorf("a refused ledger was changed: was\n%s\nis\n%s", before, after)
			}
		})
	}
}

// tree lists files and their contents' hashes.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", path, LeafHash(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestLedgerAfterCrash: a record that is in the tree, with or without its checkpoint,
// is there once.
func TestLedgerAfterCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	appendRecords(t, l, 1, 1)
	checkpoint, err := os.ReadFile(filepath.Join(LedgerPath(dir), checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, l, 2, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// As if it had crashed after the tree, before the checkpoint; with a clock that is put
	// back by a day, and leftovers of a file that was being written.
	path := filepath.Join(LedgerPath(dir), checkpointFile)
	if err := os.WriteFile(path, checkpoint, 0o600); err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().Add(24 * time.Hour)
	if err := os.Chtimes(path, tomorrow, tomorrow); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"123456", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if r, ok := again.Last(); !ok || r.Number != 2 {
		t.Fatalf("last is %+v", r)
	}
	if c, err := again.Checkpoint(); err != nil || c.Size != 2 {
		t.Fatalf("checkpoint %+v, %v", c, err)
	}
	if index, err := again.Append(t.Context(), sealed(2)); err != nil || index != 1 {
		t.Fatalf("segment 2 again: %d, %v", index, err)
	}
	appendRecords(t, again, 3, 3)
}

// TestLedgerNoticesChanges: what is changed under a running ledger is not signed over in
// silence.
func TestLedgerNoticesChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	appendRecords(t, l, 1, 3)
	flip(t, filepath.Join(LedgerPath(dir), "tile/0/000.p/3"), 40)
	if _, err := l.Append(t.Context(), sealed(4)); err == nil || !strings.Contains(err.Error(), "was changed from outside") {
		t.Errorf("a tile was changed: %v", err)
	}
	if c, err := l.Checkpoint(); err != nil || c.Size != 3 {
		t.Errorf("it was signed: %+v, %v", c, err)
	}
}

func TestLedgerGivesUp(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, sealed(1)); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	appendRecords(t, l, 1, 2) // it may or may not be there: once, it is
}

func TestKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := OpenLedger(t.Context(), LedgerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "keys/log.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	if !strings.HasPrefix(l.Verifier(), "bulwark.dev/log/") {
		t.Errorf("the origin is %s", l.Verifier())
	}
	public, err := os.ReadFile(VerifierPath(dir))
	if err != nil || strings.TrimSpace(string(public)) != l.Verifier() {
		t.Errorf("%s, %v", public, err)
	}
	secret, err := os.ReadFile(filepath.Join(dir, "keys/log.key"))
	if err != nil {
		t.Fatal(err)
	}
	part := secret[bytes.LastIndexByte(secret, '+')+1:]
	if shown := fmt.Sprintf("%v %+v %#v", l, l.key, *l.key); strings.Contains(shown, strings.TrimSpace(string(part))) {
		t.Error("the key prints itself")
	}
	for _, bad := range []string{"two words", "with+plus", strings.Repeat("x", 300), "line\nbreak"} {
		if _, err := OpenLedger(t.Context(), LedgerConfig{Dir: t.TempDir(), Origin: bad}); err == nil {
			t.Errorf("origin %q was taken", bad)
		}
	}
}

// BenchmarkLedgerAppend is how long a segment waits for its signed checkpoint.
func BenchmarkLedgerAppend(b *testing.B) {
	l, err := OpenLedger(b.Context(), LedgerConfig{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only a benchmark
	n := uint64(0)
	for b.Loop() {
		n++
		if _, err := l.Append(b.Context(), sealed(n)); err != nil {
			b.Fatal(err)
		}
	}
}
