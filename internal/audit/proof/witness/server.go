package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit/proof"
)

// Limits of a request: the protocol allows 63 lines of proof.
const (
	maxProofLines = 63
	maxRequest    = 64 << 10
)

// ServerConfig is what a Server needs.
type ServerConfig struct {
	// Dir is where it remembers, per log, the last checkpoint that it signed. Losing it
	// makes the witness worthless: it would sign an older past again. One process at a time
	// may use it.
	Dir string
	// Signer is the witness's Ed25519 key in the form of a note signer.
	Signer string
	// Logs are the verifier keys of the logs that it signs for; their names are the
	// origins. Others get 404.
	Logs []string
}

// Server is a witness: POST /add-checkpoint of C2SP tlog-witness.
type Server struct {
	dir    string
	signer *fnote.Signer
	logs   map[string]note.Verifiers // by origin

	// mu makes looking at the last size, storing the new one and signing one step.
	mu sync.Mutex
}

// NewServer makes a witness.
func NewServer(config ServerConfig) (*Server, error) {
	if config.Dir == "" || len(config.Logs) == 0 {
		return nil, errors.New("witness: a directory and at least one log's key are required")
	}
	signer, err := fnote.NewSignerForCosignatureV1(strings.TrimSpace(config.Signer))
	if err != nil {
		return nil, errors.New("witness: its key is not an Ed25519 note signer key") // the cause could repeat the key
	}
	byOrigin := map[string][]note.Verifier{}
	for _, text := range config.Logs {
		key, err := proof.ParseVerifier(text)
		if err != nil {
			return nil, fmt.Errorf("witness: %w", err)
		}
		byOrigin[key.Name()] = append(byOrigin[key.Name()], key)
	}
	s := &Server{dir: config.Dir, signer: signer, logs: map[string]note.Verifiers{}}
	for origin, keys := range byOrigin {
		s.logs[origin] = note.VerifierList(keys...)
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	return s, nil
}

// ServeHTTP answers /add-checkpoint under whatever prefix it is mounted.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, addCheckpoint) {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST a checkpoint", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "the request cannot be read", http.StatusBadRequest)
		return
	}
	answer := s.add(body)
	w.Header().Set("Content-Type", answer.kind)
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body) // a client that went away asks again
}

// answer is what a request gets.
type answer struct {
	status int
	kind   string
	body   []byte
}

func refuse(status int, text string) answer {
	return answer{status: status, kind: "text/plain; charset=utf-8", body: []byte(text + "\n")}
}

// add decides about one request, in the order that the protocol gives.
func (s *Server) add(body []byte) answer {
	old, path, raw, err := parseRequest(body)
	if err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	claimed, err := proof.PeekCheckpoint(raw)
	if err != nil {
		return refuse(http.StatusBadRequest, "that is no checkpoint")
	}
	keys, known := s.logs[claimed.Origin]
	if !known {
		return refuse(http.StatusNotFound, "this witness does not sign for that log")
	}
	signed, err := note.Open(raw, keys)
	if err != nil {
		return refuse(http.StatusForbidden, "not signed with a key that this witness knows for the log")
	}
	if old > claimed.Size {
		return refuse(http.StatusBadRequest, "the old size is larger than the checkpoint's")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	last, err := s.last(claimed.Origin)
	if err != nil {
		return refuse(http.StatusInternalServerError, "this witness cannot read what it signed last")
	}
	if old != last.Size {
		return answer{status: http.StatusConflict, kind: sizeType, body: fmt.Appendf(nil, "%d\n", last.Size)}
	}
	if old == claimed.Size && old > 0 && last.Root != claimed.Root {
		return refuse(http.StatusConflict, "another root was signed for that size")
	}
	if old == 0 && len(path) > 0 {
		return refuse(http.StatusUnprocessableEntity, "the proof from nothing is empty")
	}
	if old > 0 {
		if err := proof.CheckConsistency(old, claimed.Size, path, last.Root, claimed.Root); err != nil {
			return refuse(http.StatusUnprocessableEntity, "the checkpoint does not grow out of the one that was signed last")
		}
	}
	line, err := s.sign(signed)
	if err != nil {
		return refuse(http.StatusInternalServerError, "this witness cannot sign")
	}
	if err := proof.WriteFile(s.path(claimed.Origin), raw, 0o600); err != nil {
		return refuse(http.StatusInternalServerError, "this witness cannot remember the checkpoint, so it does not sign it")
	}
	return answer{status: http.StatusOK, kind: "text/plain; charset=utf-8", body: line}
}

// path is where the last checkpoint of a log stands. An origin may have any characters.
func (s *Server) path(origin string) string {
	id := sha256.Sum256([]byte(origin))
	return filepath.Join(s.dir, hex.EncodeToString(id[:])+suffix)
}

// last is the checkpoint of a log that was signed last; the zero Checkpoint when none
// was.
func (s *Server) last(origin string) (proof.Checkpoint, error) {
	raw, err := os.ReadFile(s.path(origin))
	if errors.Is(err, os.ErrNotExist) {
		return proof.Checkpoint{}, nil
	}
	if err != nil {
		return proof.Checkpoint{}, err
	}
	last, err := proof.PeekCheckpoint(raw)
	if err == nil && last.Origin != origin {
		err = fmt.Errorf("%s is of log %q", s.path(origin), last.Origin)
	}
	return last, err
}

// sign gives the cosignature's line.
func (s *Server) sign(n *note.Note) ([]byte, error) {
	whole, err := note.Sign(&note.Note{Text: n.Text}, s.signer)
	if err != nil {
		return nil, err
	}
	return whole[len(n.Text)+1:], nil
}

// parseRequest reads the body of add-checkpoint: "old", a size, lines of proof, an
// empty line, a checkpoint.
func parseRequest(body []byte) (old uint64, path []proof.Hash, checkpoint []byte, err error) {
	head, checkpoint, found := bytes.Cut(body, []byte("\n\n"))
	if !found {
		return 0, nil, nil, errors.New("no empty line before a checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	size, found := strings.CutPrefix(lines[0], "old ")
	old, err = strconv.ParseUint(size, 10, 64)
	if err != nil || !found || strconv.FormatUint(old, 10) != size {
		return 0, nil, nil, errors.New(`the first line is not "old" and a size`)
	}
	if len(lines)-1 > maxProofLines {
		return 0, nil, nil, errors.New("too many lines of proof")
	}
	for _, line := range lines[1:] {
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(raw) != sha256.Size || strings.ContainsAny(line, "\r\n") {
			return 0, nil, nil, errors.New("a line of proof is no hash")
		}
		path = append(path, proof.Hash(raw))
	}
	return old, path, checkpoint, nil
}
