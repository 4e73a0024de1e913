package verify_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/vault"
	"bulwark.dev/bulwark/internal/audit/verify"
)

func newKeys(t *testing.T, n int) []vault.Key {
	t.Helper()
	var list []vault.Key
	for range n {
		k, err := vault.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, k)
	}
	return list
}

func keysOf(t *testing.T, list ...vault.Key) vault.Keys {
	t.Helper()
	keys, err := vault.NewKeys(list...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// mixedTrail has a plain segment, one of each of two keys, and unsealed events of the
// second.
func mixedTrail(t *testing.T) (dir, public string, first, second vault.Key) {
	t.Helper()
	dir = t.TempDir()
	list := newKeys(t, 2)
	first, second = list[0], list[1]
	next := 0
	for i, keys := range []vault.Keys{{}, keysOf(t, first), keysOf(t, second, first)} {
		w := openWriter(t, dir, "", func(c *log.Config) { c.Keys = keys })
		w.next = next
		w.seal(10)
		if i == 2 {
			w.append(4)
		}
		next = w.next
		public = w.ledger.Verifier()
		w.close()
	}
	return dir, public, first, second
}

func TestVerifyEncrypted(t *testing.T) {
	t.Parallel()
	dir, public, first, second := mixedTrail(t)
	both := keysOf(t, first, second)
	r := check(t, verify.Options{Dir: dir, Key: public, Keys: both})
	if !r.OK() || r.Events != 30 || r.Active != 4 || r.Last != 34 || len(r.Notes) > 0 {
		t.Errorf("%s", show(t, r))
	}
	// Without any of its keys nobody can look; that is no finding.
	for name, keys := range map[string]vault.Keys{"none": {}, "another": keysOf(t, newKeys(t, 1)...)} {
		_, err := verify.Verify(t.Context(), verify.Options{Dir: dir, Key: public, Keys: keys})
		if !errors.Is(err, vault.ErrNoKey) || !strings.Contains(err.Error(), first.ID().String()) || !strings.Contains(err.Error(), second.ID().String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// With one of them, what needs the other is named.
	r = check(t, verify.Options{Dir: dir, Key: public, Keys: keysOf(t, first)})
	if r.OK() || !strings.Contains(show(t, r), second.ID().String()) || strings.Contains(show(t, r), "key "+first.ID().String()) {
		t.Errorf("%s", show(t, r))
	}
	// The proofs are those of any trail, and need no key to be checked.
	for _, seq := range []uint64{1, 15, 30} {
		p, err := verify.Prove(t.Context(), dir, seq, both)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify.CheckProof(p, public); err != nil {
			t.Error(err)
		}
	}
	if _, err := verify.Prove(t.Context(), dir, 15, vault.Keys{}); !errors.Is(err, vault.ErrNoKey) {
		t.Errorf("proven without a key: %v", err)
	}
	// After a rotation the signed records are the same, and the old keys are not needed.
	before := records(t, dir)
	if done, err := log.Rotate(t.Context(), log.RotateConfig{Dir: filepath.Join(dir, "log"), Keys: keysOf(t, second, first), Random: rand.Reader}); err != nil || done.Encrypted != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	r = check(t, verify.Options{Dir: dir, Key: public, Keys: keysOf(t, second)})
	if !r.OK() || r.Events != 30 || r.Active != 4 {
		t.Errorf("%s", show(t, r))
	}
	if diff := cmp.Diff(before, records(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// records are the files of the transparency log.
func records(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	root := filepath.Join(dir, "tlog")
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		all[path] = string(read(t, path))
		return nil
	})
	if err != nil || len(all) == 0 {
		t.Fatal(len(all), err)
	}
	return all
}

// TestEncryptedTampering: what was done to encrypted files is a finding that names them,
// and never ends the verification of the others.
func TestEncryptedTampering(t *testing.T) {
	t.Parallel()
	sound, public, first, second := mixedTrail(t)
	keys := keysOf(t, second, first)
	name := func(from, to int) string { return filepath.Base(sealedPath(sound, from, to)) }
	flip := func(at int) func(dir string) {
		return func(dir string) {
			raw := bytes.Clone(read(t, sealedPath(dir, 11, 20)))
			raw[(at+len(raw))%len(raw)] ^= 4
			write(t, sealedPath(dir, 11, 20), raw)
		}
	}
	ran := 0
	for what, c := range map[string]struct {
		do    func(dir string)
		names string
	}{
		"a bit of the magic": {flip(3), name(11, 20)},
		"a bit of the salt":  {flip(60), name(11, 20)},
		"a bit of the id":    {flip(40), name(11, 20)},
		"a bit of the body":  {flip(300), name(11, 20)},
		"the last bit":       {flip(-1), name(11, 20)},
		"cut": {func(dir string) {
			raw := read(t, sealedPath(dir, 11, 20))
			write(t, sealedPath(dir, 11, 20), raw[:len(raw)-40])
		}, name(11, 20)},
		"two exchanged": {func(dir string) {
			a, b := read(t, sealedPath(dir, 11, 20)), read(t, sealedPath(dir, 21, 30))
			write(t, sealedPath(dir, 11, 20), b)
			write(t, sealedPath(dir, 21, 30), a)
		}, name(21, 30)},
		"a plain one of other events": {func(dir string) {
			write(t, sealedPath(dir, 11, 20), read(t, sealedPath(dir, 1, 10)))
		}, name(11, 20)},
		"a frame": {func(dir string) {
			path := filepath.Join(dir, "log", "active-00000000000000000031.wal")
			raw := read(t, path)
			raw[300] ^= 1
			write(t, path, raw)
		}, "active-00000000000000000031.wal"},
	} {
		dir := copyDir(t, sound)
		c.do(dir)
		r := check(t, verify.Options{Dir: dir, Key: public, Keys: keys})
		if r.OK() || !strings.Contains(show(t, r), c.names) || r.Segments == 0 {
			t.Errorf("%s:\n%s", what, show(t, r))
		}
		ran++
	}
	if ran != 9 {
		t.Errorf("%d changes", ran)
	}
}
