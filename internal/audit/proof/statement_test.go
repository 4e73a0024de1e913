package proof

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func TestStatement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := OpenLedger(t.Context(), LedgerConfig{Dir: dir, Origin: "example.com/audit"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	said := Statement{About: "summary", Size: 77, Sum: Hash{1, 2, 3}}
	raw, err := l.Sign(said)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseVerifier(l.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseStatement(raw, "summary", key); err != nil || got != said {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseStatement(raw, "something", key); err == nil {
		t.Error("a statement about one thing is taken for another")
	}
	if _, err := ParseCheckpoint(raw, key); err == nil {
		t.Error("a statement is taken for a checkpoint")
	}
	now, err := l.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseStatement(now.Raw, "summary", key); err == nil {
		t.Error("a checkpoint is taken for a statement")
	}
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		if got, err := ParseStatement(changed, "summary", key); err == nil && got != said {
			t.Errorf("byte %d: %+v", i, got)
		}
	}
	for _, wrong := range []Statement{{}, {About: "two words"}, {About: "a\nline"}, {About: "a", Size: -1}} {
		if _, err := l.Sign(wrong); err == nil {
			t.Errorf("%+v was signed", wrong)
		}
	}
	// What the key signed in another form is not taken.
	for _, text := range []string{
		strings.Replace(string(raw[:bytes.Index(raw, []byte("\n\n"))+1]), "size 77", "size 077", 1),
		"bulwark.dev/audit/statement/v1\nabout summary\nsize 1\nsha256 00\n",
		"bulwark.dev/audit/statement/v1\nabout summary\n",
	} {
		other, err := note.Sign(&note.Note{Text: text}, l.key.signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseStatement(other, "summary", key); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
