package proof

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// statementHead is the first line of a statement. It keeps a statement and a checkpoint
// apart, which the same key signs: a checkpoint's second line is a number.
const statementHead = "bulwark.dev/audit/statement/v1"

// Statement is what the log's key says of a file that was derived from the trail: its
// first Size bytes have the hash Sum. Nothing of it is in the ledger, so an older one of the
// same log is as well signed as the newest.
type Statement struct {
	About string // one word
	Size  int64
	Sum   Hash
}

func (s Statement) text() (string, error) {
	if s.About == "" || strings.ContainsAny(s.About, " \r\n") || s.Size < 0 {
		return "", fmt.Errorf("a statement about %q of %d bytes cannot be", s.About, s.Size)
	}
	return fmt.Sprintf("%s\nabout %s\nsize %d\nsha256 %x\n", statementHead, s.About, s.Size, s.Sum), nil
}

// Sign signs a statement with the log's key.
func (l *Ledger) Sign(s Statement) ([]byte, error) {
	text, err := s.text()
	if err != nil {
		return nil, fmt.Errorf("sign a statement: %w", err)
	}
	raw, err := note.Sign(&note.Note{Text: text}, l.key.signer)
	if err != nil {
		return nil, fmt.Errorf("sign a statement about %s: %w", s.About, err)
	}
	return raw, nil
}

// ParseStatement reads a statement and takes it only with the key's signature.
func ParseStatement(raw []byte, about string, key note.Verifier) (Statement, error) {
	n, err := note.Open(raw, note.VerifierList(key))
	if err != nil {
		return Statement{}, fmt.Errorf("statement about %s: %w", about, err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 5 || lines[0] != statementHead {
		return Statement{}, fmt.Errorf("statement about %s: it is something else that is signed", about)
	}
	s := Statement{About: about}
	size, sized := strings.CutPrefix(lines[2], "size ")
	sum, summed := strings.CutPrefix(lines[3], "sha256 ")
	n64, err := strconv.ParseInt(size, 10, 64)
	hash, wrong := hex.DecodeString(sum)
	if err = errors.Join(err, wrong); err != nil || !sized || !summed || n64 > math.MaxInt64/2 || len(hash) != sha256.Size {
		return Statement{}, fmt.Errorf("statement about %s: %.80q and %.80q do not say what a file has", about, lines[2], lines[3])
	}
	s.Size, s.Sum = n64, Hash(hash)
	if again, err := s.text(); err != nil || again != n.Text {
		return Statement{}, fmt.Errorf("statement about %s: it is about something else, or not in canonical form", about)
	}
	return s, nil
}
