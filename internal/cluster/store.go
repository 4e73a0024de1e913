package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Store keeps objects as they come from a server and gives Snapshots of them. A
// change costs what it touches: lists of kinds that did not change are shared
// from one Snapshot to the next, and an object that did not change is the same
// pointer. Its methods may be called at the same time. Make one with NewStore.
type Store struct {
	mu      sync.Mutex
	shelves []*shelf // in the order of kinds
	last    *Snapshot
}

// item is one object and the hash of what configuration depends on.
type item struct {
	obj  Object
	hash digest
	// err, where set, says why the object is an *Undecoded.
	err error
}

// shelf holds the objects of one kind.
type shelf struct {
	kind *kind
	held map[name]item
	// sorted are the objects of the last Snapshot, touched the names that
	// changed since.
	sorted  []item
	touched map[name]struct{}
	// broken counts the items that are Undecoded.
	broken int
	// unreadable and absent say why there is nothing.
	unreadable, absent string
	// stale shelves differ from the last Snapshot.
	stale bool
	hash  digest // of sorted
}

// maxNamed is how many undecodable objects a reason names.
const maxNamed = 3

// NewStore gives a Store in which every kind is unreadable, for the reason that
// nothing was read yet.
func NewStore() *Store {
	s := &Store{}
	for _, k := range kinds() {
		s.shelves = append(s.shelves, &shelf{
			kind: k, held: map[name]item{}, touched: map[name]struct{}{}, unreadable: "not read yet", stale: true,
			hash: sha256.Sum256(nil),
		})
	}
	return s
}

// Assemble gives a Snapshot of objects, of which it takes possession, in
// whatever order they come; of two with the same name the later one counts.
// Kinds of which there is none are empty unless unreadable names them. Objects
// for which a Snapshot has no list are left out.
func Assemble(objects []Object, unreadable []Unreadable) *Snapshot {
	byKind := map[*kind][]Object{}
	for _, obj := range objects {
		if k := kindOf(obj); k != nil {
			k.admit(obj)
			byKind[k] = append(byKind[k], obj)
		}
	}
	s := NewStore()
	for _, sh := range s.shelves {
		if err := s.Replace(sh.kind.name, byKind[sh.kind]); err != nil {
			sh.say(err.Error(), "")
		}
	}
	for _, u := range unreadable {
		if sh, err := s.shelf(u.Kind); err == nil {
			sh.say(u.Reason, "")
		}
	}
	return s.Snapshot()
}

func (s *Store) shelf(kindName string) (*shelf, error) {
	for _, sh := range s.shelves {
		if sh.kind.name == kindName {
			return sh, nil
		}
	}
	return nil, fmt.Errorf("kind %s is none that Bulwark reads", kindName)
}

// shelfOf also takes an *Undecoded.
func (s *Store) shelfOf(obj Object) (*shelf, error) {
	if u, ok := obj.(*Undecoded); ok {
		return s.shelf(u.Kind)
	}
	k := kindOf(obj)
	if k == nil {
		return nil, fmt.Errorf("%T is no kind that Bulwark reads", obj)
	}
	return s.shelf(k.name)
}

func (sh *shelf) itemOf(obj Object) (item, error) {
	if u, ok := obj.(*Undecoded); ok {
		return item{obj: obj, err: u.Err}, nil
	}
	hash, err := digestOf(sh.kind, obj)
	return item{obj: obj, hash: hash}, err
}

// Put enters an object that Decode or Admit gave, or an *Undecoded, in place of
// the one of its name. A kind that is unreadable or absent stays so.
func (s *Store) Put(obj Object) error {
	sh, err := s.shelfOf(obj)
	if err != nil {
		return err
	}
	e, err := sh.itemOf(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.put(e)
	return nil
}

// Remove takes out the object of a name, if it is there.
func (s *Store) Remove(kindName, namespace, objName string) error {
	sh, err := s.shelf(kindName)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.remove(name{namespace, objName})
	return nil
}

// Replace makes objects, each as for Put, all there is of a kind, and the kind
// readable. No Snapshot shows a part of it.
func (s *Store) Replace(kindName string, objects []Object) error {
	sh, err := s.shelf(kindName)
	if err != nil {
		return err
	}
	items := make(map[name]item, len(objects))
	for _, obj := range objects {
		if other, err := s.shelfOf(obj); err != nil || other != sh {
			return fmt.Errorf("replace the objects of kind %s: %T is of another kind", kindName, obj)
		}
		e, err := sh.itemOf(obj)
		if err != nil {
			return err
		}
		items[nameOf(obj)] = e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range sh.held {
		if _, still := items[n]; !still {
			sh.remove(n)
		}
	}
	for _, e := range items {
		sh.put(e)
	}
	sh.say("", "")
	return nil
}

// SetUnreadable drops the objects of a kind and says why it cannot be read,
// until Replace.
func (s *Store) SetUnreadable(kindName, reason string) error {
	return s.drop(kindName, reason, "")
}

// SetAbsent drops the objects of a kind that the server does not have, until
// Replace.
func (s *Store) SetAbsent(kindName, reason string) error {
	return s.drop(kindName, "", reason)
}

func (s *Store) drop(kindName, unreadable, absent string) error {
	if unreadable == "" && absent == "" {
		return fmt.Errorf("drop the objects of kind %s: no reason given", kindName)
	}
	sh, err := s.shelf(kindName)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range sh.held {
		sh.remove(n)
	}
	sh.say(unreadable, absent)
	return nil
}

// Len is the number of objects held of a kind.
func (s *Store) Len(kindName string) int {
	sh, err := s.shelf(kindName)
	if err != nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(sh.held)
}

func (sh *shelf) put(e item) {
	n := nameOf(e.obj)
	old, ok := sh.held[n]
	if ok && same(old, e) {
		return
	}
	if ok && old.err != nil {
		sh.broken--
	}
	if e.err != nil {
		sh.broken++
	}
	sh.held[n] = e
	sh.touch(n)
}

// same reports whether both are the same state of an object, which a server
// sends again after a relist.
func same(a, b item) bool {
	rv := a.obj.GetResourceVersion()
	return rv != "" && rv == b.obj.GetResourceVersion() && a.obj.GetUID() == b.obj.GetUID() &&
		a.hash == b.hash && (a.err == nil) == (b.err == nil)
}

func (sh *shelf) remove(n name) {
	old, ok := sh.held[n]
	if !ok {
		return
	}
	if old.err != nil {
		sh.broken--
	}
	delete(sh.held, n)
	sh.touch(n)
}

func (sh *shelf) touch(n name) {
	sh.touched[n] = struct{}{}
	sh.stale = true
}

func (sh *shelf) say(unreadable, absent string) {
	if sh.unreadable != unreadable || sh.absent != absent {
		sh.unreadable, sh.absent, sh.stale = unreadable, absent, true
	}
}

// Snapshot gives what is held now. It is the Snapshot before if nothing changed.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && !slices.ContainsFunc(s.shelves, func(sh *shelf) bool { return sh.stale }) {
		return s.last
	}
	snap := &Snapshot{}
	sum := sha256.New()
	for _, sh := range s.shelves {
		if sh.stale || s.last == nil {
			sh.refresh()
			sh.kind.list.fill(snap, sh.shown())
		} else {
			sh.kind.list.share(snap, s.last)
		}
		snap.count += len(sh.shown())
		if why := sh.why(); why != "" {
			snap.Unreadable = append(snap.Unreadable, Unreadable{Kind: sh.kind.name, Reason: why})
		}
		if sh.absent != "" {
			snap.Absent = append(snap.Absent, Unreadable{Kind: sh.kind.name, Reason: sh.absent})
		}
		_, _ = fmt.Fprintf(sum, "%s %x %q\n", sh.kind.name, sh.hash, sh.why()) // a hash takes everything
	}
	snap.digest = hex.EncodeToString(sum.Sum(nil))
	s.last = snap
	return snap
}

// why says why the kind cannot be read, or "".
func (sh *shelf) why() string {
	if sh.unreadable != "" || sh.broken == 0 {
		return sh.unreadable
	}
	var all []string
	for _, e := range sh.held {
		if e.err != nil {
			all = append(all, e.err.Error())
		}
	}
	slices.Sort(all)
	if more := len(all) - maxNamed; more > 0 {
		all = append(all[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// shown are the items that a Snapshot has.
func (sh *shelf) shown() []item {
	if sh.unreadable != "" || sh.absent != "" || sh.broken > 0 {
		return nil
	}
	return sh.sorted
}

// refresh brings sorted up to date, in one pass over the list.
func (sh *shelf) refresh() {
	sh.stale = false
	if len(sh.touched) == 0 {
		return
	}
	changed := slices.SortedFunc(maps.Keys(sh.touched), name.compare)
	clear(sh.touched)
	merged := make([]item, 0, len(sh.held))
	old := sh.sorted
	for _, n := range changed {
		i, found := slices.BinarySearchFunc(old, n, func(e item, n name) int { return nameOf(e.obj).compare(n) })
		merged = append(merged, old[:i]...)
		if found {
			i++
		}
		old = old[i:]
		if e, ok := sh.held[n]; ok {
			merged = append(merged, e)
		}
	}
	sh.sorted = append(merged, old...)
	sum := sha256.New()
	for i := range sh.sorted {
		_, _ = sum.Write(sh.sorted[i].hash[:]) // a hash takes everything
	}
	sum.Sum(sh.hash[:0])
}
