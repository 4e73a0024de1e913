package verify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// ProofFormat names the form of a Proof's JSON.
const ProofFormat = "bulwark.dev/audit/proof/v1"

// maxProof is more than any proof has.
const maxProof = 256 << 20

// Proof shows, to anyone who has the log's public key and nothing else, that an event
// is in the log: its bytes, the path from them to the segment's root, the record that
// has the root, the path from it to the ledger's root, and the signed checkpoint.
type Proof struct {
	Format string `json:"format"`
	Seq    uint64 `json:"seq"`
	// Event is the canonical form of the event. Of a pruned event there is only Leaf.
	Event string `json:"event,omitempty"`
	Leaf  *Hash  `json:"leaf,omitempty"`
	// Path leads from the event to the segment's root.
	Path []Hash `json:"path"`
	// Record is the segment's record, as it stands in the ledger.
	Record string `json:"record"`
	// RecordPath leads from the record to the checkpoint's root.
	RecordPath []Hash `json:"recordPath"`
	Checkpoint string `json:"checkpoint"`
}

// Hash is a hash that is base64 in JSON.
type Hash proof.Hash

// MarshalText gives the base64.
func (h Hash) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, h[:]), nil
}

// UnmarshalText takes what MarshalText gives, and nothing else.
func (h *Hash) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(raw) != len(h) || len(text) != base64.StdEncoding.EncodedLen(len(h)) {
		return fmt.Errorf("%.60q is no hash", text)
	}
	*h = Hash(raw)
	return nil
}

// ErrNotSealed: the event is in no sealed segment, so nobody has signed it yet.
var ErrNotSealed = errors.New("it is not sealed yet")

// Prove makes the proof of an event, and verifies it with the key beside the log before
// it gives it away. The keys decrypt a trail that is encrypted; the proof is not.
func Prove(ctx context.Context, dir string, seq uint64, keys vault.Keys) (Proof, error) {
	p, err := prove(ctx, dir, seq, keys)
	if err != nil {
		return Proof{}, fmt.Errorf("prove event %d: %w", seq, err)
	}
	return p, nil
}

func prove(ctx context.Context, dir string, seq uint64, keys vault.Keys) (Proof, error) {
	text, err := os.ReadFile(proof.VerifierPath(dir))
	if err != nil {
		return Proof{}, fmt.Errorf("read the log's public key: %w", err)
	}
	key, err := proof.ParseVerifier(string(text))
	if err != nil {
		return Proof{}, err
	}
	files := proof.NewFiles(os.DirFS(proof.LedgerPath(dir)))
	raw, err := files.Checkpoint()
	if err != nil {
		return Proof{}, err
	}
	checkpoint, err := proof.ParseCheckpoint(raw, key)
	if err != nil {
		return Proof{}, err
	}
	record, canonical, err := files.Find(seq, checkpoint.Size)
	if err != nil {
		return Proof{}, err
	}
	if seq > record.Last {
		return Proof{}, fmt.Errorf("%w: the ledger ends with event %d", ErrNotSealed, record.Last)
	}
	p := Proof{Format: ProofFormat, Seq: seq, Record: string(canonical), Checkpoint: string(raw)}
	recordPath, err := files.Inclusion(ctx, record.Number-1, checkpoint.Size)
	if err != nil {
		return Proof{}, err
	}
	p.RecordPath = toHashes(recordPath)
	if err := p.event(ctx, dir, record, keys); err != nil {
		return Proof{}, err
	}
	return p, CheckProof(p, string(text))
}

// event reads the event and its path from the segment's file.
func (p *Proof) event(ctx context.Context, dir string, record proof.Record, keys vault.Keys) error {
	path := segmentFile(dir, record.First, record.Last)
	file, err := log.OpenSealed(log.SegmentFile{First: record.First, Last: record.Last, Path: path}, keys)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	r, err := segment.Open(file, file.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if r.First() != record.First || r.Last() != record.Last {
		return fmt.Errorf("%s has events %d to %d, want %d to %d", path, r.First(), r.Last(), record.First, record.Last)
	}
	at := int(p.Seq - record.First) //nolint:gosec // within one segment
	start := at / proof.BlockSize * proof.BlockSize
	var leaves []proof.Hash
	hasher := proof.NewHasher()
	err = r.Rows(ctx, start, min(start+proof.BlockSize, r.Len()), func(i int, row segment.Row) error {
		leaf := row.Leaf
		if !row.Pruned {
			canonical := audit.AppendCanonical(nil, row.Event)
			leaf = hasher.Leaf(canonical)
			if i == at {
				p.Event = string(canonical)
			}
		} else if i == at {
			p.Leaf = (*Hash)(&leaf)
		}
		leaves = append(leaves, leaf)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.Path = toHashes(append(proof.Path(leaves, at-start), proof.Path(r.Meta().Blocks, start/proof.BlockSize)...))
	return nil
}

func toHashes(path []proof.Hash) []Hash {
	out := make([]Hash, len(path))
	for i := range path {
		out[i] = Hash(path[i])
	}
	return out
}

func fromHashes(path []Hash) []proof.Hash {
	out := make([]proof.Hash, len(path))
	for i := range path {
		out[i] = proof.Hash(path[i])
	}
	return out
}

// CheckProof verifies a proof with nothing but the log's public key.
func CheckProof(p Proof, publicKey string) error {
	key, err := proof.ParseVerifier(publicKey)
	if err != nil {
		return fmt.Errorf("check proof: %w", err)
	}
	if err := p.check(func(raw []byte) (proof.Checkpoint, error) { return proof.ParseCheckpoint(raw, key) }); err != nil {
		return fmt.Errorf("check proof of event %d: %w", p.Seq, err)
	}
	return nil
}

func (p *Proof) check(open func(raw []byte) (proof.Checkpoint, error)) error {
	if p.Format != ProofFormat {
		return fmt.Errorf("format %.60q is not known", p.Format)
	}
	checkpoint, err := open([]byte(p.Checkpoint))
	if err != nil {
		return err
	}
	record, err := proof.ParseRecord([]byte(p.Record))
	if err != nil {
		return err
	}
	if err := proof.CheckPath(proof.LeafHash([]byte(p.Record)), record.Number-1, checkpoint.Size, fromHashes(p.RecordPath), checkpoint.Root); err != nil {
		return fmt.Errorf("the record of segment %d is not in the ledger: %w", record.Number, err)
	}
	if p.Seq < record.First || p.Seq > record.Last {
		return fmt.Errorf("it is not among events %d to %d of segment %d", record.First, record.Last, record.Number)
	}
	var leaf proof.Hash
	switch {
	case p.Event != "" && p.Leaf == nil:
		if _, err := audit.ParseCanonical([]byte(p.Event)); err != nil {
			return err
		}
		leaf = proof.LeafHash([]byte(p.Event))
	case p.Event == "" && p.Leaf != nil:
		leaf = proof.Hash(*p.Leaf)
	default:
		return errors.New("it needs either an event or the leaf hash of a pruned one")
	}
	if err := proof.CheckPath(leaf, p.Seq-record.First, record.Events, fromHashes(p.Path), record.Root); err != nil {
		return fmt.Errorf("it is not in segment %d: %w", record.Number, err)
	}
	return nil
}

// ParseProof reads a proof's JSON, strictly.
func ParseProof(raw []byte) (Proof, error) {
	if len(raw) > maxProof {
		return Proof{}, fmt.Errorf("parse proof: %d bytes are too many", len(raw))
	}
	var p Proof
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Proof{}, fmt.Errorf("parse proof: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Proof{}, errors.New("parse proof: something follows it")
	}
	if p.Format != ProofFormat {
		return Proof{}, fmt.Errorf("parse proof: format %.60q is not known", p.Format)
	}
	return p, nil
}
