package forward

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit/vault"
)

func newKey(tb testing.TB) vault.Key {
	tb.Helper()
	k, err := vault.NewKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func keyFile(t *testing.T, k vault.Key) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spool.key")
	if err := os.WriteFile(path, k.File(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lockedPart is a part that was written with a key, and what is in it.
func lockedPart(t *testing.T, k vault.Key, texts ...string) []byte {
	t.Helper()
	s := mustOpen(t, t.TempDir(), leastSpool, k)
	if _, err := s.append(frames(texts...)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.path(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
	return b
}

// No bit of an encrypted part can change: what is read is what was written, up to there,
// and the rest is told of as damaged. Whatever is in its head, it is not taken for plain.
func TestEveryBitOfLocked(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	texts := []string{"alice did this", "and that", "in the end"}
	whole := lockedPart(t, k, texts...)
	for _, text := range texts {
		if bytes.Contains(whole, []byte(text)) {
			t.Fatalf("the part has %q", text)
		}
	}
	dir, ran := t.TempDir(), 0
	s := mustOpen(t, dir, leastSpool, k)
	for i := range whole {
		for bit := range 8 {
			changed := bytes.Clone(whole)
			changed[i] ^= 1 << bit
			put(t, s.path(1), string(changed))
			p := part{number: 1, size: int64(len(changed))}
			err := s.unlock(&p)
			if err != nil { // its checksum is wrong, so no key may be asked for
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
			s.parts, s.total, s.at = []part{p}, p.size, position{}
			got, damaged := rest(t, s)
			want := max(0, (i-partHead)*len(texts)/(len(whole)-partHead))
			if len(got) > want+1 || fmt.Sprint(got) != fmt.Sprint(texts[:len(got)]) || damaged == 0 {
				t.Fatalf("byte %d, bit %d: %q, %d bytes damaged", i, bit, got, damaged)
			}
			ran++
		}
	}
	if ran < 8*partHead {
		t.Errorf("only %d", ran)
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
}

// Frames have their place in their part, and a part its number.
func TestLockedMoved(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	whole, twin := lockedPart(t, k, "a", "b", "c"), lockedPart(t, k, "a", "b", "c")
	const each = frameHead + 1 + vault.Overhead
	frame := func(b []byte, i int) []byte { return b[partHead+i*each : partHead+(i+1)*each] }
	head, c := whole[:partHead], [][]byte{frame(whole, 0), frame(whole, 1), frame(whole, 2)}
	for name, tt := range map[string]struct {
		part []byte
		as   uint64
		want string
	}{
		"as it is":         {whole, 1, "[a b c]"},
		"as another part":  {whole, 2, "[]"},
		"swapped":          {bytes.Join([][]byte{head, c[1], c[0], c[2]}, nil), 1, "[]"},
		"left out":         {bytes.Join([][]byte{head, c[0], c[2]}, nil), 1, "[a]"},
		"doubled":          {bytes.Join([][]byte{head, c[0], c[0], c[2]}, nil), 1, "[a]"},
		"of another file":  {bytes.Join([][]byte{head, c[0], frame(twin, 1), c[2]}, nil), 1, "[a]"},
		"another's head":   {bytes.Join([][]byte{twin[:partHead], c[0], c[1], c[2]}, nil), 1, "[]"},
		"a plain frame":    {bytes.Join([][]byte{head, c[0], frames("forged")}, nil), 1, "[a]"},
		"an empty payload": {sealFrame(bytes.Clone(head), nil, mustCipher(t, k, head), partHead), 1, "[]"},
	} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, fmt.Sprintf("%020d%s", tt.as, partSuffix)), string(tt.part))
		s := mustOpen(t, dir, leastSpool, k)
		got, damaged := rest(t, s)
		if fmt.Sprint(got) != tt.want || (damaged == 0) != (name == "as it is") || s.plain > 0 {
			t.Errorf("%s: %q, %d bytes damaged", name, got, damaged)
		}
		if err := s.close(true); err != nil {
			t.Fatal(err)
		}
	}
}

// Which keys a spool needs, and what becomes of one that was plain.
func TestLockedKeys(t *testing.T) {
	t.Parallel()
	old, young := newKey(t), newKey(t)
	dir := t.TempDir()
	write := func(text string, keys ...vault.Key) {
		t.Helper()
		s := mustOpen(t, dir, leastSpool, keys...)
		if kept, err := s.append(frames(text)); err != nil || kept == 0 {
			t.Fatal(kept, err)
		}
		if err := s.close(true); err != nil {
			t.Fatal(err)
		}
	}
	write("plain")
	write("old", old)
	write("young", young, old)
	for name, keys := range map[string][]vault.Key{"none": nil, "another": {newKey(t)}, "one of two": {young}} {
		given, err := vault.NewKeys(keys...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = openSpool(dir, leastSpool, given, rand.Reader)
		var missing *vault.MissingKeyError
		if !errors.As(err, &missing) || missing.ID != old.ID() || !strings.Contains(err.Error(), keyOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := mustOpen(t, dir, leastSpool, young, old)
	if s.plain != 1 {
		t.Errorf("%d plain parts", s.plain)
	}
	if got, damaged := rest(t, s); fmt.Sprint(got) != "[plain old young]" || damaged > 0 || s.unread() != 0 {
		t.Errorf("%q, %d bytes damaged", got, damaged)
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*"+partSuffix)); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
	// The old key is not needed any more, and after the last of it none is.
	for _, keys := range [][]vault.Key{{young}, nil} {
		s := mustOpen(t, dir, leastSpool, keys...)
		if err := s.close(true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(Config{Log: nil}); err == nil {
		t.Error("a sender of nothing")
	}
}

// After a write that failed, other events never come to be encrypted for the same place of
// the same file; and a disk that takes nothing for long does not get one empty file after
// the other.
func TestLockedWriteFails(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKey(t)
	s := mustOpen(t, dir, leastSpool, k)
	if _, err := s.append(frames("first")); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if s.out == nil {
			if err := s.begin(); err != nil {
				t.Fatal(err)
			}
		}
		file := s.out
		readOnly, err := os.Open(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		s.out = readOnly // takes neither a write nor a cut
		if kept, err := s.append(frames("lost")); err == nil || kept > 0 {
			t.Fatal(kept, err)
		}
		if s.out != nil {
			t.Fatal("it is written on")
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*"+partSuffix)); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := s.append(frames("then")); err != nil {
		t.Fatal(err)
	}
	if got, damaged := rest(t, s); fmt.Sprint(got) != "[first then]" || damaged > 0 {
		t.Errorf("%q, %d bytes damaged", got, damaged)
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
}

// An encrypted spool is bounded, its heads and tags included, and a head that was cut is
// no loss.
func TestLockedBounds(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKey(t)
	s := mustOpen(t, dir, leastSpool, k)
	text := strings.Repeat("x", 1000)
	written := 0
	for full := false; !full; {
		kept, err := s.append(frames(text, text, text))
		written += kept / (len(text) + frameHead)
		if full = errors.Is(err, errFull); err != nil && !full {
			t.Fatal(err)
		}
	}
	used := int64(0)
	for _, p := range s.parts {
		used += p.size
	}
	if onDisk := size(t, dir); used > leastSpool || onDisk > leastSpool+100 || s.unread() != used-int64(len(s.parts))*partHead {
		t.Errorf("%d bytes, %d on the disk, %d unread", used, onDisk, s.unread())
	}
	if got, damaged := rest(t, s); len(got) != written || damaged > 0 || s.unread() != 0 {
		t.Errorf("%d of %d events, %d unread", len(got), written, s.unread())
	}
	number := s.last
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
	whole := lockedPart(t, k, "a")
	for cut := range partHead + 1 {
		put(t, s.path(number+1), string(whole[:cut]))
		again := mustOpen(t, dir, leastSpool, k)
		if got, damaged := rest(t, again); len(got) > 0 || damaged > 0 && cut < partHead {
			t.Errorf("cut at %d: %q, %d", cut, got, damaged)
		}
		if err := again.close(true); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzLocked: whatever a part holds, reading ends and gives only what was written there.
func FuzzLocked(f *testing.F) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(200 - i)
	}
	k, err := vault.NewKey(bytes.NewReader(raw))
	if err != nil {
		f.Fatal(err)
	}
	keys, err := vault.NewKeys(k)
	if err != nil {
		f.Fatal(err)
	}
	lock, aead, err := keys.NewLock(bytes.NewReader(make([]byte, 32)), aboutPart(1))
	if err != nil {
		f.Fatal(err)
	}
	whole := sealFrame(append(append(aboutPart(1), lock[:]...), 0, 0, 0, 0), []byte("a"), aead, partHead)
	f.Add(whole, 100)
	f.Add(whole[:partHead], 1)
	f.Fuzz(func(t *testing.T, b []byte, most int) {
		p := part{number: 1, size: int64(len(b)), head: partHead, aead: aead}
		b = b[min(len(b), partHead):]
		payloads, n := p.take(b, partHead, most, 1000)
		if n < 0 || n > len(b) || (n == 0) != (len(payloads) == 0) || len(payloads) > 1 || len(payloads) == 1 && string(payloads[0]) != "a" {
			t.Fatalf("%q in %d of %d bytes", payloads, n, len(b))
		}
	})
}

func mustCipher(t *testing.T, k vault.Key, head []byte) cipher.AEAD {
	t.Helper()
	keys, err := vault.NewKeys(k)
	if err != nil {
		t.Fatal(err)
	}
	lock := vault.Lock(head[offLock:offCRC])
	aead, err := keys.Open("part", &lock, head[:offLock])
	if err != nil {
		t.Fatal(err)
	}
	return aead
}
