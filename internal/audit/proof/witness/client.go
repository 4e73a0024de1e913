package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit/proof"
)

// What the protocol says.
const (
	addCheckpoint = "/add-checkpoint"
	sizeType      = "text/x.tlog.size"
	// maxAnswer is more than the signatures of any witness need.
	maxAnswer = 64 << 10
)

// Client asks a witness to sign the log's checkpoints.
type Client struct {
	url  string
	key  note.Verifier
	http *http.Client
}

// NewClient asks the witness at a URL, the submission prefix without /add-checkpoint,
// whose verifier key is given as it publishes it. The HTTP client brings the timeout
// and what is needed for TLS.
func NewClient(prefix, verifier string, client *http.Client) (*Client, error) {
	u, err := url.Parse(prefix)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("witness %q: want an http or https URL", prefix)
	}
	if client == nil {
		return nil, fmt.Errorf("witness %q: an HTTP client is required", prefix)
	}
	key, err := ParseVerifier(verifier)
	if err != nil {
		return nil, fmt.Errorf("witness %q: %w", prefix, err)
	}
	return &Client{url: u.JoinPath(addCheckpoint).String(), key: key, http: client}, nil
}

// ParseVerifier reads a witness's verifier key, for cosignature/v1 with Ed25519.
func ParseVerifier(text string) (note.Verifier, error) {
	key, err := fnote.NewVerifierForCosignatureV1(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("read witness key %.80q: %w", strings.TrimSpace(text), err)
	}
	return key, nil
}

// CosignedPath is where the checkpoint that a witness signed is kept in a data
// directory: beside the log's own.
func CosignedPath(dir string, key note.Verifier) string {
	return filepath.Join(proof.LedgerPath(dir), "witness", fmt.Sprintf("%08x%s", key.KeyHash(), suffix))
}

// Keep has the newest checkpoint signed, and puts the checkpoint with both signatures
// beside the log's own.
func (c *Client) Keep(ctx context.Context, dir string) error {
	l, err := openLedger(dir)
	if err != nil {
		return fmt.Errorf("ask witness %s: %w", c.key.Name(), err)
	}
	path := CosignedPath(dir, c.key)
	old, err := c.seen(l, path)
	if err != nil {
		return fmt.Errorf("ask witness %s: %w", c.key.Name(), err)
	}
	if old == l.newest.Size {
		return nil // it signed that, or there is nothing yet to sign
	}
	cosigned, err := c.ask(ctx, l, old)
	if err != nil {
		return fmt.Errorf("ask witness %s: %w", c.key.Name(), err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as public as the ledger around it
		return fmt.Errorf("ask witness %s: %w", c.key.Name(), err)
	}
	return proof.WriteFile(path, cosigned, 0o644)
}

// seen is the size that the witness signed last, as far as we kept it.
func (c *Client) seen(l *ledger, path string) (uint64, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // made of the data directory and a hash
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	last, err := proof.ParseCheckpoint(raw, l.key)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := note.Open(raw, note.VerifierList(c.key)); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if last.Size > l.newest.Size {
		return 0, fmt.Errorf("%w: it has %d records, the witness signed %d", ErrAhead, l.newest.Size, last.Size)
	}
	return last.Size, nil
}

// ask sends the newest checkpoint. A witness that says that it last saw another size is
// asked again from there, once.
func (c *Client) ask(ctx context.Context, l *ledger, old uint64) ([]byte, error) {
	for range 2 {
		status, kind, answer, err := c.send(ctx, l, old)
		if err != nil {
			return nil, err
		}
		switch status {
		case http.StatusOK:
			return c.join(l, answer)
		case http.StatusConflict:
			if kind != sizeType {
				return nil, fmt.Errorf("%w: it signed another root for %d records", ErrForked, old)
			}
			size, err := strconv.ParseUint(strings.TrimSuffix(string(answer), "\n"), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("it answered 409 with %.40q, which is no size", answer)
			}
			if size > l.newest.Size {
				return nil, fmt.Errorf("%w: it has %d records, the witness signed %d", ErrAhead, l.newest.Size, size)
			}
			old = size
		case http.StatusUnprocessableEntity:
			return nil, fmt.Errorf("%w: the %d records that the witness signed are not the first of these %d", ErrForked, old, l.newest.Size)
		case http.StatusNotFound:
			return nil, fmt.Errorf("it does not know the log %q", l.newest.Origin)
		case http.StatusForbidden:
			return nil, fmt.Errorf("it knows another key for the log %q", l.newest.Origin)
		default:
			return nil, fmt.Errorf("it answered %d: %.200q", status, answer)
		}
	}
	return nil, errors.New("it changes its mind about what it signed last: does another program ask it for the same log?")
}

// send makes one request.
func (c *Client) send(ctx context.Context, l *ledger, old uint64) (status int, kind string, answer []byte, err error) {
	path, err := l.files.Consistency(ctx, old, l.newest.Size)
	if err != nil {
		return 0, "", nil, err
	}
	body := fmt.Appendf(nil, "old %d\n", old)
	for _, h := range path {
		body = base64.StdEncoding.AppendEncode(body, h[:])
		body = append(body, '\n')
	}
	body = append(body, '\n')
	body = append(body, l.newest.Raw...)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, "", nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, "", nil, fmt.Errorf("read its answer: %w", err)
	}
	return response.StatusCode, response.Header.Get("Content-Type"), answer, nil
}

// join adds the witness's signature to the checkpoint, if it is one; what else the
// witness sent is dropped.
func (c *Client) join(l *ledger, answer []byte) ([]byte, error) {
	both := append(bytes.Clone(l.newest.Raw), answer...)
	n, err := note.Open(both, note.VerifierList(l.key, c.key))
	if err != nil {
		return nil, fmt.Errorf("what it sent is no signature: %w", err)
	}
	if !bytes.HasPrefix(l.newest.Raw, []byte(n.Text+"\n")) {
		return nil, errors.New("what it sent is more than signatures")
	}
	n.UnverifiedSigs = nil
	for _, s := range n.Sigs {
		if s.Name == c.key.Name() && s.Hash == c.key.KeyHash() {
			return note.Sign(n) // writes the note with the signatures that it has
		}
	}
	return nil, fmt.Errorf("it did not sign with the key %s+%08x", c.key.Name(), c.key.KeyHash())
}
