package posture

import (
	"context"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// Incremental keeps what was said of every object, so that after a change only what
// depends on it is judged again: the object, what it made if that is folded into
// other findings now, and the joint checks that read its kind. It is used by one
// goroutine at a time.
type Incremental struct{ run *run }

// Incremental judges a snapshot as Judge does, and keeps it.
func (e *Engine) Incremental(ctx context.Context, snap *inventory.Snapshot) (*Incremental, error) {
	r, err := e.start(ctx, snap)
	if err != nil {
		return nil, err
	}
	return &Incremental{r}, nil
}

// Snapshot gives the objects as they are now.
func (n *Incremental) Snapshot() *inventory.Snapshot { return n.run.snap }

// Report gives what Judge would give of the objects as they are now.
func (n *Incremental) Report(ctx context.Context) (*Report, error) { return n.run.report(ctx) }

// Rejudged says what an Update had to judge again.
type Rejudged struct{ Objects, Joint int }

// Update puts changed and new objects in and takes others out. If ctx ends midway,
// the joint checks that were not run are run by the next Update.
func (n *Incremental) Update(ctx context.Context, changed []*inventory.Object, removed []bulwark.ObjectRef) (Rejudged, error) {
	r := n.run
	var did Rejudged
	before, touched := r.snap, map[graph.Kind]bool{}
	r.snap = before.With(changed, removed)
	pods := false
	orphans := []*inventory.Object{}
	drop := func(group, kind, namespace, name string) {
		old := before.Find(group, kind, namespace, name)
		j := r.judged[old]
		if old == nil || j == nil {
			return
		}
		touched[graph.Kind{Group: old.Group(), Kind: old.Kind}] = true
		pods = pods || j.pods
		orphans = append(orphans, r.family.children(old)...)
		r.family.remove(old)
		delete(r.judged, old)
	}
	for _, ref := range removed {
		drop(ref.Group(), ref.Kind, ref.Namespace, ref.Name)
	}
	for _, o := range changed {
		drop(o.Group(), o.Kind, o.Namespace, o.Name)
	}
	var again []*inventory.Object
	for _, o := range changed {
		if now := r.snap.Find(o.Group(), o.Kind, o.Namespace, o.Name); now != nil && now != o {
			continue // given twice: the last one counts
		}
		touched[graph.Kind{Group: o.Group(), Kind: o.Kind}] = true
		r.family.put(o)
		again = append(again, o)
	}
	for _, o := range again {
		orphans = append(orphans, r.family.children(o)...)
	}
	// Of what lost or got an owner, only what is still there.
	for _, o := range orphans {
		if r.judged[o] != nil {
			again = append(again, o)
		}
	}
	done := map[*inventory.Object]bool{}
	for _, wave := range r.family.waves(again) {
		for _, o := range wave {
			r.rejudge(o, done)
		}
	}
	did.Objects = len(done)
	for o := range done {
		pods = pods || r.judged[o].pods && touched[graph.Kind{Group: o.Group(), Kind: o.Kind}]
	}
	for i := range r.e.opt.Joint {
		c := &r.e.opt.Joint[i]
		if c.Any || c.Pods && pods || slices.ContainsFunc(c.Reads, func(k graph.Kind) bool { return touched[k] }) {
			r.stale[i] = true
		}
	}
	var err error
	did.Joint, err = r.refresh(ctx)
	return did, err
}

// rejudge judges an object again, and what it made if that is folded into other
// findings now.
func (r *run) rejudge(o *inventory.Object, done map[*inventory.Object]bool) {
	if done[o] {
		return
	}
	done[o] = true
	was := r.judged[o]
	now := r.e.judge(o, r.judged[r.family.parent(o)], true)
	r.judged[o] = now
	if was != nil && slices.Equal(was.keys, now.keys) {
		return
	}
	for _, child := range r.family.children(o) {
		delete(done, child)
		r.rejudge(child, done)
	}
}

// refresh runs the joint checks that are stale.
func (r *run) refresh(ctx context.Context) (int, error) {
	var due []int
	for i, stale := range r.stale {
		if stale {
			due = append(due, i)
		}
	}
	if len(due) == 0 {
		return 0, nil
	}
	ix := r.e.index(r.snap)
	err := r.e.each(ctx, len(due), 1, func(n int) {
		i := due[n]
		r.joint[i] = check(&r.e.opt.Joint[i], ix)
		r.stale[i] = false
	})
	return len(due), err
}
