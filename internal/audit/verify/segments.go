package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// maxHeld is how many segments that are not as sealed are held in memory to be compared
// with each other.
const maxHeld = 64

// sealedFile is a segment's file, by its name.
type sealedFile struct {
	path        string
	first, last uint64
}

// segmentFile is where a segment of those events stands.
func segmentFile(dir string, first, last uint64) string {
	return filepath.Join(dir, "log", "sealed", fmt.Sprintf("%020d-%020d.parquet", first, last))
}

// listSealed lists the segments' files, and names what does not belong there.
func (v *verifier) listSealed() ([]sealedFile, error) {
	folder := filepath.Join(v.options.Dir, "log", "sealed")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []sealedFile
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		from, to, ok := strings.Cut(strings.TrimSuffix(entry.Name(), ".parquet"), "-")
		first, firstErr := strconv.ParseUint(from, 10, 64)
		last, lastErr := strconv.ParseUint(to, 10, 64)
		switch {
		case ok && firstErr == nil && lastErr == nil && path == segmentFile(v.options.Dir, first, last) && entry.Type().IsRegular():
			files = append(files, sealedFile{path, first, last})
		case strings.HasSuffix(entry.Name(), ".tmp"):
			v.note(KindExtra, Place{File: v.name(path)}, "is left over from sealing or pruning that was interrupted, or is still going on")
		default:
			v.find(KindExtra, Place{File: v.name(path)}, "does not belong here: it is no segment's file")
		}
	}
	return files, nil
}

// job is one segment to verify.
type job struct {
	record *proof.Record // nil when the ledger has none
	before proof.Hash    // the chain's link before the segment
	linked bool          // before is known
	file   sealedFile    // without a path when it is missing

	// What the file has.
	open        bool // all its rows could be read
	good        bool // it is what was sealed
	first, last uint64
	leaves      []proof.Hash // of a segment that is not good
	root, chain proof.Hash   // over the rows
	blocks      []proof.Hash // as the file says
	kept        []proof.Hash // as the ledger has them
	tags        [][tagSize]byte
	faults      []segment.Fault
	findings    []Finding // what is wrong with it, unless relate finds a better word
}

// tagSize is how many bytes of its leaf hash a row keeps.
const tagSize = 4

// match brings records and files together.
func (v *verifier) match(records []*proof.Record, files []sealedFile) []*job {
	var jobs []*job
	byFirst := map[uint64]int{}
	for i, f := range files {
		byFirst[f.first] = i
	}
	used := make([]bool, len(files))
	var before proof.Hash
	linked := true
	for _, r := range records {
		if r == nil {
			linked = false
			continue
		}
		j := &job{record: r, before: before, linked: linked}
		if i, ok := byFirst[r.First]; ok {
			used[i] = true
			j.file = files[i]
		}
		jobs = append(jobs, j)
		before, linked = r.Chain, true
	}
	for i, f := range files {
		if !used[i] {
			jobs = append(jobs, &job{file: f})
		}
	}
	return jobs
}

// segment reads one segment and compares it with its record. Its error ends the whole
// verification; what is wrong with the file does not.
func (v *verifier) segment(ctx context.Context, j *job) error {
	if j.file.path == "" {
		return nil // relate tells, once it is known whether the events stand elsewhere
	}
	if err := v.read(ctx, j); err != nil || !j.open {
		return err
	}
	if j.record == nil {
		return nil // relate tells
	}
	j.good = j.root == j.record.Root && j.first == j.record.First && j.last == j.record.Last
	at := Place{File: v.name(j.file.path), Segment: j.record.Number, First: j.record.First, Last: j.record.Last}
	if j.file.last != j.record.Last {
		j.findings = append(j.findings, Finding{KindExchanged, at, fmt.Sprintf("its name ends with event %d", j.file.last)})
	}
	blocks, err := proof.NewFiles(os.DirFS(proof.LedgerPath(v.options.Dir))).Blocks(j.record)
	if j.kept = blocks; err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.find(KindTile, Place{File: path.Join(ledgerName, proof.BlocksFile(j.record.Number)), Segment: j.record.Number},
			"does not have the roots of the segment's blocks: it was edited; it is needed only to find wrong events")
	}
	if !j.good {
		j.findings = append(j.findings, compare(at, j)...)
		return nil
	}
	if j.linked && j.chain != j.record.Chain {
		v.find(KindRecord, at, "the record's chain hash is not that of its events")
	}
	for _, fault := range j.faults {
		where := at
		if fault.Seq > 0 {
			where.First, where.Last = fault.Seq, 0
		}
		v.find(KindChanged, where, "its events are what was sealed, but what the file says of them was edited, so that searches may miss them: %s", fault.What)
	}
	j.leaves, j.tags, j.blocks, j.faults = nil, nil, nil, nil
	return nil
}

// read takes the leaf hashes of a file's rows.
func (v *verifier) read(ctx context.Context, j *job) error {
	at := Place{File: v.name(j.file.path), First: j.file.first, Last: j.file.last}
	if j.record != nil {
		at.Segment = j.record.Number
	}
	file, err := log.OpenSealed(log.SegmentFile{First: j.file.first, Last: j.file.last, Path: j.file.path}, v.options.Keys)
	if errors.Is(err, vault.ErrNoKey) {
		v.find(KindUnreadable, at, "cannot be decrypted: %v (if there never was such a key, the file was changed)", err)
		return nil
	}
	if err != nil {
		v.find(KindUnreadable, at, "cannot be opened: %v", err)
		return nil
	}
	defer file.Close() //nolint:errcheck // only read
	r, err := segment.Open(file, file.Size)
	if err != nil {
		v.find(KindUnreadable, at, "cannot be read: %v", err)
		return nil
	}
	j.first, j.last, j.blocks = r.First(), r.Last(), r.Meta().Blocks
	rows, err := v.rows(ctx, r, j)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		at.First = r.First() + uint64(len(j.leaves))
		v.find(KindUnreadable, at, "cannot be read on from there: %v", err)
		return nil
	}
	j.open = true
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Segments++
	v.report.Events += uint64(len(j.leaves))
	v.report.Pruned += rows.pruned
	v.report.Last = max(v.report.Last, j.last)
	v.gone.AddAll(&rows.gone)
	v.told.add(&rows.told)
	return nil
}

// seen is what the rows of a segment tell besides their hashes.
type seen struct {
	pruned uint64
	gone   numbers.Set // the pruned rows
	told   saying      // only of a segment that is what was sealed
}

// rows reads all rows of a segment.
func (v *verifier) rows(ctx context.Context, r *segment.Reader, j *job) (seen, error) {
	var s seen
	var tree proof.Tree
	var err error
	j.leaves = make([]proof.Hash, 0, r.Len())
	j.chain = j.before
	j.faults, err = r.Check(ctx, func(_ int, leaf [32]byte) error {
		tree.Append(leaf)
		j.chain = proof.Chain(j.chain, leaf)
		j.leaves = append(j.leaves, leaf)
		return nil
	})
	if err != nil {
		return s, err
	}
	j.root = tree.Root()
	wrong := j.record == nil || j.root != j.record.Root
	sealed := !wrong && j.first == j.record.First && j.last == j.record.Last
	events := 0
	for kind, n := range r.Meta().Kinds {
		events += n
		wrong = wrong || kind == audit.KindSystem // some of them may tell who pruned
	}
	if !wrong && events == r.Len() && v.options.Openings == nil {
		return s, nil
	}
	return s, v.again(ctx, r, j, &s, sealed)
}

// again reads the rows of a segment for what is asked of some segments only.
func (v *verifier) again(ctx context.Context, r *segment.Reader, j *job, s *seen, sealed bool) error {
	commitments := newCommitments(v.options.Openings != nil)
	j.tags = make([][tagSize]byte, 0, r.Len())
	err := r.Rows(ctx, 0, r.Len(), func(i int, row segment.Row) error {
		j.tags = append(j.tags, row.Tag)
		if row.Pruned {
			s.pruned++
			s.gone.Add(j.first + uint64(i)) //nolint:gosec // an index
			return nil
		}
		if sealed {
			s.told.read(row.Event)
		}
		commitments.add(row.Event)
		return nil
	})
	if err != nil {
		return err
	}
	return v.openings(ctx, commitments, j.first, j.last)
}

// relate looks at the segments together: whether what is missing in one is in
// another, and what the files are that the ledger does not know.
func (v *verifier) relate(records []*proof.Record, jobs []*job) {
	byRoot := map[proof.Hash]*proof.Record{}
	for _, r := range records {
		if r != nil {
			byRoot[r.Root] = r
		}
	}
	var lastSealed uint64
	if n := len(records); n > 0 && records[n-1] != nil {
		lastSealed = records[n-1].Last
	}
	for _, run := range runs(jobs) {
		if moved(run) {
			first, last := run[0].record, run[len(run)-1].record
			v.find(KindEventMoved, Place{Segment: first.Number, First: first.First, Last: last.Last},
				"the events of segments %d to %d are all there, but some stand in another segment's file than the one they were sealed in", first.Number, last.Number)
			for _, j := range run {
				j.findings = nil
			}
		}
	}
	for _, j := range jobs {
		switch {
		case j.record != nil && j.file.path == "":
			// The write-ahead files may still have these events: active tells.
		case j.record != nil && j.open && !j.good && byRoot[j.root] != nil:
			other := byRoot[j.root]
			v.find(KindExchanged, Place{File: v.name(j.file.path), Segment: j.record.Number, First: j.record.First, Last: j.record.Last},
				"has the events %d to %d of segment %d", other.First, other.Last, other.Number)
			continue
		case j.record == nil && j.open:
			v.stranger(j, byRoot[j.root], lastSealed)
		}
		v.mu.Lock()
		v.report.Findings = append(v.report.Findings, j.findings...)
		v.mu.Unlock()
	}
}

// stranger tells of a file that no record of the ledger names.
func (v *verifier) stranger(j *job, same *proof.Record, lastSealed uint64) {
	at := Place{File: v.name(j.file.path), First: j.file.first, Last: j.file.last}
	switch {
	case j.file.first > lastSealed && v.wentOn():
		v.note(KindExtra, at, "was sealed while the log was verified, and not looked at")
	case same != nil:
		v.find(KindExtra, at, "is a copy of segment %d", same.Number)
	case !v.report.Ledger.Signed:
		v.find(KindExtra, at, "has events that no signed record vouches for")
	case j.file.first > lastSealed:
		v.find(KindExtra, at, "has events after the last one in the ledger, %d: nobody signed them, or the ledger was put back", lastSealed)
	default:
		v.find(KindExtra, at, "is no segment that the ledger knows")
	}
}

// runs gives the runs of neighbouring segments that are not as sealed.
func runs(jobs []*job) [][]*job {
	var all [][]*job
	var run []*job
	held := 0
	for _, j := range jobs {
		bad := j.record != nil && j.open && !j.good
		if bad && len(run) > 0 && run[len(run)-1].record.Number+1 != j.record.Number {
			all, run = append(all, run), nil
		}
		if bad && held < maxHeld {
			held++
			run = append(run, j)
		} else if len(run) > 0 {
			all, run = append(all, run), nil
		}
	}
	if len(run) > 0 {
		all = append(all, run)
	}
	return slices.DeleteFunc(all, func(run []*job) bool { return len(run) < 2 })
}

// moved reports whether neighbouring segments together have exactly the events that
// were sealed in them.
func moved(run []*job) bool {
	var leaves []proof.Hash
	for _, j := range run {
		leaves = append(leaves, j.leaves...)
	}
	for _, j := range run {
		n := j.record.Events
		if uint64(len(leaves)) < n || proof.Root(leaves[:n]) != j.record.Root {
			return false
		}
		leaves = leaves[n:]
	}
	return len(leaves) == 0
}
