package proof

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

// Sizes above which a ledger's file cannot be one: it is not read further.
const (
	maxCheckpoint = 64 << 10
	maxTile       = layout.TileWidth * sha256.Size
	maxBundle     = layout.EntryBundleWidth * (2 + 1<<16)
)

// checkpointFile is the name of the published checkpoint in the ledger.
const checkpointFile = layout.CheckpointPath

// Files reads a ledger from its files (C2SP tlog-tiles), without a lock and without
// trust: what it gives is proven by nobody but who compares it with a checkpoint.
type Files struct{ root fs.FS }

// NewFiles reads the ledger in root, which is LedgerPath of a data directory or a
// copy of it.
func NewFiles(root fs.FS) Files { return Files{root: root} }

// Checkpoint gives the bytes of the published checkpoint.
func (f Files) Checkpoint() ([]byte, error) { return f.read(checkpointFile, maxCheckpoint) }

// Bundle gives the entries of a bundle, and the file that they stand in, in a ledger of
// the given size. A bundle has up to layout.EntryBundleWidth of them.
func (f Files) Bundle(index, size uint64) (entries [][]byte, file string, err error) {
	part := layout.PartialTileSize(0, index, size)
	raw, file, err := f.partOrWhole(part, maxBundle, func(p uint8) string { return layout.EntriesPath(index, p) })
	if err != nil {
		return nil, file, err
	}
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(raw); err != nil {
		return nil, file, fmt.Errorf("%s: %w", file, err)
	}
	want := width(part)
	if len(bundle.Entries) < want || file == layout.EntriesPath(index, part) && len(bundle.Entries) != want {
		return nil, file, fmt.Errorf("%s: has %d records, want %d", file, len(bundle.Entries), want)
	}
	return bundle.Entries[:want], file, nil
}

// Tile gives the hashes of a tile, and the file that they stand in, in a ledger of the
// given size.
func (f Files) Tile(level, index, size uint64) (nodes []Hash, file string, err error) {
	part := layout.PartialTileSize(level, index, size)
	raw, file, err := f.partOrWhole(part, maxTile, func(p uint8) string { return layout.TilePath(level, index, p) })
	if err != nil {
		return nil, file, err
	}
	want := width(part)
	if len(raw)%sha256.Size != 0 || len(raw) < want*sha256.Size ||
		file == layout.TilePath(level, index, part) && len(raw) != want*sha256.Size {
		return nil, file, fmt.Errorf("%s: has %d bytes, want %d", file, len(raw), want*sha256.Size)
	}
	nodes = make([]Hash, want)
	for i := range nodes {
		nodes[i] = Hash(raw[i*sha256.Size:])
	}
	return nodes, file, nil
}

// width is how many nodes a tile of that part has.
func width(part uint8) int {
	if part == 0 {
		return layout.TileWidth
	}
	return int(part)
}

// Inclusion builds the path of the record at index in a ledger of the given size.
func (f Files) Inclusion(ctx context.Context, index, size uint64) ([]Hash, error) {
	builder, err := client.NewProofBuilder(ctx, size, f.fetch)
	if err != nil {
		return nil, fmt.Errorf("inclusion of record %d in a ledger of %d: %w", index, size, err)
	}
	path, err := builder.InclusionProof(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("inclusion of record %d in a ledger of %d: %w", index, size, err)
	}
	return hashes(path)
}

// Consistency builds the path that shows that a ledger of size to begins with that of
// size from.
func (f Files) Consistency(ctx context.Context, from, to uint64) ([]Hash, error) {
	if from == 0 || from == to {
		return nil, nil
	}
	builder, err := client.NewProofBuilder(ctx, to, f.fetch)
	if err != nil {
		return nil, fmt.Errorf("consistency of size %d with size %d: %w", from, to, err)
	}
	path, err := builder.ConsistencyProof(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("consistency of size %d with size %d: %w", from, to, err)
	}
	return hashes(path)
}

// fetch is a tile as the proof builder wants it.
func (f Files) fetch(_ context.Context, level, index uint64, part uint8) ([]byte, error) {
	raw, file, err := f.partOrWhole(part, maxTile, func(p uint8) string { return layout.TilePath(level, index, p) })
	if err != nil {
		return nil, err
	}
	if len(raw) < width(part)*sha256.Size || len(raw)%sha256.Size != 0 {
		return nil, fmt.Errorf("%s: has %d bytes, want %d", file, len(raw), width(part)*sha256.Size)
	}
	return raw, nil
}

// partOrWhole reads the file of a partial tile. Once a tile is whole, its parts are
// cleaned away, so the whole one serves too.
func (f Files) partOrWhole(part uint8, limit int64, path func(part uint8) string) (raw []byte, file string, err error) {
	file = path(part)
	raw, err = f.read(file, limit)
	if part != 0 && errors.Is(err, fs.ErrNotExist) {
		if whole, wholeErr := f.read(path(0), limit); wholeErr == nil {
			return whole, path(0), nil
		}
	}
	return raw, file, err
}

// read gives a file of the ledger that is not larger than limit.
func (f Files) read(name string, limit int64) ([]byte, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(file, limit+1))
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read ledger: %s: %w", name, err)
	}
	return raw, nil
}

// state is a ledger's records as the writer needs them.
type state struct {
	edge   *compact.Range
	firsts []uint64 // the first event of each segment, in order
	last   Record
	digest Hash // of the last record's bytes
}

func newState() *state {
	return &state{edge: (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)}
}

// size is the number of records.
func (s *state) size() uint64 { return s.edge.End() }

// root is the ledger's root over the records so far.
func (s *state) root() (Hash, error) {
	if s.size() == 0 {
		return sha256.Sum256(nil), nil
	}
	raw, err := s.edge.GetRootHash(nil)
	if err != nil {
		return Hash{}, fmt.Errorf("root of the ledger: %w", err)
	}
	return Hash(raw), nil
}

// push takes the next record, which must follow from the last one.
func (s *state) push(raw []byte, visit compact.VisitFn) error {
	r, err := ParseRecord(raw)
	if err != nil {
		return fmt.Errorf("record %d of the ledger: %w", s.size()+1, err)
	}
	if err := s.follows(&r); err != nil {
		return err
	}
	if err := s.edge.Append(rfc6962.DefaultHasher.HashLeaf(raw), visit); err != nil {
		return fmt.Errorf("record %d of the ledger: %w", r.Number, err)
	}
	s.firsts = append(s.firsts, r.First)
	s.last, s.digest = r, RecordHash(raw)
	return nil
}

// follows reports whether r can come after the last record.
func (s *state) follows(r *Record) error { return Follows(&s.last, s.digest, r) }

// Follows reports why r cannot be the record after before, whose canonical bytes have
// the given hash. Before the first one comes the zero Record with the zero Hash.
func Follows(before *Record, digest Hash, r *Record) error {
	switch {
	case r.Number != before.Number+1:
		return fmt.Errorf("record %d stands where %d should", r.Number, before.Number+1)
	case r.First != before.Last+1:
		return fmt.Errorf("record %d begins with event %d, but the one before ends with %d", r.Number, r.First, before.Last)
	case r.Previous != digest:
		return fmt.Errorf("record %d does not name the record before it", r.Number)
	}
	return nil
}

// load reads the records from the state's size up to size.
func (f Files) load(s *state, size uint64, visit compact.VisitFn) error {
	for s.size() < size {
		index := s.size() / layout.EntryBundleWidth
		entries, _, err := f.Bundle(index, size)
		if err != nil {
			return err
		}
		for _, raw := range entries[s.size()%layout.EntryBundleWidth:] {
			if err := s.push(raw, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// record reads one record's bytes in a ledger of the given size.
func (f Files) record(index, size uint64) ([]byte, error) {
	entries, file, err := f.Bundle(index/layout.EntryBundleWidth, size)
	if err != nil {
		return nil, err
	}
	at := int(index % layout.EntryBundleWidth)
	if at >= len(entries) {
		return nil, fmt.Errorf("%s: has no record %d", file, index+1)
	}
	return entries[at], nil
}

// Find gives the record of the segment that has an event, and its canonical bytes, in a ledger of the
// given size; for an event after all segments, the last one.
func (f Files) Find(seq, size uint64) (Record, []byte, error) {
	if seq == 0 || size == 0 {
		return Record{}, nil, fmt.Errorf("find event %d in a ledger of %d records: there is none", seq, size)
	}
	low, high := uint64(0), size-1 // the wanted record is among these
	for {
		middle := low + (high-low)/2
		raw, err := f.record(middle, size)
		if err != nil {
			return Record{}, nil, err
		}
		r, err := ParseRecord(raw)
		switch {
		case err != nil:
			return Record{}, nil, fmt.Errorf("record %d of the ledger: %w", middle+1, err)
		case r.Number != middle+1:
			return Record{}, nil, fmt.Errorf("record %d of the ledger says that it is %d", middle+1, r.Number)
		case seq > r.Last && middle < high:
			low = middle + 1
		case seq < r.First && middle > low:
			high = middle - 1
		default:
			return r, raw, nil
		}
	}
}
