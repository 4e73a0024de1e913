package provision

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// patience is how long an object that was made may stay out of the Snapshot
// before it is believed to be gone again.
const patience = 30 * time.Second

// key names an object of one kind.
type key struct{ namespace, name string }

func keyOf(o metav1.Object) key { return key{o.GetNamespace(), o.GetName()} }

// seen gives objects of one kind as we know them: from the Snapshot, or from the
// answer to a write that the Snapshot does not show yet. It is not safe for use
// by several goroutines.
type seen[T metav1.Object] struct {
	snapshot map[key]T
	written  map[key]answer[T]
	deleted  map[key]types.UID
}

// answer is an object as the API server has it after our write.
type answer[T metav1.Object] struct {
	object T
	base   string // the resourceVersion that it was made from, "" if it was created
	at     time.Time
}

func newSeen[T metav1.Object]() *seen[T] {
	return &seen[T]{map[key]T{}, map[key]answer[T]{}, map[key]types.UID{}}
}

// show takes in a Snapshot, and forgets what it shows by now.
func (s *seen[T]) show(objects []T, now time.Time) {
	s.snapshot = make(map[key]T, len(objects))
	for _, o := range objects {
		s.snapshot[keyOf(o)] = o
	}
	for k, a := range s.written {
		o, there := s.snapshot[k]
		switch {
		case there && o.GetUID() == a.object.GetUID() && before(o.GetResourceVersion(), a.base, a.object.GetResourceVersion()):
		case !there && a.base == "" && now.Sub(a.at) < patience:
		default:
			delete(s.written, k)
		}
	}
	for k, uid := range s.deleted {
		if o, there := s.snapshot[k]; !there || o.GetUID() != uid {
			delete(s.deleted, k)
		}
	}
}

// before reports whether an object at a resourceVersion is older than the
// answer to a write from base.
func before(version, base, answered string) bool {
	c, err := resourceversion.CompareResourceVersion(version, answered)
	return version == base || err == nil && c < 0
}

// get gives an object, and whether there is one.
func (s *seen[T]) get(k key) (T, bool) {
	if a, ok := s.written[k]; ok {
		return a.object, true
	}
	o, ok := s.snapshot[k]
	if uid, gone := s.deleted[k]; ok && gone && uid == o.GetUID() {
		var none T
		return none, false
	}
	return o, ok
}

// wrote remembers the answer to a write.
func (s *seen[T]) wrote(o T, base string, now time.Time) {
	s.written[keyOf(o)] = answer[T]{o, base, now}
}

// removed remembers a deletion.
func (s *seen[T]) removed(o T) {
	s.deleted[keyOf(o)] = o.GetUID()
	delete(s.written, keyOf(o))
}

// unseen reports whether the Snapshot still lacks something that was made.
func (s *seen[T]) unseen() bool { return len(s.written) > 0 }
