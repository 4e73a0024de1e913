package log

import (
	"crypto/rand"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/proof"
)

// TestRealLedger: the log and the transparency log together, over several starts.
func TestRealLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := testConfig(t)
	cfg.Dir = filepath.Join(dir, "log")
	var want []string
	for round, step := range []string{"", "ledger", "rename", ""} {
		ledger, err := proof.OpenLedger(t.Context(), proof.LedgerConfig{Dir: dir, Origin: "example.com/audit", Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Ledger = ledger
		cfg.step = func(name string) error {
			if name == step {
				return errCrash
			}
			return nil
		}
		l := mustOpen(t, cfg)
		for range 3 {
			batch := entries(step+"r", 7)
			mustAppend(t, l, batch)
			want = append(want, names(batch)...)
		}
		if err := l.Seal(t.Context()); (err != nil) != (step != "") {
			t.Errorf("round %d: seal: %v", round, err)
		}
		mustClose(t, l)
		if err := ledger.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
			t.Errorf("round %d: %s", round, diff)
		}
		last, ok := ledger.Last()
		if sealed := uint64(len(want)); step == "" && (!ok || last.Last != sealed) {
			t.Errorf("round %d: the ledger ends with event %d, want %d", round, last.Last, sealed)
		}
	}
}
