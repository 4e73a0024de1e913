package search

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/log"
)

// A trail's segments are its files; events that no file has are told.
func TestTrail(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sealed"), 0o700); err != nil {
		t.Fatal(err)
	}
	made, _ := many(t, 4)
	for i, s := range made.segments {
		if i == 1 {
			continue
		}
		name := fmt.Sprintf("%020d-%020d.parquet", i*100+1, i*100+100)
		if i == 3 {
			name = fmt.Sprintf("%020d-%020d.parquet", 301, 399) // one less than it has
		}
		if err := os.WriteFile(filepath.Join(dir, "sealed", name), s.(*parquet).file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v, err := log.OpenView(dir, log.ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	view, err := Trail(v)
	if err != nil {
		t.Fatal(err)
	}
	got, stats, err := found(t.Context(), view, mustParse(t, "user=u3"), Options{OldestFirst: true, Workers: 2})
	if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "events 101 to 200: no file has these events") || !strings.Contains(err.Error(), "301 to 400") {
		t.Errorf("error: %v", err)
	}
	if len(got) != 28 || got[0] != 4 || got[27] >= 301 || stats.Segments != 4 {
		t.Errorf("found %v, %+v", got, stats)
	}
	if diff := cmp.Diff(2, len(stats.Unreadable)); diff != "" {
		t.Error(diff)
	}
}
