package posture

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// run is one snapshot with what was said of it.
type run struct {
	e      *Engine
	snap   *inventory.Snapshot
	family *family
	judged map[*inventory.Object]*judged
	joint  []map[string]*said // by the index of the check and the place
	due    []map[string]bool  // the places in which a check has to run again
	ix     *graph.Index       // nil where nothing follows
}

// start judges everything. With keep it can be followed by updates.
func (e *Engine) start(ctx context.Context, snap *inventory.Snapshot, keep bool) (*run, error) {
	r := &run{e: e, snap: snap, family: families(snap.Objects()), joint: make([]map[string]*said, len(e.opt.Joint)), due: make([]map[string]bool, len(e.opt.Joint))}
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
	r.ix = e.index(snap, r.judged)
	if keep {
		r.ix.Keep()
	}
	r.everything()
	_, err := r.refresh(ctx)
	if !keep {
		r.ix = nil // the report needs the memory
	}
	return r, err
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
