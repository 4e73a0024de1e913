package verify_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/proof/witness"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/verify"
)

func commit(o audit.Opening) string {
	sum := sha256.Sum256(append(o.Salt[:], o.Value...))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// The log that is tampered with: segments of events 1–600, 601–1200 and 1201–1900,
// and 40 events that are not sealed.
const (
	s1, s2, s3 = 600, 1200, 1900
	end        = 1940
)

// logs are what tampering starts from.
type logs struct {
	base  string // the whole log
	early string // the same log when it had two segments, and events up to 1300
	other string // another log of the same shape, with its own key
	twin  string // another log of the same shape, under the same name and key
	key   string
	kept  []byte // the checkpoint of three segments
	first []byte // the checkpoint of one segment
}

func makeLogs(t *testing.T) logs {
	t.Helper()
	l := logs{base: t.TempDir(), other: t.TempDir()}
	w := openWriter(t, l.base, "", nil)
	l.key = w.ledger.Verifier()
	w.seal(s1)
	checkpoint, err := w.ledger.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	l.first = checkpoint.Raw
	w.seal(s2 - s1)
	w.append(100)
	l.early = copyDir(t, l.base)
	w.seal(s3 - s2 - 100)
	w.append(end - s3)
	if checkpoint, err = w.ledger.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	l.kept = checkpoint.Raw
	w.close()
	like := func(dir string) {
		w := openWriter(t, dir, "-other", nil)
		w.seal(s1)
		w.seal(s2 - s1)
		w.seal(s3 - s2)
		w.append(end - s3)
		w.close()
	}
	like(l.other)
	l.twin = t.TempDir()
	write(t, filepath.Join(l.twin, "keys/log.key"), read(t, l.base, "keys/log.key"))
	like(l.twin)
	return l
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	raw := read(t, path)
	if at < 0 {
		at += len(raw)
	}
	raw[at] ^= 1
	write(t, path, raw)
}

// changeEvent gives a copy of an event that says something else.
func changeEvent(e *audit.Event) *audit.Event {
	other := *e
	other.User.Username = "somebody-else"
	return &other
}

// changeAt changes the event in a row.
func changeAt(i int) func(rows []segment.Row) []segment.Row {
	return func(rows []segment.Row) []segment.Row {
		rows[i].Event = changeEvent(rows[i].Event)
		return rows
	}
}

// insertAt puts an event in before a row.
func insertAt(i int) func(rows []segment.Row) []segment.Row {
	return func(rows []segment.Row) []segment.Row {
		return slices.Insert(rows, i, segment.Row{Event: changeEvent(rows[i].Event)})
	}
}

// swap exchanges two rows.
func swap(i, k int) func(rows []segment.Row) []segment.Row {
	return func(rows []segment.Row) []segment.Row {
		rows[i], rows[k] = rows[k], rows[i]
		return rows
	}
}

// activePath is the one write-ahead file of a log.
func activePath(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "log/active-*.wal"))
	if err != nil || len(names) != 1 {
		t.Fatalf("write-ahead files %q, %v", names, err)
	}
	return names[0]
}

func putBack(t *testing.T, dir string, l *logs) {
	t.Helper()
	replaceBy(func(l *logs) string { return l.early })(t, dir, l)
}

func replaceBy(which func(l *logs) string) func(t *testing.T, dir string, l *logs) {
	return func(t *testing.T, dir string, l *logs) {
		t.Helper()
		remove(t, dir)
		if err := os.CopyFS(dir, os.DirFS(which(l))); err != nil {
			t.Fatal(err)
		}
	}
}

// resign signs the ledger's state under that name: with a new key, or with the log's
// own.
func resign(t *testing.T, dir, name string, own bool) {
	t.Helper()
	secret, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	if own {
		secret = renamed(t, string(read(t, dir, "keys/log.key")), string(read(t, dir, "keys/log.pub")), name)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tlog/checkpoint")
	c, err := proof.PeekCheckpoint(read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(c.Raw), "\n\n")
	_, rest, _ := strings.Cut(text, "\n")
	raw, err := note.Sign(&note.Note{Text: name + "\n" + rest + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, raw)
}

// renamed is a signer's key under another name.
func renamed(t *testing.T, secret, public, name string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(strings.TrimSpace(public), "+", 3)[2])
	if err != nil {
		t.Fatal(err)
	}
	text, err := note.NewEd25519VerifierKey(name, raw[1:])
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Split(text, "+")[1]
	parts := strings.SplitN(strings.TrimSpace(secret), "+", 5)
	return strings.Join([]string{"PRIVATE", "KEY", name, id, parts[4]}, "+")
}

// TestTampering does each to a copy of a real log, and reads what verification says.
func TestTampering(t *testing.T) {
	t.Parallel()
	l := makeLogs(t)
	for _, c := range tamperings() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := copyDir(t, l.base)
			c.tamper(t, dir, &l)
			options := verify.Options{Dir: dir, Key: l.key}
			if c.options != nil {
				c.options(&options, &l)
			}
			r := check(t, options)
			t.Log(show(t, r))
			if raw, err := json.Marshal(r); err != nil || !json.Valid(raw) {
				t.Errorf("the report is no JSON: %v", err)
			}
			if c.sound {
				if !r.OK() {
					t.Error("want nothing found")
				}
				return
			}
			if r.OK() {
				t.Fatal("nothing was found")
			}
			found := false
			for _, f := range r.Findings {
				if f.Kind != c.want {
					if c.only {
						t.Errorf("also found %s", f.Kind)
					}
					continue
				}
				found = found || strings.Contains(f.Detail, c.detail) && within(c.at, f.What)
			}
			if !found || t.Failed() {
				t.Errorf("want %s at %q, %q", c.want, c.at, c.detail)
			}
		})
	}
	t.Cleanup(func() {
		if n := len(tamperings()); n < 40 {
			t.Errorf("only %d ways to tamper", n)
		}
	})
}

// within reports whether what of a place is not zero is in another.
func within(want, got verify.Place) bool {
	return (want.File == "" || want.File == got.File) && (want.Segment == 0 || want.Segment == got.Segment) &&
		(want.First == 0 || want.First == got.First) && (want.Last == 0 || want.Last == got.Last) && (want.Size == 0 || want.Size == got.Size)
}

// TestWitnesses: with a witness that signed, a log that was put back whole is found
// from the data directory alone, or from the witness's own answer.
func TestWitnesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := openWriter(t, dir, "", nil)
	w.seal(10)
	early := copyDir(t, dir)
	w.seal(10)
	w.close()

	folder := t.TempDir()
	if err := (witness.File{Path: folder}).Keep(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	kept, err := witness.Kept(folder)
	if err != nil {
		t.Fatal(err)
	}
	key := w.ledger.Verifier()
	if r := check(t, verify.Options{Dir: dir, Key: key, Kept: kept}); !r.OK() || r.Kept != 1 {
		t.Error(show(t, r))
	}
	r := check(t, verify.Options{Dir: early, Key: key, Kept: kept})
	if len(r.Findings) != 1 || r.Findings[0].Kind != verify.KindRollback {
		t.Error(show(t, r))
	}
	if err := (witness.File{Path: folder}).Keep(t.Context(), early); !errors.Is(err, witness.ErrAhead) {
		t.Errorf("keeping an older state: %v", err)
	}

	_, public, err := note.GenerateKey(rand.Reader, "witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	r = check(t, verify.Options{Dir: dir, Key: key, Witnesses: []string{public}})
	if len(r.Findings) != 1 || r.Findings[0].Kind != verify.KindWitness {
		t.Errorf("a witness that signed nothing:\n%s", show(t, r))
	}
}
