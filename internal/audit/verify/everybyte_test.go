package verify_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"bulwark.dev/bulwark/internal/audit/verify"
)

// TestEveryByteCounts flips bytes everywhere in what a log consists of: each must be
// found, whatever it is.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := openWriter(t, dir, "", nil)
	w.seal(300)
	w.seal(20)
	w.append(5)
	w.close()
	options := verify.Options{Dir: dir, Key: w.ledger.Verifier()}
	if r := check(t, options); !r.OK() {
		t.Fatal(show(t, r))
	}
	random := rand.New(rand.NewPCG(7, 7))
	flipped := 0
	for _, name := range []string{
		"log/sealed/*.parquet", "log/active-*.wal", "tlog/checkpoint", "tlog/tile/0/000.p/2", "tlog/tile/entries/000.p/2", "tlog/blocks/*",
	} {
		paths, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil || len(paths) == 0 {
			t.Fatal(name, err)
		}
		for _, path := range paths {
			whole := read(t, path)
			for range 60 {
				at, bit := random.IntN(len(whole)), byte(1)<<random.IntN(8)
				raw := append([]byte(nil), whole...)
				raw[at] ^= bit
				write(t, path, raw)
				if r := check(t, options); r.OK() {
					t.Errorf("%s: byte %d of %d, %x for %x, was not noticed: %q", name, at, len(whole), raw[at], whole[at], raw[max(0, at-20):min(len(raw), at+20)])
				}
				flipped++
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if flipped < 400 {
		t.Errorf("flipped only %d bytes", flipped)
	}
}
