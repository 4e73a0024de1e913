package relay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster"
)

// entry is an object as it travels. It never changes.
type entry struct {
	// key is "kind-id namespace name". No name holds a space, so that keys sort
	// by kind, namespace and name.
	key  string
	kind *kind
	sum  [sha256.Size]byte // of the object's JSON
	obj  cluster.Object
	// frame is the whole "set" line, on the sending side only.
	frame []byte
	// size is the length of the JSON.
	size int
}

func keyOf(k *kind, o cluster.Object) string {
	return k.id + " " + o.GetNamespace() + " " + o.GetName()
}

func byKey(a, b *entry) int { return strings.Compare(a.key, b.key) }

// state is everything at one revision. It never changes.
type state struct {
	revision   uint64
	digest     string
	entries    []*entry // by key
	unreadable []byte   // JSON, "[]" for nothing
}

// digestOf is the hash of a whole set: of the hashes of its objects, in the
// order of their keys, and of what is unreadable. The JSON of an object holds
// its kind and name.
func digestOf(entries []*entry, unreadable []byte) string {
	sum := sha256.New()
	for _, e := range entries {
		_, _ = sum.Write(e.sum[:]) // a hash takes everything
	}
	_, _ = sum.Write(unreadable)
	return hex.EncodeToString(sum.Sum(nil))
}

// encoder makes states out of snapshots. It encodes only objects that it has
// not met before.
type encoder struct {
	met map[cluster.Object]*entry
	// encodes counts the objects that were encoded.
	encodes uint64
}

// state gives the state of a snapshot, without its revision. Old may be nil.
func (e *encoder) state(old *state, snap *cluster.Snapshot, uses func(kind, namespace, name string) bool) *state {
	next := &state{}
	met := make(map[cluster.Object]*entry, len(e.met))
	unreadable := slices.Clone(snap.Unreadable)
	if old != nil {
		next.entries = make([]*entry, 0, len(old.entries)+16)
	}
	cannot := func(k, reason string) { unreadable = append(unreadable, cluster.Unreadable{Kind: k, Reason: reason}) }
	for o := range snap.All() {
		k := kindOf(o)
		if k == nil {
			cannot(o.GetObjectKind().GroupVersionKind().Kind, "data planes are not told of this kind")
			continue
		}
		if !wanted(k, o, uses) {
			continue
		}
		known := e.met[o]
		if known == nil {
			var err error
			if known, err = e.entry(old, k, o); err != nil {
				cannot(k.name, err.Error())
				continue
			}
		}
		met[o] = known
		next.entries = append(next.entries, known)
	}
	e.met = met
	next.entries = slices.DeleteFunc(next.entries, func(n *entry) bool {
		// Of a kind that is not known in full, nothing is.
		return slices.ContainsFunc(unreadable, func(u cluster.Unreadable) bool { return u.Kind == n.kind.name })
	})
	slices.SortFunc(next.entries, byKey)
	next.unreadable = encodeUnreadable(unreadable)
	next.digest = digestOf(next.entries, next.unreadable)
	return next
}

// entry encodes an object. One whose JSON is what it was stays the same entry:
// only its status changed, or its reader made a copy.
func (e *encoder) entry(old *state, k *kind, o cluster.Object) (*entry, error) {
	e.encodes++
	text, err := k.encode(o)
	if err != nil {
		return nil, err
	}
	n := &entry{key: keyOf(k, o), kind: k, sum: sha256.Sum256(text), obj: o, size: len(text)}
	if old != nil {
		if i, found := slices.BinarySearchFunc(old.entries, n, byKey); found && old.entries[i].sum == n.sum {
			return old.entries[i], nil
		}
	}
	n.frame = make([]byte, 0, len(verbSet)+len(k.id)+len(text)+3)
	n.frame = append(n.frame, verbSet+" "+k.id+" "...)
	n.frame = append(append(n.frame, text...), '\n')
	if len(n.frame) > MaxFrame {
		return nil, fmt.Errorf("%s %s/%s is too large for data planes: %d bytes, at most %d", k.name, o.GetNamespace(), o.GetName(), len(n.frame), MaxFrame)
	}
	return n, nil
}

// encodeUnreadable gives the list in one order, whoever made it.
func encodeUnreadable(list []cluster.Unreadable) []byte {
	slices.SortFunc(list, func(a, b cluster.Unreadable) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.Reason, b.Reason)
	})
	list = slices.Compact(list)
	b, err := json.Marshal(list)
	if err != nil || len(list) == 0 {
		return []byte("[]")
	}
	return b
}

// writeDelta writes the lines that lead from one state to another, commit
// included. From may be nil: then everything is written. It returns the first
// error of w.
func writeDelta(w *bufio.Writer, from, to *state) error {
	var old []*entry
	unreadable := []byte("[]")
	if from == nil {
		_, _ = w.WriteString(verbReset + "\n") // an error stays, and Flush gives it
	} else {
		old, unreadable = from.entries, from.unreadable
	}
	walk(old, to.entries,
		func(e *entry) { _, _ = w.Write(e.frame) },
		func(e *entry) { _, _ = w.WriteString(verbDel + " " + e.key + "\n") })
	if !bytes.Equal(unreadable, to.unreadable) {
		_, _ = w.Write(line(verbUnreadable, json.RawMessage(to.unreadable)))
	}
	_, _ = w.Write(line(verbCommit, commit{Revision: to.revision, Digest: to.digest}))
	return w.Flush()
}

// walk tells what leads from one sorted list of entries to another: those that
// are new or other in to, and those of from that are gone.
func walk(from, to []*entry, put, remove func(*entry)) {
	for len(from) > 0 || len(to) > 0 {
		switch {
		case len(to) == 0 || len(from) > 0 && from[0].key < to[0].key:
			remove(from[0])
			from = from[1:]
		case len(from) > 0 && from[0].key == to[0].key:
			if from[0] != to[0] {
				put(to[0])
			}
			from, to = from[1:], to[1:]
		default:
			put(to[0])
			to = to[1:]
		}
	}
}
