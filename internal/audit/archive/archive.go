// Package archive copies a trail to where whoever has its machine cannot change it: a
// bucket, or a folder that is mounted from elsewhere.
//
// The copy has the trail's own names, so that what is fetched from it is a folder that
// "bulwark audit verify" and "search" read, and query engines read its segments where
// they lie. Only what is sealed and public is copied: no private key, nothing that is
// not sealed yet, and no openings of redacted values, which could not be destroyed there.
//
// But for the checkpoint nothing in an archive is ever replaced or removed: what somebody
// does to the trail later, retention too, does not reach it. How long it keeps things is
// for the bucket's own rules to say.
package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/proof/witness"
)

// Sum is the SHA-256 of an object.
type Sum [sha256.Size]byte

// Store is where copies go. Names have slashes and are never empty.
type Store interface {
	// List tells of every object, in any order.
	List(ctx context.Context, each func(name string) error) error
	// Put makes an object, or replaces it, whole or not at all. Sum is of its content.
	Put(ctx context.Context, name string, content io.Reader, size int64, sum Sum) error
	// Get reads an object of at most limit bytes. One that is not there is fs.ErrNotExist.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Sum is what the object's content has, or had when it was put.
	Sum(ctx context.Context, name string) (Sum, error)
}

// The names of what is copied, in a trail and in its archive.
const (
	sealedFolder = "log/sealed"
	ledgerFolder = "tlog"
	publicKey    = "keys/log.pub"
	checkpoint   = "tlog/checkpoint"
)

// maxCheckpoint is more than a checkpoint has.
const maxCheckpoint = 64 << 10

// sealedName is a segment's. What is being written has another.
var sealedName = regexp.MustCompile(`^[0-9]{20}-[0-9]{20}\.parquet$`)

// Archive is a copy that grows. One goroutine at a time uses it.
type Archive struct {
	store Store
	// there are the objects that the store has; nil before it was asked.
	there map[string]bool
	// awaited is the size of the ledger that the segments of were not all there at the last run.
	awaited uint64
}

// New is an archive in a store.
func New(store Store) *Archive { return &Archive{store: store} }

// Stats say what a run did.
type Stats struct {
	// Files were copied, with Bytes in all; Segments of them are segments.
	Files, Segments int
	Bytes           int64
	// Records of the ledger are covered by the archive's checkpoint; 0 where it was not
	// written. Awaited is how many segments it waits for, in that case.
	Records, Awaited uint64
}

// Keep copies what is new. It is what a keeper of checkpoints does.
func (a *Archive) Keep(ctx context.Context, dir string) error {
	_, err := a.Copy(ctx, dir)
	return err
}

// Copy copies what the archive does not have of the trail in dir. The checkpoint goes
// last: it never covers what is not there. An archive that knows more of this trail, or
// another past of it, is left alone, and the error is witness.ErrAhead or ErrForked: the
// trail was rolled back or changed. What was copied before an error stays.
func (a *Archive) Copy(ctx context.Context, dir string) (Stats, error) {
	s, err := a.copy(ctx, dir)
	if err != nil {
		a.there = nil // whatever went wrong: ask again
		return s, fmt.Errorf("archive the trail %s: %w", dir, err)
	}
	return s, nil
}

func (a *Archive) copy(ctx context.Context, dir string) (Stats, error) {
	var s Stats
	if a.there == nil {
		if err := a.list(ctx); err != nil {
			return s, err
		}
	}
	signed, err := a.signed(ctx, dir)
	if err != nil || signed.Raw == nil {
		return s, err
	}
	names, err := files(dir)
	if err != nil {
		return s, err
	}
	for _, name := range names {
		if err := a.file(ctx, dir, name, &s); err != nil {
			return s, err
		}
	}
	sealed, err := a.sealed()
	if err != nil {
		return s, err
	}
	if sealed < signed.Size {
		// A segment has its record before its name: it comes with the next run, or it is gone.
		before := a.awaited
		a.awaited, s.Awaited = signed.Size, signed.Size-sealed
		if before > sealed {
			return s, fmt.Errorf("the ledger has %d segments, and neither the trail nor the archive has more than the first %d", signed.Size, sealed)
		}
		return s, nil
	}
	a.awaited = 0
	if err := a.putText(ctx, checkpoint, signed.Raw); err != nil {
		return s, err
	}
	s.Records = signed.Size
	return s, nil
}

func (a *Archive) list(ctx context.Context) error {
	there := map[string]bool{}
	if err := a.store.List(ctx, func(name string) error {
		there[name] = true
		return nil
	}); err != nil {
		return fmt.Errorf("list what is there: %w", err)
	}
	a.there = there
	return nil
}

// signed gives the trail's checkpoint, if it has one and it grew out of the archive's.
func (a *Archive) signed(ctx context.Context, dir string) (proof.Checkpoint, error) {
	text, err := os.ReadFile(proof.VerifierPath(dir))
	if err != nil {
		return proof.Checkpoint{}, fmt.Errorf("the public key: %w", err)
	}
	key, err := proof.ParseVerifier(string(text))
	if err != nil {
		return proof.Checkpoint{}, err //nolint:wrapcheck // it says what it was doing
	}
	ledger := proof.NewFiles(os.DirFS(proof.LedgerPath(dir)))
	raw, err := ledger.Checkpoint()
	if errors.Is(err, fs.ErrNotExist) {
		return proof.Checkpoint{}, nil // nothing was sealed yet
	}
	if err != nil {
		return proof.Checkpoint{}, fmt.Errorf("the trail's checkpoint: %w", err)
	}
	now, err := proof.ParseCheckpoint(raw, key)
	if err != nil {
		return proof.Checkpoint{}, fmt.Errorf("the trail's checkpoint: %w", err)
	}
	before, err := a.store.Get(ctx, checkpoint, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return now, nil
	}
	if err != nil {
		return proof.Checkpoint{}, fmt.Errorf("the archive's checkpoint: %w", err)
	}
	old, err := proof.ParseCheckpoint(before, key)
	if err != nil {
		return proof.Checkpoint{}, fmt.Errorf("the archive's checkpoint, which is another trail's if it is not damaged: %w", err)
	}
	if old.Size > now.Size {
		return proof.Checkpoint{}, fmt.Errorf("%w: the trail has %d records, the archive %d", witness.ErrAhead, now.Size, old.Size)
	}
	if err := ledger.Extends(ctx, old, now); err != nil {
		return proof.Checkpoint{}, fmt.Errorf("%w: %w", witness.ErrForked, err)
	}
	return now, nil
}

// files lists what is copied, segments first. The ledger's checkpoint is not among them.
func files(dir string) ([]string, error) {
	var out []string
	sealed, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(sealedFolder)))
	if err != nil {
		return nil, fmt.Errorf("the sealed segments: %w", err)
	}
	for _, e := range sealed {
		if e.Type().IsRegular() && sealedName.MatchString(e.Name()) {
			out = append(out, path.Join(sealedFolder, e.Name()))
		}
	}
	out = append(out, publicKey)
	ledger := os.DirFS(dir)
	err = fs.WalkDir(ledger, ledgerFolder, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), "."): // the writer's own state
			return fs.SkipDir
		case e.Type().IsRegular() && name != checkpoint && !temporary(e.Name()):
			out = append(out, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the ledger: %w", err)
	}
	return out, nil
}

// temporary reports whether a file of the ledger is one that is being written.
func temporary(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, ".new") || strings.Contains(name, ".temp") || strings.Contains(name, ".tmp")
}

// file copies a file that the archive does not have.
func (a *Archive) file(ctx context.Context, dir, name string, s *Stats) error {
	if a.there[name] {
		return nil
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name))) //nolint:gosec // a file that was listed there
	if errors.Is(err, fs.ErrNotExist) && name != publicKey {
		return nil // a part of a tile that is whole by now
	}
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	defer f.Close() //nolint:errcheck // only read
	digest := sha256.New()
	size, err := io.Copy(digest, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := a.store.Put(ctx, name, f, size, Sum(digest.Sum(nil))); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	a.there[name] = true
	s.Files++
	s.Bytes += size
	if strings.HasPrefix(name, sealedFolder+"/") {
		s.Segments++
	}
	return nil
}

// putText puts a small object, unless it is there as it is.
func (a *Archive) putText(ctx context.Context, name string, text []byte) error {
	if before, err := a.store.Get(ctx, name, maxCheckpoint); err == nil && string(before) == string(text) {
		return nil
	}
	if err := a.store.Put(ctx, name, strings.NewReader(string(text)), int64(len(text)), sha256.Sum256(text)); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	a.there[name] = true
	return nil
}

// sealed counts the archive's segments, and is an error where one in between is missing.
func (a *Archive) sealed() (uint64, error) {
	var names []string
	for name := range a.there {
		if rest, ok := strings.CutPrefix(name, sealedFolder+"/"); ok && sealedName.MatchString(rest) {
			names = append(names, rest)
		}
	}
	slices.Sort(names) // the numbers in them have one width
	next := uint64(1)
	for _, name := range names {
		first, last, err := span(name)
		if err != nil || first != next || last < first {
			return 0, fmt.Errorf("neither the trail nor the archive has a segment that begins with event %d, and there is %s: it was taken away before it was archived", next, name)
		}
		next = last + 1
	}
	return uint64(len(names)), nil
}

// span reads the first and the last number of a segment's name.
func span(name string) (first, last uint64, err error) {
	from, rest, _ := strings.Cut(name, "-")
	if first, err = strconv.ParseUint(from, 10, 64); err == nil {
		last, err = strconv.ParseUint(strings.TrimSuffix(rest, ".parquet"), 10, 64)
	}
	return first, last, err
}

// Difference is an object that is not what the trail's file is.
type Difference struct {
	Name string
	// Why says in which way.
	Why string
}

// Check compares the content of every file of the trail with what the archive has, which
// reads all of the trail. It changes nothing.
func (a *Archive) Check(ctx context.Context, dir string) (compared int, differ []Difference, err error) {
	if err := a.list(ctx); err != nil {
		return 0, nil, fmt.Errorf("check the archive of %s: %w", dir, err)
	}
	names, err := files(dir)
	if err != nil {
		return 0, nil, fmt.Errorf("check the archive of %s: %w", dir, err)
	}
	for _, name := range names {
		why, err := a.compare(ctx, dir, name)
		if err != nil {
			return compared, differ, fmt.Errorf("check the archive of %s: %w", dir, err)
		}
		compared++
		if why != "" {
			differ = append(differ, Difference{name, why})
		}
	}
	return compared, differ, nil
}

func (a *Archive) compare(ctx context.Context, dir, name string) (string, error) {
	if !a.there[name] {
		return "the archive does not have it", nil
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name))) //nolint:gosec // a file that was listed there
	if err != nil {
		return "", err //nolint:wrapcheck // it names the file
	}
	defer f.Close() //nolint:errcheck // only read
	digest := sha256.New()
	if _, err := io.Copy(digest, f); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	sum, err := a.store.Sum(ctx, name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if sum != Sum(digest.Sum(nil)) {
		return "the archive has another content: retention wrote the trail's anew, or somebody changed one of the two", nil
	}
	return "", nil
}
