package status

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

const (
	// minRetry and maxRetry bound the wait after a pass with failures.
	minRetry = time.Second
	maxRetry = 30 * time.Second
	// forbiddenRetry is how long a kind is left alone that may not be written.
	forbiddenRetry = 30 * time.Second
	// maxFailures ends a pass: the API server is in trouble, or gone.
	maxFailures = 20
	// minPass is how long a pass goes on although a newer Update waits, so that
	// many small changes cannot keep it from getting anywhere. What it writes
	// meanwhile is not wrong: the API server takes it only for the very object
	// that it was made from.
	minPass = 200 * time.Millisecond
	// minShare is how many times longer than its planning a pass may take, for
	// the same reason: with many objects planning is what costs.
	minShare = 10
)

// passes carries what one leadership remembers from pass to pass. It belongs to
// the goroutine of Run.
type passes struct {
	w *Writer
	// written are the answers to our writes that the Snapshot does not show yet.
	written map[ref]answer
	// settled are writes that would not change what is stored: the API server
	// refused them, or stored something else for them.
	settled map[ref]settlement
	// forbidden says until when a kind is left alone.
	forbidden map[string]time.Time
	failures  int // passes with failures in a row
	// even are the objects that were as wanted, so that those which did not
	// change since need not be compared again.
	even map[ref]evenness
}

// answer is an object as the API server has it after our write.
type answer struct {
	uid types.UID
	// base is the resourceVersion that the write was made from.
	base, resourceVersion string
	status                any
}

// settlement is a wish without times, and what is stored in spite of it.
type settlement struct {
	uid        types.UID
	have, want any
}

func newPasses(w *Writer) *passes {
	return &passes{w: w, written: map[ref]answer{}, settled: map[ref]settlement{}, forbidden: map[string]time.Time{}, even: map[ref]evenness{}}
}

// job is one write.
type job struct {
	ref  ref
	kind *kind
	uid  types.UID
	// base is the resourceVersion that have was read at.
	base       string
	have, want any
	timeless   any // want without new times
	merger     *merger
	target     *Target

	outcome outcome
	stored  answer
	err     error
}

// run brings the objects of one Update up to date. It returns how long to wait
// before trying again what failed, or 0.
func (p *passes) run(ctx context.Context, in *wanted) time.Duration {
	begin := p.w.cfg.Now()
	jobs := p.plan(in, begin)
	patience := max(minPass, minShare*p.w.cfg.Now().Sub(begin))
	p.w.meters.pending.Set(float64(len(jobs)))
	if len(jobs) == 0 {
		p.failures = 0
		return p.wait(begin, 0)
	}
	var next, failed, done atomic.Int64
	more := func() bool {
		switch {
		case ctx.Err() != nil, failed.Load() >= maxFailures:
			return false
		case p.w.current() != in && p.w.cfg.Now().Sub(begin) > patience:
			return false
		}
		return true
	}
	var wg sync.WaitGroup
	for range min(p.w.cfg.Parallel, len(jobs)) {
		wg.Go(func() {
			for more() {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) {
					return
				}
				j := jobs[i]
				p.w.write(ctx, j)
				p.w.meters.writes.WithLabelValues(j.kind.name, string(j.outcome)).Inc()
				if j.outcome == outcomeFailed {
					failed.Add(1)
				} else {
					p.w.meters.pending.Set(float64(len(jobs) - int(done.Add(1))))
				}
			}
		})
	}
	wg.Wait()
	failures := 0
	for _, j := range jobs {
		p.learn(ctx, j)
		if j.outcome == outcomeFailed {
			failures++
		}
	}
	p.w.meters.seconds.Set(p.w.cfg.Now().Sub(begin).Seconds())
	if ctx.Err() != nil {
		return 0
	}
	return p.wait(begin, failures)
}

// wait gives the time until the next try, 0 if there is nothing to try again.
func (p *passes) wait(now time.Time, failures int) time.Duration {
	var wait time.Duration
	if failures > 0 {
		wait = min(minRetry<<min(p.failures, 10), maxRetry)
		p.failures++
	} else {
		p.failures = 0
	}
	for _, until := range p.forbidden {
		if d := max(until.Sub(now), time.Millisecond); wait == 0 || d < wait {
			wait = d
		}
	}
	return wait
}

// plan finds what is not as wanted, and forgets what no longer matters.
func (p *passes) plan(in *wanted, now time.Time) []*job {
	var jobs []*job
	written, settled, even := map[ref]answer{}, map[ref]settlement{}, make(map[ref]evenness, len(p.even))
	for i := range p.w.kinds {
		k := &p.w.kinds[i]
		blocked := p.forbidden[k.name].After(now)
		for _, o := range k.objects(in.snap) {
			r := ref{k.name, o.meta.GetNamespace(), o.meta.GetName()}
			if e, ok := p.even[r]; ok && e.holds(o.meta, in.targets[r]) {
				// The newest wish: an old one would keep the report that it is part of.
				even[r] = evenness{o.meta, in.targets[r]}
				continue
			}
			base := o.meta.GetResourceVersion()
			shown := true
			if a, ok := p.written[r]; ok && a.uid == o.meta.GetUID() && before(base, a) {
				shown = false
				// The Snapshot does not show our last write yet.
				written[r] = a
				o.status, base = a.status, a.resourceVersion
			}
			if s, ok := p.settled[r]; ok && s.uid == o.meta.GetUID() {
				settled[r] = s
			}
			target := in.targets[r]
			if base == "" || target != nil && target.Generation != 0 && target.Generation != o.meta.GetGeneration() {
				continue // another Update follows, made from this generation
			}
			m := &merger{
				controller: p.w.cfg.ControllerName, features: p.w.cfg.Features,
				namespace: r.namespace, generation: o.meta.GetGeneration(),
			}
			timeless := k.merge(m, o.status, target)
			if equality.Semantic.DeepEqual(o.status, timeless) {
				if shown {
					even[r] = evenness{o.meta, target}
				}
				continue
			}
			if s, ok := settled[r]; ok && equality.Semantic.DeepEqual(s.have, o.status) && equality.Semantic.DeepEqual(s.want, timeless) {
				continue
			}
			if blocked {
				continue
			}
			m.now = metav1.NewTime(now.Truncate(time.Second))
			jobs = append(jobs, &job{
				ref: r, kind: k, uid: o.meta.GetUID(), base: base, merger: m, target: target,
				have: o.status, want: k.merge(m, o.status, target), timeless: timeless,
			})
		}
	}
	p.written, p.settled, p.even = written, settled, even
	return jobs
}

// before reports whether an object at a resourceVersion is older than an answer.
func before(version string, a answer) bool {
	c, err := resourceversion.CompareResourceVersion(version, a.resourceVersion)
	return version == a.base || err == nil && c < 0
}

// learn remembers the outcome of a job and tells it.
func (p *passes) learn(ctx context.Context, j *job) {
	log := p.w.cfg.Log
	attrs := []slog.Attr{slog.String("object", j.ref.String()), slog.Any("error", j.err)}
	switch j.outcome {
	case "": // not tried
	case outcomeWritten:
		delete(p.forbidden, j.kind.name)
		p.written[j.ref] = j.stored
		if !equality.Semantic.DeepEqual(j.stored.status, j.want) {
			// Whatever the API server stores, asking again would not change it.
			p.settled[j.ref] = settlement{j.uid, j.stored.status, p.again(j)}
		}
		if j.merger.crowded {
			log.LogAttrs(ctx, slog.LevelWarn, "no room for a status: other controllers fill the list", slog.String("object", j.ref.String()))
		}
		p.w.events.changed(ctx, j)
	case outcomeRefused:
		p.settled[j.ref] = settlement{j.uid, j.have, j.timeless}
		log.LogAttrs(ctx, slog.LevelError, "the API server refuses a status", attrs...)
	case outcomeForbidden:
		if _, known := p.forbidden[j.kind.name]; !known {
			log.LogAttrs(ctx, slog.LevelError, "no permission to write the status of a kind",
				slog.String("missing", "patch "+j.kind.resource+"/status in "+j.kind.group), slog.Any("error", j.err))
		}
		p.forbidden[j.kind.name] = p.w.cfg.Now().Add(forbiddenRetry)
	case outcomeFailed:
		if ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelWarn, "a status was not written; trying again", attrs...)
		}
	case outcomeConflict, outcomeGone: // the next Snapshot tells
	}
}

// again gives what the next pass would ask for with what is stored now.
func (p *passes) again(j *job) any {
	m := *j.merger
	m.now = metav1.Time{}
	return j.kind.merge(&m, j.stored.status, j.target)
}
