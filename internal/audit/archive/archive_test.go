package archive_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/archive"
	"bulwark.dev/bulwark/internal/audit/archive/archivetest"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/proof/witness"
	"bulwark.dev/bulwark/internal/audit/verify"
)

// names lists the files under a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	if err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t *testing.T, dir string) (*archive.Archive, *archive.Folder) {
	t.Helper()
	store, err := archive.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return archive.New(store), store
}

// verified verifies a folder with a trail's own public key.
func verified(t *testing.T, dir, trail string) verify.Report {
	t.Helper()
	key, err := os.ReadFile(proof.VerifierPath(trail))
	if err != nil {
		t.Fatal(err)
	}
	report, err := verify.Verify(t.Context(), verify.Options{Dir: dir, Key: string(key)})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestACopyVerifiesAndGrows(t *testing.T) {
	trail, to := archivetest.Trail(t), t.TempDir()
	a, _ := open(t, to)
	trail.Seal(t, 3, 2)
	s, err := a.Copy(t.Context(), trail.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Segments != 2 || s.Records != 2 {
		t.Errorf("first run: %+v", s)
	}
	if r := verified(t, to, trail.Dir); !r.OK() {
		t.Errorf("the copy does not verify: %+v", r)
	}
	if s, err = a.Copy(t.Context(), trail.Dir); err != nil || s.Files != 0 || s.Records != 2 {
		t.Errorf("nothing is new: %+v, %v", s, err)
	}
	// Another process, that knows nothing of what was copied.
	a, _ = open(t, to)
	trail.Seal(t, 4)
	if s, err = a.Copy(t.Context(), trail.Dir); err != nil || s.Segments != 1 || s.Records != 3 {
		t.Errorf("one segment is new: %+v, %v", s, err)
	}
	if r := verified(t, to, trail.Dir); !r.OK() {
		t.Errorf("the copy does not verify: %+v", r)
	}
	compared, differ, err := a.Check(t.Context(), trail.Dir)
	if err != nil || len(differ) > 0 || compared < 5 {
		t.Errorf("%d compared, %v differ, %v", compared, differ, err)
	}
	for _, name := range names(t, to) {
		for _, secret := range []string{"log.key", "openings", ".wal", "LOCK", ".state", ".part-"} {
			if strings.Contains(name, secret) {
				t.Errorf("%s is in the archive", name)
			}
		}
	}
}

func TestNothingIsReplaced(t *testing.T) {
	trail, to := archivetest.Trail(t), t.TempDir()
	a, _ := open(t, to)
	trail.Seal(t, 3)
	if _, err := a.Copy(t.Context(), trail.Dir); err != nil {
		t.Fatal(err)
	}
	name := trail.Segments(t)[0]
	before, err := os.ReadFile(filepath.Join(to, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(trail.Dir, name), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ = open(t, to)
	if _, err := a.Copy(t.Context(), trail.Dir); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(to, name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("what was done to the trail reached its archive: %s", diff)
	}
	_, differ, err := a.Check(t.Context(), trail.Dir)
	if err != nil || len(differ) != 1 || differ[0].Name != name {
		t.Errorf("check: %v, %v; want %s", differ, err, name)
	}
	// A segment that the trail has lost is there, and does not hold up what follows.
	if err := os.Remove(filepath.Join(trail.Dir, name)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Copy(t.Context(), trail.Dir); err != nil {
		t.Error(err)
	}
}

func TestATrailThatWentBackIsRefused(t *testing.T) {
	trail, to := archivetest.Trail(t), t.TempDir()
	trail.Seal(t, 2)
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(trail.Dir)); err != nil {
		t.Fatal(err)
	}
	trail.Seal(t, 2)
	a, _ := open(t, to)
	if _, err := a.Copy(t.Context(), trail.Dir); err != nil {
		t.Fatal(err)
	}
	before := names(t, to)
	for name, dir := range map[string]string{"rolled back": old, "another trail": archivetest.Sealed(t, 5).Dir} {
		for range 2 {
			_, err := a.Copy(t.Context(), dir)
			if err == nil || name == "rolled back" && !errors.Is(err, witness.ErrAhead) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if diff := cmp.Diff(before, names(t, to)); diff != "" {
		t.Errorf("the archive changed: %s", diff)
	}
	if r := verified(t, to, trail.Dir); !r.OK() {
		t.Errorf("the archive does not verify any more: %+v", r)
	}
}

// A segment that was taken away before it was archived is told, at whatever place it was,
// and the checkpoint does not cover it.
func TestASegmentThatIsGone(t *testing.T) {
	for n := range 3 {
		trail, to := archivetest.Sealed(t, 2, 1, 3), t.TempDir()
		if err := os.Remove(filepath.Join(trail.Dir, trail.Segments(t)[n])); err != nil {
			t.Fatal(err)
		}
		a, _ := open(t, to)
		s, err := a.Copy(t.Context(), trail.Dir)
		if last := n == 2; last != (err == nil) || last != (s.Awaited == 1) {
			t.Errorf("segment %d, first run: %+v, %v", n+1, s, err)
		}
		if s, err = a.Copy(t.Context(), trail.Dir); err == nil || s.Records != 0 {
			t.Errorf("segment %d, second run: %+v, %v", n+1, s, err)
		}
		if n == 2 { // more behind it does not hide it
			trail.Seal(t, 1)
			if s, err = a.Copy(t.Context(), trail.Dir); err == nil || s.Records != 0 {
				t.Errorf("segment %d, with another behind it: %+v, %v", n+1, s, err)
			}
		}
		if slices.Contains(names(t, to), "tlog/checkpoint") {
			t.Errorf("segment %d: the archive has a checkpoint", n+1)
		}
	}
}

// broken fails at the nth change, before or after it is done.
type broken struct {
	archive.Store
	left  int
	after bool
}

var errBroken = errors.New("the network is gone")

func (b *broken) Put(ctx context.Context, name string, content io.Reader, size int64, sum archive.Sum) error {
	b.left--
	if b.left == 0 && !b.after {
		return errBroken
	}
	err := b.Store.Put(ctx, name, content, size, sum)
	if b.left == 0 {
		err = errBroken
	}
	return err
}

// At whatever point a run ends, the archive verifies, and the next run completes it.
func TestARunThatEndsAnywhere(t *testing.T) {
	trail := archivetest.Sealed(t, 2, 1, 3)
	ran := 0
	for n := 1; n < 50; n++ {
		for _, after := range []bool{false, true} {
			to := t.TempDir()
			_, store := open(t, to)
			b := &broken{Store: store, left: n, after: after}
			_, err := archive.New(b).Copy(t.Context(), trail.Dir)
			if b.left > 0 {
				if ran < 10 || err != nil {
					t.Fatalf("%d runs were broken: %v", ran, err)
				}
				return
			}
			ran++
			if !errors.Is(err, errBroken) {
				t.Fatalf("change %d: %v", n, err)
			}
			if slices.Contains(names(t, to), "tlog/checkpoint") {
				if r := verified(t, to, trail.Dir); !r.OK() {
					t.Errorf("broken at change %d: %+v", n, r)
				}
			}
			if s, err := archive.New(store).Copy(t.Context(), trail.Dir); err != nil || s.Records != 3 {
				t.Errorf("after change %d: %+v, %v", n, s, err)
			}
			if r := verified(t, to, trail.Dir); !r.OK() {
				t.Errorf("completed after change %d: %+v", n, r)
			}
		}
	}
	t.Fatal("it never ended")
}

func TestAFolderThatIsNotThere(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "mount")
	if _, err := archive.OpenFolder(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	a, _ := open(t, t.TempDir())
	if _, err := a.Copy(t.Context(), missing); err == nil {
		t.Error("a trail that is not there was archived")
	}
}
