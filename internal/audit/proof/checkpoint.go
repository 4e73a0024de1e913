package proof

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// Why a checkpoint is not taken.
var (
	// ErrForm: it is not a C2SP checkpoint at all.
	ErrForm = errors.New("not a checkpoint")
	// ErrUnsigned: none of its signatures is by the key.
	ErrUnsigned = errors.New("not signed with this key")
	// ErrSignature: it names the key, but the signature is not over this text.
	ErrSignature = errors.New("the signature does not fit")
	// ErrOrigin: it is signed, but of another log.
	ErrOrigin = errors.New("of another log")
)

// Checkpoint is a ledger's signed state: so many records, with this root.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
	// Raw is the signed note that it was read from.
	Raw []byte
}

// ParseVerifier reads the public half of a log's key, as keys/log.pub has it.
func ParseVerifier(text string) (note.Verifier, error) {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("read public key %.60q: %w", strings.TrimSpace(text), err)
	}
	return v, nil
}

// ParseCheckpoint reads a C2SP checkpoint of the log whose key is given, and takes it
// only with that key's signature. Its origin line is the key's name.
func ParseCheckpoint(raw []byte, key note.Verifier) (Checkpoint, error) {
	n, err := note.Open(raw, note.VerifierList(key))
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return Checkpoint{}, fmt.Errorf("checkpoint: %w %s+%08x: it has %s", ErrUnsigned, key.Name(), key.KeyHash(), signers(unverified.Note))
	case errors.As(err, &invalid):
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", ErrSignature)
	case err != nil:
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: %w", ErrForm, err)
	}
	c, err := parseBody(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != key.Name() {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: %.80q, want %q", ErrOrigin, c.Origin, key.Name())
	}
	c.Raw = raw
	return c, nil
}

// PeekCheckpoint reads a checkpoint without looking at its signatures, to say what it
// claims to be.
func PeekCheckpoint(raw []byte) (Checkpoint, error) {
	_, err := note.Open(raw, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: %w", ErrForm, err)
	}
	c, err := parseBody(unverified.Note.Text)
	c.Raw = raw
	return c, err
}

// parseBody reads a checkpoint's text and takes only the form that C2SP asks for.
func parseBody(text string) (Checkpoint, error) {
	var body log.Checkpoint
	rest, err := body.Unmarshal([]byte(text))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: %w", ErrForm, err)
	}
	extensions := string(rest)
	switch {
	case len(body.Hash) != sha256.Size:
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: its root has %d bytes", ErrForm, len(body.Hash))
	case string(body.Marshal())+extensions != text:
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: size or root are not in canonical form", ErrForm)
	case strings.HasPrefix(extensions, "\n") || strings.Contains(extensions, "\n\n"):
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: it has an empty line", ErrForm)
	}
	c := Checkpoint{Origin: body.Origin, Size: body.Size, Root: Hash(body.Hash)}
	if c.Size == 0 && c.Root != sha256.Sum256(nil) {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: size 0 with the root of something", ErrForm)
	}
	return c, nil
}

// signers names who signed a note.
func signers(n *note.Note) string {
	var names []string
	for _, s := range n.UnverifiedSigs {
		names = append(names, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	return strings.Join(names, ", ")
}
