package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/log/policy"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/proof"
)

// batchSegments is how many segments are told of before one seal, and then pruned.
const batchSegments = 64

// KeeperConfig is what a Keeper needs. All of it is required.
type KeeperConfig struct {
	Log *Log
	// Record gives the ledger's record of the segment that has an event.
	Record func(ctx context.Context, seq uint64) (proof.Record, error)
	// Compile reads an expression of the search language: what it is with its times made
	// absolute, and a test that one goroutine at a time may use.
	Compile func(search string, now time.Time) (absolute string, match func(*audit.Event) bool, err error)
	// Find calls fn with each event of the log that an expression matches. It is an error if
	// it could not look everywhere.
	Find func(ctx context.Context, search string, fn func(*audit.Event) error) error
}

// Keeper takes away what need not be kept any more, and nothing that is held. A log has
// one at most. Its methods may be called from several goroutines.
type Keeper struct {
	cfg KeeperConfig

	// running is held by a retention, of which there is one at a time.
	running sync.Mutex
	surveys map[uint64]*survey // of segments, by their first event
	records map[uint64]proof.Record
	about   string // what the surveys are about

	// mu is held while holds change and while anything is taken away, so that no hold comes
	// too late for what is going on. Retention holds it for one segment at a time.
	mu       sync.Mutex
	known    bool
	holds    told.Holds
	standing []heldBy
}

// NewKeeper makes the keeper of a log. It reads nothing yet.
func NewKeeper(cfg KeeperConfig) (*Keeper, error) {
	if cfg.Log == nil || cfg.Record == nil || cfg.Compile == nil || cfg.Find == nil {
		return nil, errors.New("keep the audit log: a log, its records and a search are needed")
	}
	return &Keeper{cfg: cfg, surveys: map[uint64]*survey{}, records: map[uint64]proof.Record{}}, nil
}

// RetainOptions say what a retention does.
type RetainOptions struct {
	Policy *policy.Policy
	By     told.Who
	// DryRun only says what would go.
	DryRun bool
}

// Retained is what a retention did, or would do.
type Retained struct {
	// Policy is the policy's digest.
	Policy  string          `json:"policy"`
	DryRun  bool            `json:"dryRun"`
	At      time.Time       `json:"at"`
	Classes []RetainedClass `json:"classes"`
	// Segments is how many were written anew, of Of.
	Segments int `json:"segments"`
	Of       int `json:"of"`
	// BytesBefore and BytesAfter are of segments and openings on the disk. In a dry run
	// BytesAfter is an estimate.
	BytesBefore int64 `json:"bytesBefore"`
	BytesAfter  int64 `json:"bytesAfter"`
	// Over is how many bytes more than the policy's maxBytes are left, since nothing more may
	// be taken.
	Over int64 `json:"over,omitempty"`
	// Failures are segments that could not be looked at or pruned, and why.
	Failures []string `json:"failures,omitempty"`
}

// RetainedClass is what went of one class.
type RetainedClass struct {
	Name string `json:"name"`
	Keep string `json:"keep"`
	// Events went, ByAge or BySize.
	Events uint64 `json:"events"`
	ByAge  uint64 `json:"byAge"`
	BySize uint64 `json:"bySize"`
	// Held would have gone if no hold kept them.
	Held uint64 `json:"held"`
	// From and To are when the earliest and the latest of the events were received.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Bytes is about how many bytes that made free: below 0 where the hashes, which stay, take
	// more than the events did.
	Bytes int64 `json:"bytes"`
	// Over is how many bytes more than the class's maxBytes are left: what is held, or what
	// takes no more room than its hashes would.
	Over int64 `json:"over,omitempty"`
}

// stored is a segment and what lies beside it.
type stored struct {
	SegmentFile

	bytes int64 // of the segment and its openings
	freed int64 // in a dry run
}

// retention is one run.
type retention struct {
	k      *Keeper
	policy *policy.Policy
	by     told.Who
	dry    bool
	last   bool
	now    time.Time
	class  func(*audit.Event) *policy.Class
	files  []*stored
	out    *Retained
	batch  []*cutting
	// least is the shortest time that something is kept.
	least time.Duration

	surveys   map[uint64]*survey // the keeper's own, but in a dry run
	rewritten map[uint64]bool
	// gone are, in a dry run, the events that would be gone by now.
	gone map[uint64]*numbers.Set
}

// Retain takes away what the policy does not keep: first what is too old, then the
// oldest of what is too much. Appends, seals and searches go on beside it. An event that
// tells of it is sealed before anything goes, so a run that ends in the middle may leave
// events that the log says went, never the other way round; the next run takes them.
//
// A segment that cannot be read, or is not what the ledger says, stays as it is and is
// among the failures; the error then says how many there are.
func (k *Keeper) Retain(ctx context.Context, o RetainOptions) (Retained, error) {
	out, err := k.retain(ctx, o)
	if err != nil {
		return out, fmt.Errorf("apply the retention policy: %w", err)
	}
	return out, nil
}

func (k *Keeper) retain(ctx context.Context, o RetainOptions) (Retained, error) {
	if o.Policy == nil || len(o.Policy.Classes) == 0 {
		return Retained{}, refuse("no policy")
	}
	if !k.running.TryLock() {
		return Retained{}, errors.New("a retention is going on already")
	}
	defer k.running.Unlock()
	l := k.cfg.Log
	if o.DryRun {
		return k.run(ctx, o, false)
	}
	var before Retained
	if !l.Stats().Full {
		out, err := k.run(ctx, o, false)
		if !isFull(err) || ctx.Err() != nil {
			return out, err
		}
		before = out
	}
	if _, err := k.begin(ctx, o); err != nil {
		return Retained{}, err // before room is given away for nothing
	}
	done := l.makeRoom()
	defer done()
	out, err := k.run(ctx, o, true)
	out.absorb(&before)
	return out, err
}

// run goes through the log once. The last run is one for which room was made: what does
// not fit then stays.
func (k *Keeper) run(ctx context.Context, o RetainOptions, last bool) (Retained, error) {
	r, err := k.begin(ctx, o)
	if err != nil {
		return Retained{}, err
	}
	r.last = last
	err = r.byAge(ctx)
	if err == nil {
		err = r.bySize(ctx)
	}
	r.measure()
	if !o.DryRun && (last || !isFull(err)) {
		// New events need room more: what the log keeps for itself must fit beside it. But
		// where nothing went, they do not get what was kept for when something can go.
		more := k.cfg.Log.cfg.Reserve
		if last && r.out.Segments == 0 {
			more = 0
		}
		k.cfg.Log.keepRoom(r.room(), more)
	}
	if err == nil && len(r.out.Failures) > 0 {
		err = fmt.Errorf("%d of %d segments could not be handled, the first: %s", len(r.out.Failures), len(r.files), r.out.Failures[0])
	}
	return *r.out, err
}

func (k *Keeper) begin(ctx context.Context, o RetainOptions) (*retention, error) {
	now := k.cfg.Log.cfg.Now()
	r := &retention{k: k, policy: o.Policy, by: o.By, dry: o.DryRun, now: now, least: math.MaxInt64}
	r.rewritten, r.gone = map[uint64]bool{}, map[uint64]*numbers.Set{}
	r.out = &Retained{Policy: o.Policy.Digest(), DryRun: o.DryRun, At: now.UTC()}
	var err error
	r.class, err = o.Policy.Classifier(func(text string) (func(*audit.Event) bool, error) {
		is, match, err := k.cfg.Compile(text, now)
		if err != nil {
			return nil, err
		}
		// What is counted back from now is another class in each run, and keep says the age.
		if later, _, err := k.cfg.Compile(text, now.Add(36*time.Hour)); err != nil || later != is {
			return nil, errors.New("its times must not be counted from now: keep says how old events may be")
		}
		return match, nil
	})
	if err != nil {
		return nil, refuse("%w", err)
	}
	for i := range o.Policy.Classes {
		c := &o.Policy.Classes[i]
		r.out.Classes = append(r.out.Classes, RetainedClass{Name: c.Name, Keep: c.KeepText()})
		if c.Keep > 0 {
			r.least = min(r.least, c.Keep)
		}
	}
	k.mu.Lock()
	err = k.ready(ctx)
	lastHold := uint64(0)
	for _, h := range k.holds {
		lastHold = max(lastHold, h.Seq, h.Released)
	}
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if about := fmt.Sprintf("%s %d", o.Policy.Digest(), lastHold); about != k.about {
		clear(k.surveys)
		k.about = about
	}
	if r.surveys = k.surveys; r.dry {
		r.surveys = maps.Clone(k.surveys)
	}
	return r, r.list()
}

// list finds the segments and their sizes.
func (r *retention) list() error {
	dir := r.k.cfg.Log.cfg.Dir
	segments, err := listSpans(filepath.Join(dir, sealedName), sealedSuffix)
	if err != nil {
		return err
	}
	for _, s := range segments {
		f := &stored{SegmentFile: s}
		f.bytes = f.onDisk(dir)
		r.files = append(r.files, f)
		r.out.BytesBefore += f.bytes
	}
	r.out.Of = len(segments)
	return nil
}

// onDisk is how many bytes a segment and its openings have now.
func (f *stored) onDisk(dir string) int64 {
	var size int64
	for _, path := range []string{f.Path, filepath.Join(dir, openingsName, spanName(f.First, f.Last, openingsSuffix))} {
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
	}
	return size
}

// measure adds up what is left.
func (r *retention) measure() {
	r.out.BytesAfter = 0
	for _, f := range r.files {
		r.out.BytesAfter += f.bytes - f.freed
	}
	if r.policy.MaxBytes > 0 {
		r.out.Over = max(0, r.out.BytesAfter-r.policy.MaxBytes)
	}
}

// due is why events of a class in one segment go.
type due struct {
	why string
	// before, where it is set, is for events that were received before it; else for all.
	before time.Time
}

// byAge takes what is older than its class is kept.
func (r *retention) byAge(ctx context.Context) error {
	for _, f := range r.files {
		record, err := r.record(ctx, f.SegmentFile)
		if err != nil {
			if err := r.failed(ctx, f, err); err != nil {
				return err
			}
			continue
		}
		if r.least == math.MaxInt64 || !record.From.Before(r.now.Add(-r.least)) {
			continue // the youngest class keeps its oldest event
		}
		s := r.surveys[f.First]
		marks := map[*policy.Class]due{}
		for i := range r.policy.Classes {
			c := &r.policy.Classes[i]
			before := r.now.Add(-c.Keep)
			if c.Keep > 0 && (s == nil || s.of(c).has(before)) {
				marks[c] = due{why: "older than " + c.KeepText(), before: before}
			}
		}
		if err := r.take(ctx, f, marks); err != nil {
			return err
		}
	}
	return r.flush(ctx)
}

// take selects what of a segment goes, and prunes when there is enough to do.
func (r *retention) take(ctx context.Context, f *stored, marks map[*policy.Class]due) error {
	if len(marks) == 0 {
		return nil
	}
	c, err := r.choose(ctx, f, marks)
	if err != nil {
		return r.failed(ctx, f, err)
	}
	if len(c.parts) == 0 {
		return nil
	}
	r.batch = append(r.batch, c)
	if len(r.batch) >= batchSegments {
		return r.flush(ctx)
	}
	return nil
}

// failed notes that a segment could not be handled; only the end of ctx, or of the log,
// ends the run.
func (r *retention) failed(ctx context.Context, f *stored, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, ErrClosed) || isFull(err) && !r.last {
		return err
	}
	text := fmt.Sprintf("%s: %v", filepath.Base(f.Path), err)
	if !slices.Contains(r.out.Failures, text) {
		r.out.Failures = append(r.out.Failures, text)
	}
	return nil
}

// record is the ledger's record of a segment.
func (r *retention) record(ctx context.Context, s SegmentFile) (proof.Record, error) {
	if known, ok := r.k.records[s.First]; ok {
		return known, nil
	}
	record, err := r.k.cfg.Record(ctx, s.First)
	if err != nil {
		return proof.Record{}, err
	}
	if record.First != s.First || record.Last != s.Last {
		return proof.Record{}, fmt.Errorf("the ledger has a segment of events %d to %d instead", record.First, record.Last)
	}
	r.k.records[s.First] = record
	return record, nil
}

// result is where a class's counts are.
func (r *retention) result(c *policy.Class) *RetainedClass {
	i := slices.IndexFunc(r.out.Classes, func(out RetainedClass) bool { return out.Name == c.Name })
	return &r.out.Classes[i]
}
