package compile

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// goodForms remembers of each SecurityPolicy the last two forms that were good.
// What is kept is the object, not what was made of it: a credential that was
// revoked since then does not come back with it.
type goodForms struct {
	last map[policyID][2]*v1alpha1.SecurityPolicy // the latest first
	// bad are the objects that were found to be broken elsewhere, and why.
	bad map[*v1alpha1.SecurityPolicy]string
}

func newGoodForms() *goodForms {
	return &goodForms{last: map[policyID][2]*v1alpha1.SecurityPolicy{}, bad: map[*v1alpha1.SecurityPolicy]string{}}
}

// policyID tells an object from one of the same name that was made anew.
type policyID struct {
	key
	uid types.UID
}

func idOf(obj *v1alpha1.SecurityPolicy) policyID { return policyID{keyOf(obj), obj.UID} }

// meet takes obj for the form that it is: a new object of the same form, which
// every write to status or labels makes, stands where the one before it stood.
func (g *goodForms) meet(obj *v1alpha1.SecurityPolicy) {
	id := idOf(obj)
	l := g.last[id]
	for i, o := range l {
		if o == nil || o == obj || !sameForm(o, obj) {
			continue
		}
		l[i] = obj
		g.last[id] = l
		if why, bad := g.bad[o]; bad {
			delete(g.bad, o)
			g.bad[obj] = why
		}
		return
	}
}

// sameForm reports whether two objects of one policy ask for the same.
func sameForm(a, b *v1alpha1.SecurityPolicy) bool {
	return a.Annotations[v1alpha1.AnnotationUnread] == b.Annotations[v1alpha1.AnnotationUnread] &&
		equality.Semantic.DeepEqual(&a.Spec, &b.Spec)
}

// keep remembers a form that is good. It takes the place of one that was found
// to be bad since: two bad edits in a row do not push out what is in force.
func (g *goodForms) keep(obj *v1alpha1.SecurityPolicy) {
	id := idOf(obj)
	l := g.last[id]
	if l[0] == obj {
		return
	}
	if _, bad := g.bad[l[0]]; bad {
		delete(g.bad, l[0])
		l[0] = l[1]
	}
	g.last[id] = [2]*v1alpha1.SecurityPolicy{obj, l[0]}
}

// before gives the form that a broken one falls back to: the latest that was
// good. There is none where that is obj itself: what it names broke since, and
// nobody asks for the form before it any more. Nil means none.
func (g *goodForms) before(obj *v1alpha1.SecurityPolicy) *v1alpha1.SecurityPolicy {
	for _, o := range g.last[idOf(obj)] {
		if o == nil {
			continue
		}
		if _, bad := g.bad[o]; bad {
			continue // it was never in force
		}
		if o == obj {
			return nil
		}
		return o
	}
	return nil
}

// sweep forgets policies that are no longer there.
func (g *goodForms) sweep(objects []*v1alpha1.SecurityPolicy) {
	there := make(map[policyID]bool, len(objects))
	for _, o := range objects {
		if o != nil {
			there[idOf(o)] = true
		}
	}
	for id := range g.last {
		if !there[id] {
			delete(g.last, id)
		}
	}
	for o := range g.bad {
		if !there[idOf(o)] {
			delete(g.bad, o)
		}
	}
}

// judgeWithPast judges a policy. One that is broken but was good before gets
// that form to stand in for it, if it is good still.
func (c *compiler) judgeWithPast(obj *v1alpha1.SecurityPolicy) *policy {
	p := c.judgeOnce(obj)
	if c.good == nil {
		return p
	}
	c.good.meet(obj)
	if why, bad := c.good.bad[obj]; bad {
		p.problems, p.brokenAll = []string{why}, why
	}
	if len(p.problems) == 0 {
		c.good.keep(obj)
		return p
	}
	if old := c.good.before(obj); old != nil {
		if q := c.judgeOnce(old); len(q.problems) == 0 {
			p.standIn = q
			p.problems = append(slices.Clip(p.problems), fmt.Sprintf("generation %d is still in force", old.Generation))
		}
	}
	return p
}

// stoodIn gives the earlier forms that are in force, by today's.
func (c *compiler) stoodIn() map[*v1alpha1.SecurityPolicy]*v1alpha1.SecurityPolicy {
	out := map[*v1alpha1.SecurityPolicy]*v1alpha1.SecurityPolicy{}
	for _, p := range c.policies {
		if p.standIn != nil {
			out[p.source] = p.standIn.source
		}
	}
	return out
}

// formed is a target that a policy names and the form that is in force there.
type formed struct {
	ref  gwv1.LocalPolicyTargetReferenceWithSectionName
	form *policy
}

// forms gives the policy's targets. Where an earlier form stands in, it does so
// where it was in force before; targets that are new get the broken one.
func (p *policy) forms() []formed {
	if p.standIn == nil {
		if p.own == nil {
			p.own = make([]formed, 0, len(p.obj.Spec.TargetRefs))
			for _, ref := range p.obj.Spec.TargetRefs {
				p.own = append(p.own, formed{ref, p})
			}
		}
		return p.own
	}
	var out []formed
	was := map[string]bool{}
	nameOf := func(r gwv1.LocalPolicyTargetReferenceWithSectionName) string {
		return string(r.Group) + " " + string(r.Kind) + " " + string(r.Name) + " " + or(r.SectionName, "")
	}
	for _, ref := range p.standIn.obj.Spec.TargetRefs {
		was[nameOf(ref)] = true
		out = append(out, formed{ref, p.standIn})
	}
	for _, ref := range p.obj.Spec.TargetRefs {
		if !was[nameOf(ref)] {
			out = append(out, formed{ref, p})
		}
	}
	return out
}
