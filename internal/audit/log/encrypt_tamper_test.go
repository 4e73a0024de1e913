package log

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// encryptedFile is smallFile of an encrypted log.
func encryptedFile(tb testing.TB, keys vault.Keys) (dir, path string, content []byte, ends []int) {
	tb.Helper()
	cfg := testConfig(tb)
	cfg.Keys = keys
	l := mustOpen(tb, cfg)
	path = filepath.Join(cfg.Dir, activeName(1))
	for _, n := range []int{1, 3, 2} {
		mustAppend(tb, l, entries("e", n))
		info, err := os.Stat(path)
		if err != nil {
			tb.Fatal(err)
		}
		ends = append(ends, int(info.Size()))
	}
	mustClose(tb, l)
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return cfg.Dir, path, content, ends
}

// mend makes the checksums of a write-ahead file right again.
func mend(b []byte, ends []int) {
	h := head{id: [idSize]byte(b[offID:])}
	seed := h.seed()
	binary.LittleEndian.PutUint32(b[offHeadCRC:], checksum(0, b[:offHeadCRC]))
	binary.LittleEndian.PutUint32(b[offLockCRC:], checksum(seed, b[offLock:offLockCRC]))
	start := lockedHead
	for _, end := range ends {
		f := b[start:end]
		copy(f, frameMagic)
		binary.LittleEndian.PutUint32(f[20:], checksum(seed, f[:20]))
		binary.LittleEndian.PutUint32(f[len(f)-8:], checksum(seed, f[:len(f)-8]))
		start = end
	}
}

// TestMended: whoever changes an encrypted file and makes its checksums right meets the
// cipher: no bit of a head or a frame can change. What is left to do is to cut the end
// off, as with a file that is not encrypted: by the length of the last frame, too.
func TestMended(t *testing.T) {
	t.Parallel()
	_, path, content, ends := encryptedFile(t, someKeys())
	ran, cuts := 0, 0
	for at := range content {
		if at >= offHeadCRC && at < offHeadCRC+4 || at >= offKeyBox && at < fileHead || at >= offLockCRC && at < lockedHead {
			continue // mended, or of the openings, whose key has a tag of its own
		}
		changed := slices.Clone(content)
		changed[at] ^= 1 << (at % 8)
		mend(changed, ends)
		if slices.Equal(changed, content) {
			continue
		}
		if err := os.WriteFile(path, changed, fileMode); err != nil {
			t.Fatal(err)
		}
		s, err := scan(active{first: 1, path: path}, 0, someKeys())
		var damage *DamageError
		if inLength := at >= ends[1]+4 && at < ends[1]+8; inLength && err == nil && s.torn && s.last == 4 {
			cuts++
			continue
		}
		if !errors.As(errors.Join(err, asError(s.damage)), &damage) && !errors.Is(err, vault.ErrNoKey) {
			t.Fatalf("byte %d: events to %d, torn %v: %v", at, s.last, s.torn, err)
		}
		ran++
	}
	if ran < len(content)/2 || cuts == 0 {
		t.Errorf("only %d of %d, %d cuts", ran, len(content), cuts)
	}
}

func asError(d *DamageError) error {
	if d == nil {
		return nil
	}
	return d
}

// TestFramesMoved: a frame of another file, or of another place, is damage, although its
// checksums are right.
func TestFramesMoved(t *testing.T) {
	t.Parallel()
	_, path, content, ends := encryptedFile(t, someKeys())
	_, _, twin, twinEnds := encryptedFile(t, someKeys())
	if !slices.Equal(ends, twinEnds) {
		t.Fatal("the twin has another form")
	}
	plain := beginFrame(nil)
	chain := hash{}
	copy(chain[:], content[offChain:])
	for _, entry := range entries("forged", 1) {
		var leaf hash
		plain, leaf = appendRecord(plain, entry.Event)
		chain = link(&chain, &leaf)
	}
	h := head{id: [idSize]byte(content[offID:])}
	plain = endFrame(plain, h.seed(), 1, 1, &chain)
	for name, build := range map[string]func() ([]byte, []int){
		"a frame of the twin": func() ([]byte, []int) {
			return slices.Concat(content[:ends[0]], twin[ends[0]:ends[1]], content[ends[1]:]), ends
		},
		"all frames of the twin": func() ([]byte, []int) { return slices.Concat(content[:lockedHead], twin[lockedHead:]), ends },
		"the head of the twin":   func() ([]byte, []int) { return slices.Concat(twin[:lockedHead], content[lockedHead:]), ends },
		"the lock of the twin": func() ([]byte, []int) {
			return slices.Concat(content[:offLock], twin[offLock:lockedHead], content[lockedHead:]), ends
		},
		"a plain frame": func() ([]byte, []int) { return slices.Concat(content[:lockedHead], plain), nil },
		"as if it were plain": func() ([]byte, []int) {
			b := slices.Concat(content[:fileHead], plain)
			binary.LittleEndian.PutUint32(b[offVersion:], fileVersion)
			return b, nil
		},
	} {
		b, at := build()
		b = slices.Clone(b)
		if name == "as if it were plain" {
			// That is a plain file, and what one is believed in a plain log it is believed here:
			// only the ledger says that nobody wrote it anew.
			binary.LittleEndian.PutUint32(b[offHeadCRC:], checksum(0, b[:offHeadCRC]))
		} else {
			mend(b, at)
		}
		if err := os.WriteFile(path, b, fileMode); err != nil {
			t.Fatal(err)
		}
		s, err := scan(active{first: 1, path: path}, 0, someKeys())
		believed := name == "as if it were plain"
		refused := s.damage != nil || s.torn && s.last == 0
		if err != nil || believed == refused {
			t.Errorf("%s: events to %d: %v, %v", name, s.last, s.damage, err)
		}
	}
}

// TestSegmentsSwapped: an encrypted segment under another's name is told before anything
// is read of it.
func TestSegmentsSwapped(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	growLog(t, cfg, someKeys(), "a", true)
	growLog(t, cfg, someKeys(), "b", true)
	segments, err := listSpans(filepath.Join(cfg.Dir, sealedName), sealedSuffix)
	if err != nil || len(segments) != 2 {
		t.Fatal(segments, err)
	}
	if err := os.Rename(segments[0].Path, segments[1].Path); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenSealed(segments[1], someKeys()); !errors.Is(err, vault.ErrDamaged) || !strings.Contains(err.Error(), segments[1].Path) {
		t.Errorf("%v, %v", f, err)
	}
	// Nor is a write-ahead file taken for a segment, or the other way round.
	_, path, content, _ := encryptedFile(t, someKeys())
	sealed, err := os.ReadFile(segments[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, sealed, fileMode); err != nil {
		t.Fatal(err)
	}
	if s, err := scan(active{first: 1, path: path}, 0, someKeys()); err != nil || s.damage == nil {
		t.Errorf("a segment as a write-ahead file: %v", err)
	}
	if err := os.WriteFile(segments[1].Path, content, fileMode); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenSealed(segments[1], someKeys()); err != nil || f.Encrypted {
		t.Errorf("a write-ahead file as a segment is no encrypted one: %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzEncryptedReader: whatever an encrypted write-ahead file holds, reading it ends, and
// gives no more than was written.
func FuzzEncryptedReader(f *testing.F) {
	_, _, content, ends := encryptedFile(f, someKeys())
	f.Add(content)
	f.Add(content[:ends[1]])
	f.Add(content[:ends[1]+40])
	f.Add(content[:lockedHead])
	f.Add(content[:fileHead+3])
	f.Add(append(slices.Clone(content), make([]byte, 600)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, mended := range []bool{false, true} {
			if mended && len(data) >= ends[2] {
				data = slices.Clone(data[:ends[2]])
				mend(data, ends)
			}
			fuzzFileWith(t, data, someKeys())
		}
	})
}

// BenchmarkFrame is what completing a frame of 400 events costs, plain and encrypted.
func BenchmarkFrame(b *testing.B) {
	for name, keys := range map[string]vault.Keys{"plain": {}, "encrypted": someKeys()} {
		b.Run(name, func(b *testing.B) {
			h := head{first: 1}
			c, err := h.encrypt(keys, strings.NewReader(strings.Repeat("salt", 8)))
			if err != nil {
				b.Fatal(err)
			}
			var records []byte
			for _, entry := range typical(400) {
				records, _ = appendRecord(records, entry.Event)
			}
			buf := make([]byte, 0, 2*len(records))
			b.SetBytes(int64(len(records)))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				buf = append(beginFrame(buf[:0]), records...)
				if buf, err = c.endFrame(buf, 1, 1+uint64(i)*400, 400, &hash{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/400, "ns/event")
		})
	}
}
