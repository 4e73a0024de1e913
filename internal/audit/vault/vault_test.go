package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func testKeys(tb testing.TB, n int) Keys {
	tb.Helper()
	var list []Key
	for range n {
		k, err := NewKey(rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, k)
	}
	keys, err := NewKeys(list...)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

var label = Label{Role: RoleSegment, First: 5, Last: 9}

const small = 32 // a chunk in tests

func encrypted(tb testing.TB, keys Keys, plain []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := newWriter(&out, keys, rand.Reader, label, small)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// decrypted opens a file and reads all of it.
func decrypted(file []byte, keys Keys, want Label) ([]byte, error) {
	return Decrypt(file, "a.file", keys, want)
}

func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/256)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 2)
	for n := range 4*small + 2 {
		plain := text(n)
		file := encrypted(t, keys, plain)
		got, err := decrypted(file, keys, label)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %d, %v", n, len(got), err)
		}
		if n >= small && bytes.Contains(file, plain[:small/2]) {
			t.Fatalf("%d bytes: the file has them", n)
		}
	}
	big := text(3*chunkSize + 17)
	file, err := Encrypt(big, keys, rand.Reader, label)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decrypted(file, keys, label); err != nil || !bytes.Equal(got, big) {
		t.Fatal(err)
	}
	// In pieces of any length.
	var out bytes.Buffer
	w, err := NewWriter(&out, keys, rand.Reader, label)
	if err != nil {
		t.Fatal(err)
	}
	for rest := big; len(rest) > 0; {
		n := min(len(rest), 1+len(rest)%4999)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("closed twice: there are two last chunks")
	}
	if got, err := decrypted(out.Bytes(), keys, label); err != nil || !bytes.Equal(got, big) {
		t.Fatal(err)
	}
}

// TestReadAt: any range is what it is in the text, also with many readers at once.
func TestReadAt(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 1)
	plain := text(7*small + 5)
	file := encrypted(t, keys, plain)
	r, err := Open(bytes.NewReader(file), int64(len(file)), "a.file", keys, label)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for part := range 4 {
		group.Go(func() {
			for from := part; from <= len(plain); from += 4 {
				for n := range len(plain) - from + 3 {
					p := make([]byte, n)
					got, err := r.ReadAt(p, int64(from))
					want := plain[from:min(from+n, len(plain))]
					if got != len(want) || !bytes.Equal(p[:got], want) || (err != nil) != (got < n) || err != nil && !errors.Is(err, io.EOF) {
						t.Errorf("%d at %d: %d, %v", n, from, got, err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset")
	}
}

// TestEveryBit: no bit of a file can change.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 2)
	file := encrypted(t, keys, text(2*small+9))
	ran := 0
	for at := range file {
		for bit := range 8 {
			changed := bytes.Clone(file)
			changed[at] ^= 1 << bit
			got, err := decrypted(changed, keys, label)
			if !errors.Is(err, ErrDamaged) || got != nil || !strings.Contains(err.Error(), "a.file") {
				t.Fatalf("byte %d, bit %d: %d bytes, %v", at, bit, len(got), err)
			}
			if at >= HeadSize && !strings.Contains(err.Error(), fmt.Sprintf("chunk %d of 3", (at-HeadSize)/(small+Overhead)+1)) {
				t.Fatalf("byte %d: %v", at, err)
			}
			// Who changes the head can also make its CRC right.
			if at < offCRC {
				binary.BigEndian.PutUint32(changed[offCRC:], crc32.Checksum(changed[:offCRC], castagnoli()))
				if got, err := decrypted(changed, keys, label); err == nil || got != nil {
					t.Fatalf("byte %d, bit %d, with its checksum: %d bytes", at, bit, len(got))
				}
			}
			ran++
		}
	}
	if ran < 8*HeadSize {
		t.Errorf("only %d", ran)
	}
}

// TestCut: a file that ends anywhere else, or has more, is damaged.
func TestCut(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 1)
	for _, size := range []int{0, 1, small - 1, small, small + 1, 3 * small, 3*small + 1} {
		file := encrypted(t, keys, text(size))
		for n := range len(file) {
			if got, err := decrypted(file[:n], keys, label); err == nil || got != nil {
				t.Fatalf("%d of %d bytes: read", n, len(file))
			}
		}
		for n := 1; n < 2*small; n++ {
			if _, err := decrypted(append(bytes.Clone(file), make([]byte, n)...), keys, label); err == nil {
				t.Fatalf("%d bytes more: read", n)
			}
		}
	}
}

// TestChunksMoved: chunks are in their place, in their file, or the file is damaged.
func TestChunksMoved(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 1)
	const whole = small + Overhead
	plain := bytes.Repeat([]byte{7}, 4*small) // all chunks the same
	file, twin := encrypted(t, keys, plain), encrypted(t, keys, plain)
	chunk := func(f []byte, i int) []byte { return f[HeadSize+i*whole : HeadSize+(i+1)*whole] }
	build := func(head []byte, chunks ...[]byte) []byte {
		return append(bytes.Clone(head[:HeadSize]), bytes.Join(chunks, nil)...)
	}
	c := [][]byte{chunk(file, 0), chunk(file, 1), chunk(file, 2), chunk(file, 3)}
	for name, changed := range map[string][]byte{
		"swapped":         build(file, c[1], c[0], c[2], c[3]),
		"doubled":         build(file, c[0], c[0], c[2], c[3]),
		"left out":        build(file, c[0], c[2], c[3]),
		"first left out":  build(file, c[1], c[2], c[3]),
		"last left out":   build(file, c[0], c[1], c[2]),
		"last first":      build(file, c[3]),
		"added":           build(file, c[0], c[1], c[2], c[3], c[3]),
		"of another file": build(file, c[0], chunk(twin, 1), c[2], c[3]),
		"another's head":  build(twin, c...),
		"only the head":   build(file),
		"everything else": build(file, chunk(twin, 0), chunk(twin, 1), chunk(twin, 2), chunk(twin, 3)),
	} {
		if got, err := decrypted(changed, keys, label); !errors.Is(err, ErrDamaged) || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := decrypted(build(file, c...), keys, label); err != nil || !bytes.Equal(got, plain) {
		t.Error(err)
	}
}

// TestSwapped: a file is not taken for another one.
func TestSwapped(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 1)
	file := encrypted(t, keys, text(50))
	for _, other := range []Label{{RoleState, 5, 9}, {RoleSegment, 5, 10}, {RoleSegment, 4, 9}, {}} {
		if _, err := decrypted(file, keys, other); !errors.Is(err, ErrDamaged) {
			t.Errorf("%v: %v", other, err)
		}
		// Its head says so, too, but then the lock is another's.
		changed := bytes.Clone(file)
		binary.BigEndian.PutUint32(changed[offRole:], uint32(other.Role))
		binary.BigEndian.PutUint64(changed[offFirst:], other.First)
		binary.BigEndian.PutUint64(changed[offLast:], other.Last)
		binary.BigEndian.PutUint32(changed[offCRC:], crc32.Checksum(changed[:offCRC], castagnoli()))
		if _, err := decrypted(changed, keys, other); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "its head was changed") {
			t.Errorf("%v: %v", other, err)
		}
	}
}

func TestKeysOfFiles(t *testing.T) {
	t.Parallel()
	keys, others := testKeys(t, 2), testKeys(t, 2)
	file := encrypted(t, keys, text(50))
	reversed, err := NewKeys(keys.list[1], keys.list[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decrypted(file, reversed, label); err != nil {
		t.Error(err)
	}
	first, _ := keys.First()
	for _, wrong := range []Keys{others, {}, {list: keys.list[1:]}} {
		_, err := decrypted(file, wrong, label)
		var missing *MissingKeyError
		if !errors.Is(err, ErrNoKey) || !errors.As(err, &missing) || missing.ID != first || !strings.Contains(err.Error(), first.String()) {
			t.Errorf("%v", err)
		}
	}
	// A key that claims to be another one.
	imposter := Keys{list: []Key{{id: first, secret: others.list[0].secret}}}
	if _, err := decrypted(file, imposter, label); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, err := NewWriter(io.Discard, Keys{}, rand.Reader, label); !errors.Is(err, ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := NewWriter(io.Discard, keys, strings.NewReader("too little"), label); err == nil {
		t.Error("no randomness, and a file was begun")
	}
}

// TestSalts: two files of the same have nothing in common but what they say.
func TestSalts(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 1)
	a, b := encrypted(t, keys, text(3*small)), encrypted(t, keys, text(3*small))
	if bytes.Equal(a[offLock+idSize:offLock+idSize+saltSize], b[offLock+idSize:offLock+idSize+saltSize]) || bytes.Equal(a[HeadSize:], b[HeadSize:]) {
		t.Error("the same salt or ciphertext")
	}
	if !bytes.Equal(a[:offLock], b[:offLock]) {
		t.Error("they should say the same")
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	raw := make([]byte, keySize)
	for i := range raw {
		raw[i] = byte(i * 37)
	}
	k, err := keyOf(raw)
	if err != nil {
		t.Fatal(err)
	}
	id, base := "id: "+k.ID().String()+"\n", strings.SplitAfter(string(k.File()), "\n")[1]
	inHex := "key: " + hex.EncodeToString(raw) + "\n"
	for name, good := range map[string]string{
		"base64": id + base, "hex": id + inHex, "the other way round": base + id, "remarks": "# audit\n\n" + id + "# x\n" + base,
		"carriage returns": strings.ReplaceAll(id+base, "\n", "\r\n"), "no end": strings.TrimSuffix(id+base, "\n"),
	} {
		got, err := ParseKey([]byte(good))
		if err != nil || got.ID() != k.ID() || !bytes.Equal(got.secret.Reveal(), raw) {
			t.Errorf("%s: %v", name, err)
		}
	}
	zeros := strings.Repeat("0", 64)
	for name, bad := range map[string]string{
		"nothing": "", "no id": base, "no key": id, "id twice": id + id + base, "key twice": id + base + base,
		"another id":     "id: 0011223344556677\n" + base,
		"id in capitals": strings.ToUpper(id[4:]) + base,
		"16 bytes":       id + "key: " + hex.EncodeToString(raw[:16]) + "\n",
		"31 bytes":       id + "key: " + hex.EncodeToString(raw[:31]) + "\n",
		"33 bytes":       id + "key: " + hex.EncodeToString(append(bytes.Clone(raw), 1)) + "\n",
		"zeros":          id + "key: " + zeros + "\n",
		"a word":         id + "key: passwordpasswordpasswordpasswordpasswordpa=\n",
		"bare":           hex.EncodeToString(raw), "url base64": id + strings.ReplaceAll(strings.ReplaceAll(base, "+", "-"), "/", "_") + "x",
		"a space":      id + strings.TrimSuffix(base, "\n") + " \n",
		"indented":     " " + id + base,
		"another line": id + base + "name: x\n", "no value": "id: \n" + base, "huge": id + base + strings.Repeat("#\n", maxKeyFile),
		"not random": id + "key: " + strings.Repeat("abcdefgh", 4) + "\n",
	} {
		_, err := ParseKey([]byte(bad))
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if strings.Contains(err.Error(), base[5:20]) || strings.Contains(err.Error(), hex.EncodeToString(raw)[:12]) || strings.Contains(err.Error(), "password") {
			t.Errorf("%s: the error tells the key: %v", name, err)
		}
	}
	if _, err := NewKeys(k, k); err == nil {
		t.Error("one key twice")
	}
	if _, err := NewKeys(Key{}); err == nil {
		t.Error("no key is one")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		printed := fmt.Sprintf(verb, any(k))
		if strings.Contains(printed, "37 74") || strings.Contains(printed, "254a6f") || strings.Contains(printed, "0x25, 0x4a") {
			t.Errorf("%s: a key prints itself: %s", verb, printed)
		}
	}
}

func TestReadKey(t *testing.T) {
	t.Parallel()
	k := testKeys(t, 1).list[0]
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, k.File(), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o440: true, 0o640: true, 0o644: false, 0o604: false, 0o602: false, 0o444: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadKeys(path)
		if ok != (err == nil) || ok && !got.Has(k.ID()) {
			t.Errorf("mode %o: %v", mode, err)
		}
		if !ok && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := ReadKeys(path, path); err == nil {
		t.Error("mode 444, and twice")
	}
	if _, err := ReadKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if keys, err := ReadKeys(); err != nil || !keys.Empty() {
		t.Error(err)
	}
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after -= len(b); f.after < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// TestWriterFails: a writer that failed once does not go on.
func TestWriterFails(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 1)
	if _, err := newWriter(&failing{HeadSize - 1}, keys, rand.Reader, label, small); err == nil {
		t.Error("the head")
	}
	w, err := newWriter(&failing{HeadSize + small + Overhead}, keys, rand.Reader, label, small)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(text(5 * small)); err == nil || n >= 5*small {
		t.Error(n, err)
	}
	if n, err := w.Write(text(1)); err == nil || n != 0 {
		t.Error(n, err)
	}
	if err := w.Close(); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

// FuzzOpen: whatever a file holds, reading it ends, and gives nothing that was not
// written with the key.
func FuzzOpen(f *testing.F) {
	raw := make([]byte, keySize)
	for i := range raw {
		raw[i] = byte(200 - i)
	}
	k, err := keyOf(raw)
	if err != nil {
		f.Fatal(err)
	}
	keys := Keys{list: []Key{k}}
	plain := text(2*small + 3)
	file := encrypted(f, keys, plain)
	f.Add(file, int64(len(file)))
	f.Add(file[:HeadSize], int64(HeadSize))
	f.Add(file, int64(1)<<62)
	f.Add(file, int64(math.MaxInt64))
	f.Add(file[:offLock], int64(-1))
	f.Add([]byte(fileMagic), int64(8))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		r, err := Open(bytes.NewReader(data), size, "fuzz", keys, label)
		if err == nil {
			got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
			if err == nil && !bytes.Equal(got, plain) {
				t.Fatal("it gives what nobody wrote")
			}
		}
		if k, err := ParseKey(data); err == nil {
			if again, err := ParseKey(k.File()); err != nil || again.ID() != k.ID() {
				t.Fatal(err)
			}
		}
	})
}
