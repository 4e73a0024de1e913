package behaviour

import (
	"hash/maphash"
	"slices"
	"strconv"

	"bulwark.dev/bulwark/internal/audit"
)

// thing hashes what the event did: the fields, or the value that is worked out of it.
// It reports false where the event has none.
func (m *Memory) thing(e *audit.Event, fields Fields) (uint64, bool) {
	m.open('v', e)
	if m.spec.Type != NewValue {
		m.add(fields, m.fields, m.peers)
		return short(m.sum()), true
	}
	if m.spec.Value == ValueClient {
		if e.UserAgent == "" {
			return 0, false
		}
		return m.client(e.UserAgent), true
	}
	a, ok := m.spec.Network.Source(e.SourceIPs)
	if !ok {
		return 0, false
	}
	m.buf = appendNetwork(m.buf, m.spec.Network.Of(a))
	return short(m.sum()), true
}

// clients remembers hashes of user agents that were seen lately: they come again and
// again.
type clients struct {
	seed  maphash.Seed // which of them share a place; nothing is told of that
	known [256]struct {
		agent string
		hash  uint64
	}
}

// maxKept is how long a user agent is that is kept.
const maxKept = 512

// client goes on with the hash that open began.
func (m *Memory) client(agent string) uint64 {
	if len(agent) > maxKept || m.spec.Outcome == OutcomeAny {
		m.buf = AppendClient(m.buf, agent)
		return short(m.sum())
	}
	slot := &m.clients.known[maphash.String(m.clients.seed, agent)%uint64(len(m.clients.known))]
	if slot.hash == 0 || slot.agent != agent {
		m.buf = AppendClient(m.buf, agent)
		slot.agent, slot.hash = agent, short(m.sum())
	}
	return slot.hash
}

// named is the value of a NewValue, for people.
func (m *Memory) named(e *audit.Event) string {
	switch {
	case m.spec.Type != NewValue:
		return ""
	case m.spec.Value == ValueClient:
		return string(AppendClient(nil, e.UserAgent))
	}
	a, _ := m.spec.Network.Source(e.SourceIPs)
	return m.spec.Network.Of(a).String()
}

// identity looks at what one identity did.
func (m *Memory) identity(e *audit.Event, at int64, fields Fields, risky func() bool) {
	thing, ok := m.thing(e, fields)
	if !ok {
		return
	}
	day := dayOf(at)
	en := m.get(m.identityOf(e, fields), at)
	if en == nil {
		m.unlearned(thing, at, risky)
		return
	}
	learned := m.learned(en, true)
	if en.table.seen(thing, day, m.forget) || m.roams(en, e, fields, day) {
		return
	}
	full := m.full(en, 1)
	if en.varied && !full && 2*en.table.used <= m.spec.Values {
		m.remove(m.index[en.id]) // most of it is forgotten: it is learned anew
		return
	}
	values := m.about(en, day)
	if !full {
		m.remember(en, thing, day)
	}
	switch {
	case !learned || en.varied || full:
		if !m.unlearned(thing, at, risky) && full {
			m.tooMany(en, learned, dayOf(m.latest), values)
		}
	default:
		m.others(thing, risky)
		m.tell(Unusual, true, values)
	}
}

// group looks at what one of a group did. It is new when none of its groups has done it,
// of which one at least is known well.
func (m *Memory) group(e *audit.Event, at int64, fields Fields, risky func() bool) {
	thing, _ := m.thing(e, fields)
	member := short(m.identityOf(e, fields)) | memberBit
	day := dayOf(at)
	today := dayOf(m.latest)
	looked, seen := false, false
	var judged, full map[string]string
	for i := range min(fields.Len(m.peers), maxGroups) {
		name := fields.Text(m.peers, i)
		if slices.Contains(m.spec.Peers.Ignore, name) {
			continue
		}
		looked = true
		m.buf = appendText(appendText(append(m.buf[:0], 'g'), e.Cluster), name)
		en := m.get(m.sum(), at)
		if en == nil {
			continue
		}
		learned := m.learned(en, en.members >= m.spec.Peers.Members)
		known := en.table.seen(thing, day, m.forget) || m.roams(en, e, fields, day)
		var about map[string]string
		if !known && learned && !en.varied {
			about = m.peersOf(en, name, day)
		}
		m.join(en, member, day)
		switch {
		case known:
			seen = true
		case !m.full(en, 1):
			m.remember(en, thing, day)
			if judged == nil {
				judged = about
			}
		default:
			m.counts.Unjudged++
			en.varied = en.varied || !learned
			if about != nil && en.full != today {
				en.full, full = today, about
			}
		}
	}
	switch {
	case seen || !looked:
	case judged != nil:
		m.others(thing, risky)
		m.tell(Unusual, true, judged)
	case !m.unlearned(thing, at, risky) && full != nil:
		m.tell(Varied, true, full)
	}
}

const (
	// maxGroups is how many groups of one identity are looked at. Whoever gives out
	// identities gives out groups; a hundred of them are somebody's directory.
	maxGroups = 64
	// leastCap is how many members of a group are told apart at least.
	leastCap = 32
)

// memberCap is how many members of a group are told apart.
func (m *Memory) memberCap() int { return max(m.spec.Peers.Members, leastCap) }

// peersOf says for people what is known of a group; nil where it has too few members by
// now.
func (m *Memory) peersOf(en *entity, name string, day int) map[string]string {
	members, _ := en.table.count(day, m.forget)
	if members < m.spec.Peers.Members {
		return nil
	}
	values := m.about(en, day)
	values["behaviour.group"], values["behaviour.members"] = name, strconv.Itoa(members)
	if members >= m.memberCap() {
		values["behaviour.members"] += " or more"
	}
	return values
}

// join counts a member of a group, up to as many as are told apart.
func (m *Memory) join(en *entity, member uint64, day int) {
	if en.table.seen(member, day, m.forget) {
		return
	}
	if en.members >= m.memberCap() && en.counted != day {
		en.counted = day
		m.purge(en)
	}
	again := en.table.has(member)
	if !again && (en.members >= m.memberCap() || m.full(en, 1)) {
		return
	}
	m.remember(en, member, day)
	if !again {
		en.members++
	}
}

// roams reports whether an identity goes everywhere with what it does, and learns one
// place more.
func (m *Memory) roams(en *entity, e *audit.Event, fields Fields, day int) bool {
	if m.spec.Roam.After == 0 {
		return false
	}
	m.open('r', e)
	for n := m.fields; n < m.peers; n++ {
		if m.spec.Fields[n-m.fields] != m.spec.Roam.Field {
			m.buf = appendField(m.buf, fields, n)
		}
	}
	part := m.sum()
	for k := range m.spec.Roam.After {
		place := short(mix(part + uint64(k)))
		if !en.table.seen(place, day, m.forget) {
			if !m.full(en, 2) {
				m.remember(en, place, day)
			}
			return false
		}
	}
	return true
}

// mix spreads a number over all bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// full reports whether there is no room for n values more, when what is forgotten has
// gone.
func (m *Memory) full(en *entity, n int) bool {
	if en.table.used+n <= m.spec.Values {
		return false
	}
	m.purge(en)
	return en.table.used+n > m.spec.Values
}

// purge forgets what was not seen for long.
func (m *Memory) purge(en *entity) {
	before := en.table.used
	en.table.purge(dayOf(m.latest), m.forget)
	m.counts.Values += en.table.used - before
	en.members = en.table.members()
}

func (m *Memory) remember(en *entity, hash uint64, day int) {
	before := en.table.used
	en.table.add(hash, day)
	m.counts.Values += en.table.used - before
}

// tooMany says that an identity does more different things than are remembered: once
// where it was so before it was known, and then it is not judged; else once a day.
func (m *Memory) tooMany(en *entity, learned bool, day int, values map[string]string) {
	m.counts.Unjudged++
	if en.varied || learned && en.full == day {
		return
	}
	en.varied, en.full = !learned, day
	m.tell(Varied, learned, values)
}

// unlearned tells of what is risky and rare, although who did it is not known yet.
func (m *Memory) unlearned(thing uint64, at int64, risky func() bool) bool {
	n, risk := m.others(thing, risky)
	if !risk || int(n) > m.spec.Never.Rare || max(at, m.latest)-m.first < m.spec.Never.After.Microseconds() {
		return false
	}
	values := map[string]string{"behaviour.learned": "false", "behaviour.others": strconv.Itoa(int(n)), "behaviour.days": days(m.latest - m.first)}
	if name := m.named(m.event); name != "" {
		values["behaviour.value"] = name
	}
	m.tell(Unusual, false, values)
	return true
}

// others counts who does a risky thing for the first time, and gives how many did
// before.
func (m *Memory) others(thing uint64, risky func() bool) (uint32, bool) {
	if m.spec.Never.When == "" || !risky() {
		return 0, false
	}
	n, ok := m.rare[thing]
	if ok || len(m.rare) < maxRare {
		m.rare[thing] = min(n, 1<<30) + 1
	}
	return n, true
}

// about says for people what is known of an identity, but for the event at hand.
func (m *Memory) about(en *entity, day int) map[string]string {
	_, known := en.table.count(day, m.forget)
	values := map[string]string{
		"behaviour.days": days(en.last - en.first), "behaviour.events": strconv.FormatUint(uint64(max(en.events, 1)-1), 10),
		"behaviour.known": strconv.Itoa(known), "behaviour.learned": strconv.FormatBool(en.known),
	}
	if name := m.named(m.event); name != "" {
		values["behaviour.value"] = name
	}
	return values
}

func days(span int64) string { return strconv.FormatInt(max(span, 0)/oneDay, 10) }
