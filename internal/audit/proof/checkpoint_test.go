package proof

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// signedBy makes a key of that name and signs a text with it.
func signedBy(tb testing.TB, name, text string) (raw []byte, key note.Verifier) {
	tb.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err = note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		tb.Fatal(err)
	}
	key, err = ParseVerifier(public + "\n")
	if err != nil {
		tb.Fatal(err)
	}
	return raw, key
}

func body(origin string, size uint64, root Hash) string {
	return string(log.Checkpoint{Origin: origin, Size: size, Hash: root[:]}.Marshal())
}

func TestParseCheckpoint(t *testing.T) {
	t.Parallel()
	root := LeafHash([]byte("x"))
	raw, key := signedBy(t, "example.com/log", body("example.com/log", 7, root))
	c, err := ParseCheckpoint(raw, key)
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != "example.com/log" || c.Size != 7 || c.Root != root || string(c.Raw) != string(raw) {
		t.Errorf("%+v", c)
	}
	peeked, err := PeekCheckpoint(raw)
	if err != nil || peeked.Size != 7 {
		t.Errorf("peek: %+v, %v", peeked, err)
	}

	_, stranger := signedBy(t, "example.com/log", body("example.com/log", 7, root))
	_, elsewhere := signedBy(t, "example.com/other", body("example.com/other", 7, root))
	edited := []byte(strings.Replace(string(raw), "\n7\n", "\n6\n", 1))
	foreign, foreignKey := signedBy(t, "example.com/log", body("example.com/other", 7, root))
	for name, c := range map[string]struct {
		raw  []byte
		key  note.Verifier
		want error
	}{
		"another key":         {raw, stranger, ErrUnsigned},
		"another log's key":   {raw, elsewhere, ErrUnsigned},
		"an edited size":      {edited, key, ErrSignature},
		"another origin line": {foreign, foreignKey, ErrOrigin},
		"no note":             {[]byte("hello"), key, ErrForm},
	} {
		if _, err := ParseCheckpoint(c.raw, c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestCheckpointForm: a signature alone does not make a text a checkpoint.
func TestCheckpointForm(t *testing.T) {
	t.Parallel()
	good := body("log", 12, LeafHash(nil))
	for name, text := range map[string]string{
		"leading zero":     strings.Replace(good, "\n12\n", "\n012\n", 1),
		"no size":          "log\n\n" + strings.SplitAfterN(good, "\n", 3)[2],
		"short root":       "log\n12\nAAAA\n",
		"root of nothing":  "log\n12\n\n",
		"loose base64":     strings.Replace(good, "=\n", "\n", 1),
		"empty extension":  good + "\n\n",
		"size 0 with root": strings.Replace(good, "\n12\n", "\n0\n", 1),
	} {
		raw, key := signedBy(t, "log", text)
		if c, err := ParseCheckpoint(raw, key); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for name, text := range map[string]string{
		"an extension line": good + "more\n",
		"the empty log":     body("log", 0, sha256.Sum256(nil)),
	} {
		raw, key := signedBy(t, "log", text)
		if _, err := ParseCheckpoint(raw, key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	raw, key := signedBy(f, "log", body("log", 3, LeafHash(nil)))
	f.Add(raw)
	f.Add([]byte("log\n3\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := PeekCheckpoint(raw)
		if err == nil && (c.Origin == "" || !strings.HasPrefix(string(raw), body(c.Origin, c.Size, c.Root))) {
			t.Errorf("%q is taken as %+v", raw, c)
		}
		if signed, err := ParseCheckpoint(raw, key); err == nil && signed.Size != 3 {
			t.Errorf("%q is taken as signed", raw)
		}
	})
}
