package forward

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"bulwark.dev/bulwark/internal/audit/vault"
)

func frames(texts ...string) []byte {
	var b []byte
	for _, text := range texts {
		from := len(b)
		b = append(append(b, make([]byte, frameHead)...), text...)
		seal(b, from)
	}
	return b
}

func mustOpen(t *testing.T, dir string, most int64, keys ...vault.Key) *spool {
	t.Helper()
	given, err := vault.NewKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSpool(dir, most, given, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rest reads and acknowledges all that is in a spool.
func rest(t *testing.T, s *spool) (texts []string, damaged int64) {
	t.Helper()
	for {
		payloads, end, bad, err := s.read(100, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(payloads) == 0 && bad == 0 {
			return texts, damaged
		}
		for _, p := range payloads {
			texts = append(texts, string(p))
		}
		damaged += bad
		if err := s.commit(end); err != nil {
			t.Fatal(err)
		}
	}
}

// A process may end at any byte of a write, and of the position: what was written whole
// before is there.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	everyByte(t, 0, 0)
}

func TestEveryByteEncrypted(t *testing.T) {
	t.Parallel()
	everyByte(t, partHead, vault.Overhead, newKey(t))
}

func everyByte(t *testing.T, head, overhead int, keys ...vault.Key) {
	t.Helper()
	base := t.TempDir()
	s := mustOpen(t, base, leastSpool, keys...)
	var want []string
	for i := range 6 {
		text := fmt.Sprintf("event %d", i)
		want = append(want, text)
		if _, err := s.append(frames(text)); err != nil {
			t.Fatal(err)
		}
	}
	_, end, _, err := s.read(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.commit(end); err != nil { // the first two are acknowledged
		t.Fatal(err)
	}
	name := filepath.Base(s.path(1))
	whole, err := os.ReadFile(s.path(1))
	if err != nil {
		t.Fatal(err)
	}
	place, err := os.ReadFile(filepath.Join(base, positionName))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(false); err != nil {
		t.Fatal(err)
	}
	each := len(frames(want[0])) + overhead
	if len(whole) != head+6*each {
		t.Fatalf("%d bytes, with a head of %d and frames of %d", len(whole), head, each)
	}
	for cut := head + 2*each; cut <= len(whole); cut++ {
		dir := t.TempDir()
		put(t, filepath.Join(dir, name), string(whole[:cut]))
		put(t, filepath.Join(dir, positionName), string(place))
		put(t, filepath.Join(dir, runningName), "")
		again := mustOpen(t, dir, leastSpool, keys...)
		if _, err := again.append(frames("new")); err != nil {
			t.Fatal(err)
		}
		got, damaged := rest(t, again)
		expect := append(append([]string(nil), want[2:(cut-head)/each]...), "new")
		if fmt.Sprint(got) != fmt.Sprint(expect) || damaged != int64((cut-head)%each) || !again.interrupted {
			t.Fatalf("cut at %d: %q, %d bytes damaged; want %q", cut, got, damaged, expect)
		}
		if err := again.close(true); err != nil {
			t.Fatal(err)
		}
	}
	// A byte of the position that is another, or is missing, may only bring events again.
	for i := range 2 * len(place) {
		dir, bad := t.TempDir(), bytes.Clone(place)
		if i < len(place) {
			bad[i] ^= 0x41
		} else {
			bad = bad[:i-len(place)]
		}
		put(t, filepath.Join(dir, name), string(whole))
		put(t, filepath.Join(dir, positionName), string(bad))
		again := mustOpen(t, dir, leastSpool, keys...)
		got, damaged := rest(t, again)
		if len(got) < 4 || fmt.Sprint(got) != fmt.Sprint(want[6-len(got):]) || damaged > 0 {
			t.Fatalf("position %d: %q", i, got)
		}
		if err := again.close(true); err != nil {
			t.Fatal(err)
		}
	}
}

// A flipped bit costs the rest of its part, which is told, and nothing of other parts.
func TestDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir, leastSpool)
	for part := range 3 {
		if _, err := s.append(frames(fmt.Sprint("a", part), fmt.Sprint("b", part), fmt.Sprint("c", part))); err != nil {
			t.Fatal(err)
		}
		if err := s.rotate(); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(s.path(2))
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	put(t, s.path(2), string(text))
	if err := os.Remove(s.path(3)); err != nil {
		t.Fatal(err)
	}
	got, damaged := rest(t, s)
	if fmt.Sprint(got) != "[a0 b0 c0 a1]" || damaged != int64(len(text)*2-len(text)/3) {
		t.Errorf("%q, %d bytes damaged", got, damaged)
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
}

// Parts come and go; what is in the folder stays bounded, and nothing is left of what
// was acknowledged.
func TestParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, dir, leastSpool)
	text := string(bytes.Repeat([]byte("x"), 1000))
	full := 0
	for round := range 4 {
		for {
			kept, err := s.append(frames(text, text, text))
			if err != nil {
				if err != errFull || kept%(len(text)+frameHead) != 0 { //nolint:errorlint // it is that error
					t.Fatal(kept, err)
				}
				full++
				break
			}
		}
		if used := size(t, dir); used > leastSpool+100 || used < leastSpool-2000 {
			t.Errorf("round %d: %d bytes", round, used)
		}
		got, _ := rest(t, s)
		if len(got) < 400 || s.unread() != 0 {
			t.Errorf("round %d: %d events, %d bytes unread", round, len(got), s.unread())
		}
	}
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, dir, leastSpool)
	if got, damaged := rest(t, again); len(got) > 0 || damaged > 0 || full != 4 || again.interrupted {
		t.Errorf("%d events, %d bytes damaged, %d times full", len(got), damaged, full)
	}
	if err := again.close(true); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*"+partSuffix)); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// FuzzFrames: whatever is on the disk, reading ends, gives only what has its checksum,
// and says how far it came.
func FuzzFrames(f *testing.F) {
	f.Add(frames("a", "bc"), 100)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0}, 1)
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, 1}, 7)
	f.Fuzz(func(t *testing.T, b []byte, most int) {
		payloads, n := take(b, most, 1000)
		if n < 0 || n > len(b) || (n == 0) != (len(payloads) == 0) {
			t.Fatalf("%d payloads in %d of %d bytes", len(payloads), n, len(b))
		}
		var texts []string
		for _, p := range payloads {
			texts = append(texts, string(p))
		}
		if !bytes.Equal(frames(texts...), b[:n]) {
			t.Fatal("what was read is not what is there")
		}
	})
}

// FuzzPosition: a position is one that was written, or the beginning.
func FuzzPosition(f *testing.F) {
	f.Add(appendPosition(appendPosition(nil, position{3, 4}, 7), position{3, 9}, 8))
	f.Add(make([]byte, 2*slotSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, turn := parsePosition(b)
		if turn == 0 && p == (position{}) {
			return
		}
		if !bytes.Contains(b, appendPosition(nil, p, turn)) {
			t.Fatalf("%+v at turn %d was never written", p, turn)
		}
	})
}
