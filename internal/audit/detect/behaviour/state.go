package behaviour

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrOther says that a state is of a rule that says something else.
var ErrOther = errors.New("the rule says something else now")

// magic begins a state, with the version of its form.
const magic = "bwb\x01"

// shape tells a rule from one to which the same memory would say something else. What
// is judged may change, what is remembered may not.
func (s *Spec) shape() [8]byte {
	text, err := json.Marshal(struct {
		Type, Outcome, Value, Roam, Peers string
		GroupBy, Fields                   []string
		Network                           Network
		Window                            int64
	}{string(s.Type), string(s.Outcome), s.Value, s.Roam.Field, s.Peers.Of, s.GroupBy, s.Fields, s.Network, int64(s.Window)})
	if err != nil {
		return [8]byte{} // plain data
	}
	sum := sha256.Sum256(text)
	return [8]byte(sum[:8])
}

// hashBytes is how many bytes a hash has in a state.
const hashBytes = 6

// State is all that the Memory remembers. The same memory gives the same bytes.
func (m *Memory) State() []byte {
	shape := m.spec.shape()
	out := append(make([]byte, 0, 64+64*len(m.index)+7*m.counts.Values), magic...)
	out = append(out, shape[:]...)
	out = binary.LittleEndian.AppendUint64(out, m.keys.key.a)
	out = binary.LittleEndian.AppendUint64(out, m.keys.key.b)
	out = appendNumbers(out, flags(m.keys.set), uint64(m.first), uint64(m.latest), uint64(m.crowded), uint64(len(m.rare))) //nolint:gosec // bits, read back below
	for _, hash := range slices.Sorted(maps.Keys(m.rare)) {
		out = appendNumbers(appendHash(out, hash), uint64(m.rare[hash]))
	}
	out = appendNumbers(out, uint64(len(m.index)))
	for _, l := range []list{m.young, m.known} {
		for i := l.back; i != none; i = m.slab[i].prev {
			out = m.slab[i].append(out)
		}
	}
	return out
}

func flags(all ...bool) uint64 {
	n := uint64(0)
	for i, f := range all {
		if f {
			n |= 1 << i
		}
	}
	return n
}

func appendNumbers(out []byte, all ...uint64) []byte {
	for _, n := range all {
		out = binary.AppendUvarint(out, n)
	}
	return out
}

func appendHash(out []byte, hash uint64) []byte {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], hash)
	return append(out, b[:hashBytes]...)
}

// append writes an entity: its values by the day on which they were last seen.
func (en *entity) append(out []byte) []byte {
	out = binary.LittleEndian.AppendUint64(out, en.id)
	r := &en.rate
	out = appendNumbers(out, flags(en.known, en.varied), uint64(en.first), uint64(en.last), uint64(en.events), uint64(en.full), uint64(en.counted), //nolint:gosec // bits, read back below
		uint64(r.window), uint64(r.count), r.first, uint64(r.told), uint64(r.mean), uint64(r.past)) //nolint:gosec // likewise
	words := en.table.sorted()
	out = appendNumbers(out, uint64(len(words)))
	for from := 0; from < len(words); {
		to := from
		for to < len(words) && words[to].day() == words[from].day() {
			to++
		}
		out = appendNumbers(out, uint64(words[from].day()), uint64(to-from)) //nolint:gosec // not below zero
		for _, w := range words[from:to] {
			out = appendHash(out, w.hash())
		}
		from = to
	}
	return out
}

// Restore puts a state back. A state that cannot be read changes nothing.
func (m *Memory) Restore(state []byte) error {
	r := stateReader{rest: state}
	if string(r.bytes(len(magic))) != magic {
		return errors.New("restore what was learned: it is no state of this version")
	}
	shape := m.spec.shape()
	if string(r.bytes(len(shape))) != string(shape[:]) {
		return fmt.Errorf("restore what was learned: %w: it learns anew", ErrOther)
	}
	next, err := New(m.spec, m.keys)
	if err != nil {
		return err
	}
	next.own = m.own
	k := key{r.word(), r.word()}
	keyed := r.number(1) == 1
	next.first, next.latest = r.time(), r.time()
	next.crowded = int(r.number(1<<dayBits - 1)) //nolint:gosec // bounded
	for range r.number(maxRare) {
		next.rare[r.hash()] = uint32(r.number(1<<32 - 1)) //nolint:gosec // bounded
	}
	count := r.number(maxIdentities)
	for range count {
		if r.bad {
			break
		}
		next.restore(&r)
	}
	if r.bad || len(r.rest) > 0 {
		return errors.New("restore what was learned: the state is damaged")
	}
	switch {
	case !keyed && len(next.index)+len(next.rare) > 0:
		return errors.New("restore what was learned: the state has no key")
	case keyed && m.keys.set && m.keys.key != k:
		return errors.New("restore what was learned: the state has another key than that of other rules: it learns anew")
	case keyed:
		m.keys.key, m.keys.set = k, true
	}
	*m = *next
	return nil
}

// restore reads an entity. Where the rule remembers less than it did, what comes last in
// the state stays: what was seen last.
func (m *Memory) restore(r *stateReader) {
	en := entity{id: r.word()}
	f := r.number(3)
	en.known, en.varied = f&1 != 0, f&2 != 0
	en.first, en.last, en.events = r.time(), r.time(), uint32(r.number(1<<32-1))                              //nolint:gosec // bounded
	en.full, en.counted = int(r.number(1<<dayBits-1)), int(r.number(1<<dayBits-1))                            //nolint:gosec // bounded
	en.rate = rate{window: r.time(), count: uint32(r.number(1<<32 - 1)), first: r.number(1<<64 - 1)}          //nolint:gosec // bounded
	en.rate.told, en.rate.mean, en.rate.past = uint32(r.number(1<<32-1)), r.time(), uint32(r.number(1<<32-1)) //nolint:gosec // bounded
	left := r.number(maxValues)
	skip := int(left) - m.spec.Values //nolint:gosec // bounded
	for left > 0 && !r.bad {
		day, n := int(r.number(1<<dayBits-1)), r.number(left) //nolint:gosec // bounded
		if n == 0 {
			r.bad = true
		}
		left -= n
		for range n {
			hash := r.hash()
			if r.bad || hash == 0 || en.table.has(hash) {
				r.bad = true
				return
			}
			if skip--; skip < 0 {
				en.table.add(hash, day)
			}
		}
	}
	if _, twice := m.index[en.id]; r.bad || twice || en.first > en.last {
		r.bad = true
		return
	}
	en.members = en.table.members()
	if len(m.index) >= m.spec.Identities && !m.forgetOne() {
		return
	}
	i := int32(len(m.slab)) //nolint:gosec // bounded by Spec.Identities
	if n := len(m.free); n > 0 {
		i, m.free = m.free[n-1], m.free[:n-1]
	} else {
		m.slab = append(m.slab, entity{})
	}
	m.slab[i] = en
	m.index[en.id] = i
	m.counts.Values += en.table.used
	if en.known {
		m.push(&m.known, i)
	} else {
		m.push(&m.young, i)
	}
}

// forgetOne makes room in a smaller memory.
func (m *Memory) forgetOne() bool {
	for _, l := range []*list{&m.young, &m.known} {
		if l.back != none {
			m.remove(l.back)
			return true
		}
	}
	return false
}

// stateReader reads a state. What is not there or too large is bad, and reads as 0.
type stateReader struct {
	rest []byte
	bad  bool
}

func (r *stateReader) bytes(n int) []byte {
	if r.bad || len(r.rest) < n {
		r.bad = true
		return make([]byte, n)
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *stateReader) word() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

func (r *stateReader) hash() uint64 {
	var b [8]byte
	copy(b[:], r.bytes(hashBytes))
	return binary.LittleEndian.Uint64(b[:])
}

func (r *stateReader) number(most uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || v > most {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// time is a number that is not below zero.
func (r *stateReader) time() int64 { return int64(r.number(1<<62 - 1)) } //nolint:gosec // bounded
