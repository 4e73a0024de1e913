package posture

import (
	"maps"
	"slices"
	"sync"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// said is what a joint check said in one place. Nearly all of it is passes, one for
// each workload and check, of which nobody asks for more than the object.
type said struct {
	passed []*inventory.Object
	silent []silent
	told   []emission
}

// silent is a verdict that is counted and not told.
type silent struct {
	object  *inventory.Object
	verdict bulwark.Verdict
	why     string
}

// emission is a fail or an unknown of a joint check; object is nil for the cluster.
type emission struct {
	object *inventory.Object
	control.Result
}

const breakdown = "the control broke down"

// check runs one joint check in one place. A panic is unknown for the cluster.
func check(c *graph.Check, ix *graph.Index, place string) (out *said) {
	var mu sync.Mutex
	defer func() {
		if r := recover(); r != nil {
			out = &said{told: []emission{{nil, control.Result{Verdict: bulwark.VerdictUnknown, Reason: breakdown, Message: "cannot be judged: " + breakdown}}}}
		}
	}()
	out = &said{}
	c.JudgeAt(ix, place, func(o *inventory.Object, r control.Result) {
		mu.Lock()
		defer mu.Unlock()
		out.add(o, r)
	})
	return out
}

func (s *said) add(o *inventory.Object, r control.Result) {
	switch r.Verdict {
	case bulwark.VerdictPass:
		s.passed = append(s.passed, o)
	case bulwark.VerdictNotApplicable, bulwark.VerdictExcepted:
		s.silent = append(s.silent, silent{o, r.Verdict, r.Reason})
	case bulwark.VerdictFail, bulwark.VerdictUnknown:
		if r.Key == "" {
			r.Key = defaultKey(&r)
		}
		s.told = append(s.told, emission{o, r})
	}
}

// move puts what was said of an object to the one in its place, which differs from it
// in nothing that the check reads; with nil it drops that.
func (s *said) move(from, to *inventory.Object) {
	if s == nil {
		return
	}
	if to == nil {
		s.passed = slices.DeleteFunc(s.passed, func(o *inventory.Object) bool { return o == from })
		s.silent = slices.DeleteFunc(s.silent, func(q silent) bool { return q.object == from })
		s.told = slices.DeleteFunc(s.told, func(em emission) bool { return em.object == from })
		return
	}
	for i, o := range s.passed {
		if o == from {
			s.passed[i] = to
		}
	}
	for i := range s.silent {
		if s.silent[i].object == from {
			s.silent[i].object = to
		}
	}
	for i := range s.told {
		if s.told[i].object == from {
			s.told[i].object = to
		}
	}
}

// verdicts gives the worst that a joint check said of each object, in all places,
// and what is to be told. It puts the reasons into the tally.
func (r *run) verdicts(check int, t *Tally) (map[*inventory.Object]bulwark.Verdict, []emission) {
	out := map[*inventory.Object]bulwark.Verdict{}
	note := func(o *inventory.Object, v bulwark.Verdict) {
		if was, ok := out[o]; !ok || worst(v) > worst(was) {
			out[o] = v
		}
	}
	var told []emission
	broken := false
	for _, place := range slices.Sorted(maps.Keys(r.joint[check])) {
		s := r.joint[check][place]
		for _, o := range s.passed {
			note(o, bulwark.VerdictPass)
		}
		for _, q := range s.silent {
			note(q.object, q.verdict)
			t.reason(q.why)
		}
		for _, em := range s.told {
			note(em.object, em.Verdict)
			if em.Verdict == bulwark.VerdictUnknown {
				t.reason(em.Reason)
			}
			// It may break down in each place, and that is told once.
			if em.object == nil && em.Reason == breakdown {
				if broken {
					continue
				}
				broken = true
			}
			told = append(told, em)
		}
	}
	return out, told
}
