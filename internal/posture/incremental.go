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
// other findings now, and the joint checks that read its kind, in its namespace
// alone where they look no further. It is used by one goroutine at a time.
type Incremental struct{ run *run }

// Incremental judges a snapshot as Judge does, and keeps it.
func (e *Engine) Incremental(ctx context.Context, snap *inventory.Snapshot) (*Incremental, error) {
	r, err := e.start(ctx, snap, true)
	if err != nil {
		return nil, err
	}
	return &Incremental{r}, nil
}

// Snapshot gives the objects as they are now.
func (n *Incremental) Snapshot() *inventory.Snapshot { return n.run.snap }

// Report gives what Judge would give of the objects as they are now. After an Update
// that failed it fails.
func (n *Incremental) Report(ctx context.Context) (*Report, error) {
	if _, err := n.run.refresh(ctx); err != nil {
		return nil, err
	}
	return n.run.report(ctx)
}

// Rejudged says what an Update had to judge again: objects, and joint checks, once
// for each namespace in which one ran.
type Rejudged struct{ Objects, Joint int }

// Update puts changed and new objects in and takes others out. If ctx ends midway,
// the joint checks that were not run are run by the next Update or Report.
func (n *Incremental) Update(ctx context.Context, changed []*inventory.Object, removed []bulwark.ObjectRef) (Rejudged, error) {
	r := n.run
	did := Rejudged{Objects: r.replace(changed, removed)}
	var err error
	did.Joint, err = r.refresh(ctx)
	return did, err
}

// Learn takes in what is known of the cluster by now, as when permissions were given
// or taken away; whether it is one, and not files, stays. All joint checks are run
// again.
func (n *Incremental) Learn(ctx context.Context, facts inventory.Facts, unreadable []inventory.Unreadable) (Rejudged, error) {
	r := n.run
	r.snap = r.snap.With(nil, nil)
	facts.Live = r.snap.Facts.Live
	r.snap.Facts, r.snap.Unreadable = facts, unreadable
	r.ix = r.e.index(r.snap, r.judged)
	r.ix.Keep()
	r.everything()
	joint, err := r.refresh(ctx)
	return Rejudged{Joint: joint}, err
}

// replace changes the snapshot, judges objects again and notes which joint checks
// are due. It gives how many objects were judged.
func (r *run) replace(changed []*inventory.Object, removed []bulwark.ObjectRef) int {
	before := r.snap
	changed = r.once(changed)
	r.snap = before.With(changed, removed)
	var out, in []*inventory.Object
	gone := map[*inventory.Object]bool{}
	drop := func(group, kind, namespace, name string) {
		for _, old := range named(before, group, kind, namespace, name) {
			if !gone[old] {
				gone[old] = true
				out = append(out, old)
			}
		}
	}
	for _, ref := range removed {
		drop(ref.Group(), ref.Kind, ref.Namespace, ref.Name)
	}
	for _, o := range changed {
		drop(o.Group(), o.Kind, o.Namespace, o.Name)
		// Of two of one name the last one counts; what has no name is always new.
		if now := r.snap.Find(o.Group(), o.Kind, o.Namespace, o.Name); now == nil || now == o {
			in = append(in, o)
		}
	}
	again := r.relate(out, in)
	done := map[*inventory.Object]bool{}
	for _, wave := range r.family.waves(again) {
		for _, o := range wave {
			r.rejudge(o, done)
		}
	}
	r.follow(out, in)
	return len(done)
}

// named gives the objects of one name: files may have several.
func named(s *inventory.Snapshot, group, kind, namespace, name string) []*inventory.Object {
	first := s.Find(group, kind, namespace, name)
	if first == nil {
		return nil
	}
	all := s.Kind(group, kind)
	from, _ := slices.BinarySearchFunc(all, first, inOrder)
	to := from
	for to < len(all) && inOrder(all[to], first) == 0 {
		to++
	}
	return all[from:to]
}

// once gives each object once, where it comes last, and leaves out what has no name
// and is there already.
func (r *run) once(changed []*inventory.Object) []*inventory.Object {
	seen := map[*inventory.Object]bool{}
	var out []*inventory.Object
	for _, o := range slices.Backward(changed) {
		there := r.judged[o] != nil && r.snap.Find(o.Group(), o.Kind, o.Namespace, o.Name) == nil
		if !seen[o] && !there {
			seen[o] = true
			out = append(out, o)
		}
	}
	slices.Reverse(out)
	return out
}

// relate puts objects into the family and takes others out, and gives what has to be
// judged again: those that are new, what has another owner now, and owners that had
// nothing to own.
func (r *run) relate(out, in []*inventory.Object) []*inventory.Object {
	parents := map[*inventory.Object]*inventory.Object{}
	both := slices.Concat(out, in)
	for _, o := range r.descendants(both) {
		parents[o] = r.family.parent(o)
	}
	for _, o := range out {
		r.family.remove(o)
		delete(r.judged, o)
	}
	fresh := map[*inventory.Object]bool{}
	var again []*inventory.Object
	add := func(o *inventory.Object) {
		if o != nil && !fresh[o] {
			fresh[o] = true
			again = append(again, o)
		}
	}
	for _, o := range in {
		r.family.put(o)
		add(o)
	}
	for _, o := range r.descendants(both) {
		was, known := parents[o]
		if r.judged[o] != nil && (!known || was != r.family.parent(o)) {
			add(o)
		}
	}
	// Keys are made only of what owns something.
	for i := 0; i < len(again); i++ {
		if owner := r.family.parent(again[i]); owner != nil && (r.judged[owner] == nil || r.judged[owner].keys == nil) {
			add(owner)
		}
	}
	return again
}

// descendants gives all that says of some objects that they made it, and so on,
// whether that counts or not: an owner more may make a line of them too long.
func (r *run) descendants(of []*inventory.Object) []*inventory.Object {
	seen := map[*inventory.Object]bool{}
	var out []*inventory.Object
	for queue := of; len(queue) > 0; queue = queue[1:] {
		if queue[0].UID == "" {
			continue
		}
		for _, o := range r.family.byOwner[queue[0].UID] {
			if !seen[o] {
				seen[o] = true
				out, queue = append(out, o), append(queue, o)
			}
		}
	}
	return out
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
	if was != nil && was.keys != nil && slices.Equal(was.keys, now.keys) {
		return
	}
	for _, child := range r.family.children(o) {
		delete(done, child)
		r.rejudge(child, done)
	}
}

// follow brings the index up to the snapshot and notes where joint checks are due.
func (r *run) follow(out, in []*inventory.Object) {
	r.ix = r.ix.Next(r.snap, out, in)
	for _, o := range in {
		if r.judged[o].problem != nil {
			r.ix.Undecodable(o)
		}
	}
	both := slices.Concat(out, in)
	for i := range r.e.opt.Joint {
		c := &r.e.opt.Joint[i]
		for _, place := range r.ix.Due(c, both) {
			r.due[i][place] = true
		}
		for place := range r.joint[i] {
			if r.ix.At(place) == nil {
				delete(r.joint[i], place)
			}
		}
		for _, o := range out {
			if s := r.joint[i][c.Place(o)]; s != nil && !r.due[i][c.Place(o)] {
				s.move(o, r.snap.Find(o.Group(), o.Kind, o.Namespace, o.Name))
			}
		}
	}
}

// everything makes all joint checks due in all places.
func (r *run) everything() {
	for i := range r.e.opt.Joint {
		r.joint[i], r.due[i] = map[string]*said{}, map[string]bool{}
		for _, place := range r.ix.Places(&r.e.opt.Joint[i]) {
			r.due[i][place] = true
		}
	}
}

// refresh runs the joint checks that are due, and gives how many ran.
func (r *run) refresh(ctx context.Context) (int, error) {
	type task struct {
		check int
		place string
	}
	var tasks []task
	for i, due := range r.due {
		for place := range due {
			if r.ix.At(place) == nil {
				delete(due, place)
				continue
			}
			tasks = append(tasks, task{i, place})
		}
	}
	results := make([]*said, len(tasks))
	err := r.e.each(ctx, len(tasks), 1, func(n int) {
		results[n] = check(&r.e.opt.Joint[tasks[n].check], r.ix, tasks[n].place)
	})
	did := 0
	for n, t := range tasks {
		if results[n] != nil { // else ctx has ended
			r.joint[t.check][t.place] = results[n]
			delete(r.due[t.check], t.place)
			did++
		}
	}
	return did, err
}

// index makes the Index of a snapshot whose objects were judged.
func (e *Engine) index(snap *inventory.Snapshot, judged map[*inventory.Object]*judged) *graph.Index {
	ix := graph.NewIndex(snap)
	ix.Now = e.opt.Now
	for o, j := range judged {
		if j.problem != nil {
			ix.Undecodable(o)
		}
	}
	return ix
}
