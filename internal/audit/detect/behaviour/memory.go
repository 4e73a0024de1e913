package behaviour

import (
	"errors"
	"hash/maphash"
	"strconv"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Memory is what was learned for one rule. One goroutine at a time uses it.
type Memory struct {
	spec *Spec
	// Where the fields of a kind begin, in Spec.Names.
	fields, peers int
	forget        int // days

	keys *Keys
	who  int  // the number of Spec.GroupBy in keys
	own  bool // keys are for this Memory alone
	// first and latest are the times of the earliest and of the last event.
	first, latest int64

	index map[uint64]int32
	slab  []entity
	free  []int32
	// young are identities that are still learned, known those that are judged: each in
	// the order of use.
	young, known list
	// rare has by how many identities a thing of Spec.Never was done.
	rare map[uint64]uint32
	// crowded is the day on which it was last said that there is no room.
	crowded int
	counts  Counts

	buf     []byte
	clients *clients // of a ValueClient
	event   *audit.Event
	told    func(Finding)
}

// entity is what is remembered of one identity, or of a group.
type entity struct {
	id          uint64
	first, last int64
	events      uint32
	prev, next  int32
	known       bool
	// varied says that it had too many values before it was known: it is not judged. Else
	// full is the day on which it was last said that it has too many.
	varied bool
	full   int
	table  table
	// members are the words of table that are members of a group, counted on a day.
	members, counted int
	rate             rate
}

// list is a list of entities by their place in the slab, the latest in front.
type list struct{ front, back int32 }

const none = int32(-1)

// maxRare is how many things of Spec.Never are counted. What is not counted is rare.
const maxRare = 4096

// New makes a Memory that has learned nothing. Memories that look at the same events
// share keys, whose Next is then called before each event; nil makes keys of its own.
func New(spec *Spec, keys *Keys) (*Memory, error) {
	if spec == nil || spec.Type == "" || spec.Outcome == "" || spec.Identities <= 0 || spec.Values <= 0 || spec.Forget < 24*time.Hour {
		return nil, errors.New("behaviour: the rule is not whole: it has no type, no outcome, no bounds or does not say when to forget")
	}
	m := &Memory{
		spec: spec, fields: len(spec.GroupBy), peers: len(spec.GroupBy) + len(spec.Fields),
		forget: int(spec.Forget / (24 * time.Hour)),
	}
	if m.keys = keys; keys == nil {
		m.keys, m.own = NewKeys(), true
	}
	m.who = m.keys.list(spec.GroupBy)
	if spec.Value == ValueClient {
		m.clients = &clients{seed: maphash.MakeSeed()}
	}
	m.reset()
	return m, nil
}

func (m *Memory) reset() {
	m.first, m.latest, m.crowded = 0, 0, 0
	m.index, m.slab, m.free, m.rare = map[uint64]int32{}, nil, nil, map[uint64]uint32{}
	m.young, m.known = list{none, none}, list{none, none}
	m.counts = Counts{}
}

// Counts gives the counts.
func (m *Memory) Counts() Counts {
	c := m.counts
	c.Identities = len(m.index)
	return c
}

// Observe looks at an event that concerns the rule and that its selection has met. It
// happened at a time in microseconds; 0 is an unknown one. risky says whether
// Spec.Never.When holds of it.
func (m *Memory) Observe(e *audit.Event, at int64, fields Fields, risky func() bool, tell func(Finding)) {
	if !m.keys.set {
		m.keys.key, m.keys.set = keyOf(e), true
	}
	if m.own {
		m.keys.Next()
	}
	if at <= 0 {
		at = m.latest
	}
	if m.first == 0 || at < m.first {
		m.first = at
	}
	m.latest = max(m.latest, at)
	m.event, m.told = e, tell
	switch m.spec.Type {
	case FirstSeen, NewValue:
		m.identity(e, at, fields, risky)
	case PeerGroup:
		m.group(e, at, fields, risky)
	case Rate:
		m.count(e, at, fields)
	}
	m.event, m.told = nil, nil
}

// open begins the text that a hash is made of. What is hashed for one purpose is never
// the text for another.
func (m *Memory) open(purpose byte, e *audit.Event) {
	m.buf = append(m.buf[:0], purpose)
	if m.spec.Outcome == OutcomeAny && !e.Succeeded() {
		m.buf[0] |= 0x80
	}
}

// add takes the fields [from, to) into the hash.
func (m *Memory) add(fields Fields, from, to int) {
	for n := from; n < to; n++ {
		m.buf = appendField(m.buf, fields, n)
	}
}

// sum is the hash of what was added.
func (m *Memory) sum() uint64 { return m.keys.key.sum(m.buf) }

// identityOf is the hash of who did it.
func (m *Memory) identityOf(e *audit.Event, fields Fields) uint64 {
	known := &m.keys.known[m.who]
	if known.turn != m.keys.turn {
		m.buf = appendText(append(m.buf[:0], 'i'), e.Cluster)
		m.add(fields, 0, m.fields)
		known.turn, known.hash = m.keys.turn, m.sum()
	}
	return known.hash
}

// get finds an identity or makes it, and marks it as used. It gives nil where there is
// no room. What it gives holds until the next get.
func (m *Memory) get(id uint64, at int64) *entity {
	if i, ok := m.index[id]; ok {
		if en := &m.slab[i]; at-en.last <= m.spec.Forget.Microseconds() {
			m.use(i)
			en.first, en.last = min(en.first, at), max(en.last, at)
			return en
		}
		m.remove(i) // it is as good as new: nothing that it did is remembered any more
	}
	if len(m.index) >= m.spec.Identities && !m.room() {
		return nil
	}
	i := int32(len(m.slab)) //nolint:gosec // bounded by Spec.Identities
	if n := len(m.free); n > 0 {
		i, m.free = m.free[n-1], m.free[:n-1]
	} else {
		m.slab = append(m.slab, entity{})
	}
	m.slab[i] = entity{id: id, first: at, last: at}
	m.index[id] = i
	m.push(&m.young, i)
	return &m.slab[i]
}

// room makes room for one more identity. Who was not seen for long goes first, then one
// who is still learned; never one who is known for one who is not.
func (m *Memory) room() bool {
	old := m.latest - m.spec.Forget.Microseconds()
	for _, l := range []*list{&m.known, &m.young} {
		if l.back != none && m.slab[l.back].last < old {
			m.remove(l.back)
			return true
		}
	}
	ok := m.young.back != none
	if ok {
		m.remove(m.young.back)
		m.counts.Evicted++
	} else {
		m.counts.Refused++
	}
	if day := dayOf(m.latest); day != m.crowded {
		m.crowded = day
		m.tell(Crowded, ok, map[string]string{"behaviour.known": strconv.Itoa(m.spec.Identities)})
	}
	return ok
}

func (m *Memory) push(l *list, i int32) {
	m.slab[i].prev, m.slab[i].next = none, l.front
	if l.front != none {
		m.slab[l.front].prev = i
	} else {
		l.back = i
	}
	l.front = i
}

// take takes an entity out of its list.
func (m *Memory) take(i int32) *list {
	en := &m.slab[i]
	l := &m.young
	if en.known {
		l = &m.known
	}
	if en.prev != none {
		m.slab[en.prev].next = en.next
	} else {
		l.front = en.next
	}
	if en.next != none {
		m.slab[en.next].prev = en.prev
	} else {
		l.back = en.prev
	}
	return l
}

func (m *Memory) use(i int32) {
	l := &m.young
	if m.slab[i].known {
		l = &m.known
	}
	if l.front != i {
		m.push(m.take(i), i)
	}
}

func (m *Memory) remove(i int32) {
	m.take(i)
	en := &m.slab[i]
	delete(m.index, en.id)
	m.counts.Values -= en.table.used
	*en = entity{}
	m.free = append(m.free, i)
}

// learned counts an event of an identity and reports whether it was known before it.
func (m *Memory) learned(en *entity, enough bool) bool {
	s := m.spec
	if !en.known && enough && int64(en.events) >= int64(s.LearnEvents) && en.last-en.first >= s.LearnFor.Microseconds() {
		i := m.index[en.id]
		m.take(i)
		en.known = true
		m.push(&m.known, i)
	}
	if en.events < 1<<32-1 {
		en.events++
	}
	return en.known
}

// tell says what was found in the event at hand.
func (m *Memory) tell(kind Kind, learned bool, values map[string]string) {
	m.told(Finding{Kind: kind, Learned: learned, Seqs: []uint64{m.event.Seq}, Count: 1, Values: values})
}
