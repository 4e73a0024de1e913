package verify_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/verify"
)

// someEvent is the event number i of a log; salt makes another log.
func someEvent(i int, salt string) *audit.Event {
	at := time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Millisecond)
	return &audit.Event{
		Kind: audit.KindAPI, Source: "webhook", Received: at, AuditID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i),
		Level: "Metadata", Stage: "ResponseComplete", Verb: "get", RequestURI: fmt.Sprintf("/api/v1/namespaces/shop/secrets/s%d", i%7),
		User: audit.User{Username: fmt.Sprintf("user-%d%s", i%5, salt), Groups: []string{"system:authenticated"}}, SourceIPs: []string{"10.0.0.1"},
		UserAgent: "kubectl/v1.36", Object: audit.ObjectRef{APIVersion: "v1", Resource: "secrets", Namespace: "shop", Name: fmt.Sprintf("s%d", i%7)},
		Status: audit.Status{Code: 200}, RequestReceived: at, StageAt: at,
	}
}

// writer writes a log into a data directory.
type writer struct {
	t      *testing.T
	dir    string
	ledger *proof.Ledger
	log    *log.Log
	next   int
	salt   string
}

func openWriter(t *testing.T, dir, salt string, change func(*log.Config)) *writer {
	t.Helper()
	w := openBenchWriter(t, dir, change)
	w.t, w.salt = t, salt
	return w
}

func openBenchWriter(tb testing.TB, dir string, changes ...func(*log.Config)) *writer {
	tb.Helper()
	ledger, err := proof.OpenLedger(tb.Context(), proof.LedgerConfig{Dir: dir, Origin: "example.com/audit"})
	if err != nil {
		tb.Fatal(err)
	}
	config := log.Config{
		Dir: filepath.Join(dir, "log"), Ledger: ledger, DropOpenings: true, Reserve: 1 << 20, SealAge: time.Hour,
		Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		if change != nil {
			change(&config)
		}
	}
	l, err := log.Open(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	return &writer{dir: dir, ledger: ledger, log: l}
}

func (w *writer) append(n int) {
	w.t.Helper()
	for range n {
		w.next++
		if _, err := w.log.Append(w.t.Context(), []audit.Entry{{Event: someEvent(w.next, w.salt)}}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// seal makes a segment of n more events.
func (w *writer) seal(n int) {
	w.t.Helper()
	w.append(n)
	if err := w.log.Seal(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) close() {
	w.t.Helper()
	if err := w.log.Close(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.ledger.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(to, "keys/log.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path ...string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(path...)); err != nil {
		t.Fatal(err)
	}
}

// sealedPath is the file of a segment of those events.
func sealedPath(dir string, first, last int) string {
	return filepath.Join(dir, "log/sealed", fmt.Sprintf("%020d-%020d.parquet", first, last))
}

// rewrite writes a segment's file anew, as somebody would who has this program: with
// tags and block roots that fit the rows.
func rewrite(t *testing.T, path string, first uint64, change func(rows []segment.Row) []segment.Row) {
	t.Helper()
	rows := change(readRows(t, path))
	for i := range rows {
		if e := rows[i].Event; e != nil {
			unnumbered := *e
			unnumbered.Seq = 0
			rows[i].Event, rows[i].Leaf = &unnumbered, leafOf(e)
		}
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := segment.Write(file, first, rows, segment.Meta{}); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// rewriteRows is rewrite by somebody who leaves the block roots in the file as they
// were.
func rewriteRows(t *testing.T, path string, first uint64, change func(rows []segment.Row) []segment.Row) {
	t.Helper()
	roots := func() []byte {
		var all []byte
		var tree proof.Tree
		for _, row := range readRows(t, path) {
			tree.Append(row.Leaf)
		}
		for _, root := range tree.Blocks() {
			all = append(all, root[:]...)
		}
		return base64.StdEncoding.AppendEncode(nil, all)
	}
	before := roots()
	rewrite(t, path, first, change)
	after := roots()
	raw := read(t, path)
	if bytes.Count(raw, after) != 1 || len(before) != len(after) {
		t.Fatalf("%s does not have its block roots once", path)
	}
	write(t, path, bytes.Replace(raw, after, before, 1))
}

func readRows(t *testing.T, path string) []segment.Row {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := segment.Open(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	var rows []segment.Row
	err = r.Rows(t.Context(), 0, r.Len(), func(_ int, row segment.Row) error {
		if !row.Pruned {
			row.Leaf = leafOf(row.Event)
		}
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func leafOf(e *audit.Event) proof.Hash { return proof.LeafHash(audit.AppendCanonical(nil, e)) }

func check(t *testing.T, options verify.Options) verify.Report {
	t.Helper()
	report, err := verify.Verify(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func show(t *testing.T, r verify.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestVerifySound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := openWriter(t, dir, "", nil)
	key := w.ledger.Verifier()
	options := verify.Options{Dir: dir, Key: key}
	if r := check(t, options); !r.OK() || r.Last != 0 {
		t.Errorf("an empty log:\n%s", show(t, r))
	}
	w.append(3)
	if r := check(t, options); !r.OK() || r.Active != 3 || r.Last != 3 {
		t.Errorf("nothing sealed, while it is open:\n%s", show(t, r))
	}
	w.seal(297)
	kept, err := w.ledger.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	w.seal(1)
	w.append(5)
	options.Kept = [][]byte{kept.Raw}
	r := check(t, options)
	if !r.OK() || r.Segments != 2 || r.Events != 301 || r.Active != 5 || r.Last != 306 || r.Kept != 1 || r.Ledger.Size != 2 || len(r.Notes) > 0 {
		t.Errorf("while it is open:\n%s", show(t, r))
	}
	w.close()
	if r := check(t, options); !r.OK() || r.Last != 306 {
		t.Errorf("after it was closed:\n%s", show(t, r))
	}
	if text := show(t, r); !strings.Contains(text, "Nothing is wrong.") {
		t.Error(text)
	}
}

// TestVerifyBesideAWriter: nothing is found wrong with a log because it grows.
func TestVerifyBesideAWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := openWriter(t, dir, "", nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 25 {
			entries := make([]audit.Entry, 40)
			for i := range entries {
				entries[i].Event = someEvent(i, "")
			}
			if _, err := w.log.Append(t.Context(), entries); err != nil {
				t.Error(err)
				return
			}
			if err := w.log.Seal(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	ran := 0
	for growing := true; growing; ran++ {
		select {
		case <-done:
			growing = false
		default:
		}
		if r := check(t, verify.Options{Dir: dir, Key: w.ledger.Verifier()}); !r.OK() {
			t.Errorf("round %d:\n%s", ran, show(t, r))
		}
	}
	if ran < 2 {
		t.Errorf("verified %d times", ran)
	}
	w.close()
	if r := check(t, verify.Options{Dir: dir, Key: w.ledger.Verifier()}); !r.OK() || r.Events != 1000 || len(r.Notes) > 0 {
		t.Error(show(t, r))
	}
}

func TestVerifyNeedsItsInput(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]verify.Options{
		"no directory":         {Key: "k"},
		"no key":               {Dir: t.TempDir()},
		"no such directory":    {Dir: filepath.Join(t.TempDir(), "none"), Key: "k"},
		"a key that is no key": {Dir: t.TempDir(), Key: "k"},
	} {
		if r, err := verify.Verify(t.Context(), options); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestVerifyOpenings: openings that do not open their commitments are named, and
// destroyed ones are nothing to wonder about.
func TestVerifyOpenings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := make([]byte, log.KeySize)
	key := bulwark.NewSecret(secret)
	w := openWriter(t, dir, "", func(c *log.Config) { c.Key, c.DropOpenings = key, false })
	entry := func(i int, value string) audit.Entry {
		o := audit.Opening{Path: "requestObject.data.password", Salt: [32]byte{byte(i)}, Value: []byte(value)}
		e := someEvent(i, "")
		e.Redactions = []audit.Redaction{{Path: o.Path, Commitment: commit(o)}}
		return audit.Entry{Event: e, Openings: []audit.Opening{o}}
	}
	if _, err := w.log.Append(t.Context(), []audit.Entry{entry(1, `"a"`), entry(2, `"b"`)}); err != nil {
		t.Fatal(err)
	}
	w.seal(1)
	if _, err := w.log.Append(t.Context(), []audit.Entry{entry(3, `"c"`)}); err != nil {
		t.Fatal(err)
	}
	view, err := w.log.View()
	if err != nil {
		t.Fatal(err)
	}
	swap := false
	options := verify.Options{
		Dir: dir, Key: w.ledger.Verifier(),
		Openings: func(_ context.Context, first, last uint64, fn func(uint64, []audit.Opening) error) error {
			for seq := first; seq <= last; seq++ {
				openings, err := view.Openings(key, seq)
				if err != nil {
					return err
				}
				if swap && seq == 2 {
					openings[0].Value = []byte(`"x"`)
				}
				if err := fn(seq, openings); err != nil {
					return err
				}
			}
			return nil
		},
	}
	if r := check(t, options); !r.OK() || r.Openings != 3 {
		t.Error(show(t, r))
	}
	swap = true
	r := check(t, options)
	if len(r.Findings) != 1 || r.Findings[0].Kind != verify.KindOpening || r.Findings[0].What.First != 2 {
		t.Error(show(t, r))
	}
	w.close()
}

// TestVerifyOpeningsOfNothing: openings are looked at also where no event committed to
// anything, and a commitment that nothing can open is named.
func TestVerifyOpeningsOfNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		commitment string // of event 1
		read       func(seq uint64) ([]audit.Opening, error)
		want       []string
	}{
		{"none", "", func(uint64) ([]audit.Opening, error) { return nil, nil }, nil},
		{"unreadable", "", func(uint64) ([]audit.Opening, error) { return nil, errors.New("damaged") }, []string{"the openings cannot be read: damaged"}},
		{"a salt for nothing", "", func(seq uint64) ([]audit.Opening, error) {
			if seq != 2 {
				return nil, nil
			}
			return []audit.Opening{{Path: "a"}}, nil
		}, []string{`there is a salt for "a", and the event committed to nothing there`}},
		{"a value for nothing", "", func(seq uint64) ([]audit.Opening, error) {
			if seq != 1 {
				return nil, nil
			}
			return []audit.Opening{{Path: "a", Value: []byte("1")}}, nil
		}, []string{`there is an opening for "a", and the event committed to nothing there`}},
		{"a commitment to nothing", "sha256:", func(uint64) ([]audit.Opening, error) { return nil, nil }, []string{`the commitment for "a" is none`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := openWriter(t, dir, "", func(*log.Config) {})
			e := someEvent(1, "")
			if tt.commitment != "" {
				e.Redactions = []audit.Redaction{{Path: "a", Commitment: tt.commitment}}
			}
			if _, err := w.log.Append(t.Context(), []audit.Entry{{Event: e}, {Event: someEvent(2, "")}}); err != nil {
				t.Fatal(err)
			}
			w.seal(1)
			r := check(t, verify.Options{
				Dir: dir, Key: w.ledger.Verifier(),
				Openings: func(_ context.Context, first, last uint64, fn func(uint64, []audit.Opening) error) error {
					for seq := first; seq <= last; seq++ {
						openings, err := tt.read(seq)
						if err != nil {
							return err
						}
						if err := fn(seq, openings); err != nil {
							return err
						}
					}
					return nil
				},
			})
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Detail)
			}
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("%q, want %q", got, tt.want)
			}
			w.close()
		})
	}
}
