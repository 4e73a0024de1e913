package posture

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// run is one snapshot with what was said of it.
type run struct {
	e      *Engine
	snap   *inventory.Snapshot
	family *family
	judged map[*inventory.Object]*judged
	joint  [][]emission // by the index of the check
	stale  []bool       // the checks that have to run again
}

// emission is one result of a joint check; object is nil for the cluster.
type emission struct {
	object *inventory.Object
	control.Result
}

// start judges everything.
func (e *Engine) start(ctx context.Context, snap *inventory.Snapshot) (*run, error) {
	r := &run{e: e, snap: snap, family: families(snap.Objects()), joint: make([][]emission, len(e.opt.Joint)), stale: make([]bool, len(e.opt.Joint))}
	r.judged = make(map[*inventory.Object]*judged, len(snap.Objects()))
	// Owners come before what they own, whose findings are folded into theirs.
	for _, wave := range r.family.waves(snap.Objects()) {
		out := make([]*judged, len(wave))
		err := e.each(ctx, len(wave), 32, func(i int) {
			o := wave[i]
			out[i] = e.judge(o, r.judged[r.family.parent(o)], len(r.family.children(o)) > 0)
		})
		if err != nil {
			return nil, err
		}
		for i, o := range wave {
			r.judged[o] = out[i]
		}
	}
	for i := range r.stale {
		r.stale[i] = true
	}
	_, err := r.refresh(ctx)
	return r, err
}

func (e *Engine) index(snap *inventory.Snapshot) *graph.Index {
	ix := graph.NewIndex(snap)
	ix.Now = e.opt.Now
	return ix
}

// check runs one joint check. A panic is unknown for the cluster.
func check(c *graph.Check, ix *graph.Index) (out []emission) {
	var mu sync.Mutex
	defer func() {
		if r := recover(); r != nil {
			out = []emission{{nil, control.Result{Verdict: bulwark.VerdictUnknown, Reason: "the control broke down", Message: "cannot be judged: the control broke down"}}}
		}
	}()
	c.Judge(ix, func(o *inventory.Object, r control.Result) {
		if r.Key == "" {
			r.Key = defaultKey(&r)
		}
		mu.Lock()
		out = append(out, emission{o, r})
		mu.Unlock()
	})
	return out
}

// each calls do for every number below n, in several goroutines that take a chunk
// at a time.
func (e *Engine) each(ctx context.Context, n, chunk int, do func(i int)) error {
	var next atomic.Int64
	var g errgroup.Group
	for range min(e.opt.Workers, (n+chunk-1)/chunk) {
		g.Go(func() error {
			for {
				from := int(next.Add(int64(chunk))) - chunk
				if from >= n {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return fmt.Errorf("judge: %w", err)
				}
				for i := from; i < min(from+chunk, n); i++ {
					do(i)
				}
			}
		})
	}
	return g.Wait()
}
