package compile

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// trace is what a part of a run looked up: it comes out the same while all of
// that is the same.
type trace struct {
	objects []looked
	spaces  []secretsOf
	// at is index.looked when all was seen to be the same; 0 for never.
	at int
}

type looked struct {
	kind string
	key
	found any // the object, or nil
	use   *used
}

type secretsOf struct {
	namespace string
	secrets   []*corev1.Secret
}

// trace has lookups noted from now on; nil ends it.
func (ix *index) trace(t *trace) {
	ix.tracing = t
	if t != nil {
		t.at = ix.looked
	}
}

// object gives a Service, Secret or ConfigMap, or nil.
func (ix *index) object(kind string, k key) any {
	switch kind {
	case kindService:
		if s, ok := ix.services[k]; ok {
			return s
		}
	case kindSecret:
		if s, ok := ix.secrets[k]; ok {
			return s
		}
	case kindConfigMap:
		if m, ok := ix.configMaps[k]; ok {
			return m
		}
	}
	return nil
}

// holds reports whether everything that was looked up is the same now.
func (t *trace) holds(ix *index) bool {
	if t.at != 0 && t.at == ix.looked {
		return true
	}
	for _, o := range t.objects {
		if ix.object(o.kind, o.key) != o.found {
			return false
		}
	}
	for _, s := range t.spaces {
		if !slices.Equal(s.secrets, ix.inSpace[s.namespace]) {
			return false
		}
	}
	t.at = ix.looked
	return true
}

// replay notes the uses again.
func (t *trace) replay(ix *index) {
	for i := range t.objects {
		if o := &t.objects[i]; !ix.uses.mark(o.use) {
			o.use = ix.use(o.kind, o.key)
		}
	}
}

// useSet collects what a run looks up, and keeps it for the next.
type useSet struct {
	all   map[Use]*used
	run   int
	count int  // marked in this run
	grew  bool // some of them for the first time
	last  []Use
}

// used is a Use and the last run that had it.
type used struct {
	Use
	run  int
	gone bool // no longer in the set
}

func newUseSet() *useSet { return &useSet{all: map[Use]*used{}} }

func (s *useSet) start() { s.run, s.count, s.grew = s.run+1, 0, false }

// mark notes a use of before; false says that it was forgotten since.
func (s *useSet) mark(u *used) bool {
	if u.gone {
		return false
	}
	if u.run != s.run {
		u.run = s.run
		s.count++
	}
	return true
}

func (s *useSet) add(u Use) *used {
	known := s.all[u]
	if known == nil {
		known = &used{Use: u}
		s.all[u], s.grew = known, true
	}
	s.mark(known)
	return known
}

// list gives the uses of this run, sorted, and forgets all others.
func (s *useSet) list() []Use {
	if !s.grew && s.count == len(s.last) {
		return s.last // all of them were there before, and none is missing
	}
	s.last = make([]Use, 0, s.count)
	for k, u := range s.all {
		if u.run != s.run {
			u.gone = true
			delete(s.all, k)
			continue
		}
		s.last = append(s.last, k)
	}
	slices.SortFunc(s.last, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	if len(s.last) == 0 {
		s.last = nil
	}
	return s.last
}
