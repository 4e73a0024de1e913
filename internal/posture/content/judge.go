package content

import (
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// Limits on what one control says of one object, since a made-up one could hold
// millions of parts that fail; more say nothing new.
const (
	// most is how many results fail, and how many are unknown.
	most = 500
	// mostText is how many bytes the messages have before they are cut.
	mostText = 64 << 10
)

// Applies reports whether the control is for objects of this kind.
func (c *Control) Applies(s *control.Subject) bool {
	a := &c.AppliesTo
	switch {
	case a.Pods:
		return len(s.Pods) > 0
	case a.Component != "":
		return len(s.Pods) > 0 && slices.Contains(prepare(s).commands, a.Component)
	}
	for _, k := range a.Kinds {
		if k.Kind == s.Object.Kind && k.Group == s.Object.Group() {
			return true
		}
	}
	return false
}

// Judge gives the verdicts on an object.
func (c *Control) Judge(s *control.Subject) []control.Result {
	code, err := c.code()
	if err != nil {
		return unjudged(notRun)
	}
	if code.effort.quantities && prepare(s).endless {
		return unjudged("a number in the object is out of all measure")
	}
	e, _ := evaluations.Get().(*evaluation)
	defer func() { e.release() }()
	e.c, e.code, e.s, e.ready = c, code, s, prepare(s)
	e.guarded, e.left = code.effort.high(e.ready), mostTurns
	if code.needs&needParams != 0 {
		e.vars["params"] = c.params
	}
	e.object()
	switch {
	case len(e.out) > 0:
		return e.out
	case e.passed || !e.skipped:
		return c.passes
	}
	return c.skips
}

// unjudged gives the result of a control that says nothing of an object.
func unjudged(why string) []control.Result {
	return []control.Result{{Verdict: bulwark.VerdictUnknown, Message: "cannot be judged: " + why, Reason: why}}
}

// evaluation is one run of one control over one object. It is what CEL asks for
// the values of names.
type evaluation struct {
	c               *Control
	code            *code
	s               *control.Subject
	ready           *prepared
	pod             int // index of the pod in s, -1: none
	vars            map[string]any
	container, item any
	// index and chain are the places and values of the elements that lead to the item.
	index []int
	chain []any

	guarded bool // what is done is taken off what is left
	left    int
	now     said  // of the place that is being judged
	some    tally // of now

	passed, skipped bool
	out             []control.Result
	all             tally // of out
	text            int   // bytes of the messages in out
}

// tally counts results.
type tally struct{ fails, unknowns int }

// room counts one more, unless there are enough of its verdict: each has its own
// limit, so that what fails is told however much is unknown.
func (t *tally) room(v bulwark.Verdict) bool {
	n := &t.unknowns
	if v == bulwark.VerdictFail {
		n = &t.fails
	}
	if *n >= most {
		return false
	}
	*n++
	return true
}

var evaluations = sync.Pool{New: func() any { return &evaluation{vars: make(map[string]any, len(variableNames))} }} //nolint:gochecknoglobals // a pool

func (e *evaluation) release() {
	clear(e.vars)
	clear(e.chain[:cap(e.chain)])
	*e = evaluation{vars: e.vars, index: e.index[:0], chain: e.chain[:0]}
	evaluations.Put(e)
}

// ResolveName gives the value of a name in CEL.
func (e *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case "container":
		return e.container, true
	case "item":
		return e.item, true
	case "variables":
		return e.vars, true
	case "object":
		return e.s.Content, true
	case "#interrupted": // which guarded programs ask in each turn of a macro
		return !e.spend(1), true
	case itself:
		return e, true
	}
	return nil, false
}

// Parent gives nil: names stand nowhere else.
func (e *evaluation) Parent() cel.Activation { return nil }

// object runs the control for each pod of the object, or once where it looks at
// none.
func (e *evaluation) object() {
	c := e.c
	if !e.perPod() || len(e.s.Pods) == 0 {
		e.pod = -1
		if c.scope == ScopeObject || c.scope == ScopeObjectList {
			e.bind()
			e.judge("", "", nil, nil)
		}
		return
	}
	for i := range e.s.Pods {
		e.pod = i
		e.bind()
		all := e.s.ContainersOf(i)
		if c.AppliesTo.Component == "" && !c.perContainer() {
			e.judge(e.base(), "", nil, nil)
			continue
		}
		for k := range all {
			if e.all.fails >= most {
				return
			}
			if c.AppliesTo.Component != "" {
				if command(all[k].Spec) != c.AppliesTo.Component {
					continue
				}
				if e.code.needs&needArgs != 0 {
					e.vars["args"] = e.args(k)
				}
			}
			at := e.base()
			if c.perContainer() {
				at = all[k].Path
			}
			e.judge(at, nameOf(all[k].Spec), all[k].Spec, e.ready.pods[i].containers[k].hashes)
		}
	}
}

func (e *evaluation) perPod() bool {
	c := e.c
	return e.code.needs&(needPod|needMetadata|needContainers) != 0 || c.AppliesTo.Component != "" ||
		c.scope != ScopeObject && c.scope != ScopeObjectList
}

func (c *Control) perContainer() bool {
	return c.scope == ScopeContainer || c.scope == ScopeContainerList
}

// base gives the path that the pod's scopes start from.
func (e *evaluation) base() string {
	if e.c.scope == ScopePod || e.c.scope == ScopePodList {
		return e.s.Pods[e.pod].Path
	}
	return ""
}

func (e *evaluation) args(k int) []any {
	p := &e.ready.pods[e.pod].containers[k]
	if p.args == nil {
		p.args = flags(e.s.ContainersOf(e.pod)[k].Spec)
	}
	return p.args
}

// bind sets what variables show of the pod, as far as the control reads it.
func (e *evaluation) bind() {
	needs := e.code.needs
	spec, metadata, containers := empty, empty, []any{}
	if e.pod >= 0 {
		p := &e.s.Pods[e.pod]
		if p.Spec != nil {
			spec = p.Spec
		}
		if p.Metadata != nil {
			metadata = p.Metadata
		}
	}
	if needs&needPod != 0 {
		e.vars["pod"] = spec
	}
	if needs&needMetadata != 0 {
		e.vars["podMetadata"] = metadata
	}
	if needs&needContainers == 0 {
		return
	}
	if e.pod >= 0 {
		ready := &e.ready.pods[e.pod]
		if ready.all == nil {
			ready.all = make([]any, 0, len(ready.containers))
			for _, k := range e.s.ContainersOf(e.pod) {
				ready.all = append(ready.all, k.Spec)
			}
		}
		containers = ready.all
	}
	e.vars["containers"] = containers
}

var empty = map[string]any{} //nolint:gochecknoglobals // constant

// judge runs the control at one place: the object, a pod or a container, or the
// lists in it. spec and hashes are the container's, if there is one.
func (e *evaluation) judge(at, name string, spec map[string]any, hashes []uint64) {
	c := e.c
	e.container, e.item = spec, nil
	// Whether a part ends at the limit of the cost depends on the rest of its object.
	remember := c.memo != nil && !e.guarded
	var key uint64
	if remember {
		key, remember = e.key(spec, hashes)
	}
	if remember {
		if known := c.memo.get(key); known != nil {
			e.take(known, at, name)
			return
		}
	}
	e.now, e.some = said{key: key}, tally{}
	e.place(spec)
	e.take(&e.now, at, name)
	if remember && len(e.now.out) <= mostKept {
		keep := e.now
		c.memo.put(&keep)
	}
}

// key gives a hash of all that the control reads at a place, and whether that is
// known.
func (e *evaluation) key(spec map[string]any, hashes []uint64) (uint64, bool) {
	r := &e.code.reads
	if r.unknown || e.pod < 0 && r.pod|r.meta != 0 || hashes == nil && r.container != 0 {
		return 0, false
	}
	h := uint64(1)
	if r.container != 0 {
		h = sum(h, r.container, containerFields, hashes, spec)
	}
	if r.pod|r.meta != 0 {
		p := &e.ready.pods[e.pod]
		h = sum(h, r.pod, podFields, p.spec, e.s.Pods[e.pod].Spec)
		h = sum(h, r.meta, metaFields, p.meta, e.s.Pods[e.pod].Metadata)
	}
	if r.object != 0 {
		h = e.ready.sumObject(h, r.object, e.s.Content)
	}
	return h, true
}

// take adds an outcome at a place.
func (e *evaluation) take(s *said, at, name string) {
	e.passed, e.skipped = e.passed || s.passed, e.skipped || s.skipped
	for i := range s.out {
		o := &s.out[i]
		where := join(at, o.at)
		r := control.Result{Verdict: o.verdict, Field: where, Container: name, Key: e.name(name, o.id), Message: o.message, Reason: o.reason}
		const little = 256
		if e.text > mostText && len(r.Message) > little {
			r.Message = strings.ToValidUTF8(r.Message[:little], "") + "…"
		}
		if o.verdict == bulwark.VerdictFail {
			r.Field, r.Fix = join(where, e.c.Field), e.c.Edits(where)
			if container, ok := e.container.(map[string]any); ok && e.c.Flag != "" {
				r.Field = join(where, flagWord(container, e.c.Flag))
			}
		}
		same := func(o control.Result) bool { return o.Field == r.Field && o.Key == r.Key && o.Verdict == r.Verdict }
		if !slices.ContainsFunc(e.out, same) && e.all.room(r.Verdict) {
			e.out = append(e.out, r)
			e.text += len(r.Message)
		}
	}
}

// place judges the part or the list.
func (e *evaluation) place(spec map[string]any) {
	c := e.c
	if e.code.when != nil && e.code.when.needs&needPart == 0 {
		switch ok, why := e.bool(e.code.when); {
		case why != "":
			e.unknown("", why)
			return
		case !ok:
			e.now.skipped = true
			return
		}
	}
	switch c.scope {
	case ScopeObject, ScopePod, ScopeContainer:
		e.part()
	case ScopeObjectList:
		e.walk(e.s.Content, c.list)
	case ScopePodList:
		e.walk(e.s.Pods[e.pod].Spec, c.list)
	case ScopeContainerList:
		e.walk(spec, c.list)
	}
}

func nameOf(m map[string]any) string {
	s, _ := m["name"].(string)
	return s
}

// part judges one part.
func (e *evaluation) part() {
	c := e.c
	if e.some.fails >= most {
		return
	}
	if e.code.when != nil && e.code.when.needs&needPart != 0 {
		switch ok, why := e.bool(e.code.when); {
		case why != "":
			e.unknown(e.path(len(c.list)), why)
			return
		case !ok:
			e.now.skipped = true
			return
		}
	}
	ok, why := e.bool(e.code.check)
	switch {
	case why != "":
		e.unknown(e.path(len(c.list)), why)
	case ok:
		e.now.passed = true
	case e.some.room(bulwark.VerdictFail):
		e.now.out = append(e.now.out, outcome{verdict: bulwark.VerdictFail, at: e.path(len(c.list)), id: e.id(), message: e.message()})
	}
}

func (e *evaluation) unknown(at, why string) {
	if e.some.room(bulwark.VerdictUnknown) {
		e.now.out = append(e.now.out, outcome{verdict: bulwark.VerdictUnknown, at: at, id: e.id(), reason: why, message: "cannot be judged: " + why})
	}
}
