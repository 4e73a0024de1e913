// Package archivetest makes trails for the tests of archives.
package archivetest

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
)

// Written is a trail that a test writes.
type Written struct {
	// Dir is its data directory.
	Dir string

	log  *log.Log
	next int
}

// begun is when everything happens.
var begun = time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // read only

// Trail opens a new trail until the test ends.
func Trail(t *testing.T) *Written {
	t.Helper()
	dir := t.TempDir()
	ledger, err := proof.OpenLedger(t.Context(), proof.LedgerConfig{Dir: dir, Origin: "example.com/audit"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(t.Context(), log.Config{
		Dir: filepath.Join(dir, "log"), Ledger: ledger, DropOpenings: true, Reserve: 1 << 20, SealAge: time.Hour,
		Now: func() time.Time { return begun }, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := ledger.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Written{Dir: dir, log: l}
}

// Sealed is a trail with segments of so many events.
func Sealed(t *testing.T, events ...int) *Written {
	t.Helper()
	w := Trail(t)
	w.Seal(t, events...)
	return w
}

// Seal adds segments of so many events.
func (w *Written) Seal(t *testing.T, events ...int) {
	t.Helper()
	for _, n := range events {
		for range n {
			w.next++
			at := begun.Add(time.Duration(w.next) * time.Second)
			e := &audit.Event{
				Kind: audit.KindAPI, Source: "webhook", Received: at, AuditID: fmt.Sprintf("00000000-0000-4000-8000-%012d", w.next),
				Level: "Metadata", Stage: "ResponseComplete", Verb: "get", RequestURI: "/api/v1/nodes", User: audit.User{Username: "alice"},
				Object: audit.ObjectRef{APIVersion: "v1", Resource: "nodes"}, Status: audit.Status{Code: 200}, RequestReceived: at, StageAt: at,
			}
			if _, err := w.log.Append(t.Context(), []audit.Entry{{Event: e}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.log.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Segments are the names of the sealed segments under Dir.
func (w *Written) Segments(t *testing.T) []string {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(w.Dir, "log", "sealed"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		out = append(out, path.Join("log", "sealed", e.Name()))
	}
	return out
}
