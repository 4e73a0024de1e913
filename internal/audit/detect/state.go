package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// stateVersion is that of the form below. A state of another is refused.
const stateVersion = 1

type savedState struct {
	Version int               `json:"version"`
	Rules   map[string]string `json:"rules"` // of correlations: a hash of what they say
	// Groups, by correlation, and Held begin with what was not seen for longest.
	Groups []savedGroup      `json:"groups,omitempty"`
	Held   []held            `json:"held,omitempty"`
	Clocks map[string]int64  `json:"clocks,omitempty"`
	Others map[string][]byte `json:"others,omitempty"`
	// Learned is what rules about behaviour remember, by their keys.
	Learned map[string][]byte `json:"learned,omitempty"`
}

type savedGroup struct {
	Rule   string  `json:"rule"`
	Key    string  `json:"key"`
	Muted  []int64 `json:"muted,omitempty"`
	Start  *int64  `json:"start,omitempty"`
	Due    int64   `json:"due,omitempty"`
	Source string  `json:"source,omitempty"`
	Actor  string  `json:"actor,omitempty"`
	// Hits are time, number, rule, value and then the evidence of a correlation.
	Hits [][]uint64 `json:"hits"`
}

// digest tells a correlation from one that has the same name and says something else.
func (j *join) digest() string {
	form := *j.form
	form.Line = 0
	text, err := json.Marshal(form)
	if err != nil {
		return "" // plain data
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// State is all that the engine remembers.
func (g *Engine) State() ([]byte, error) {
	s := savedState{Version: stateVersion, Rules: map[string]string{}, Clocks: map[string]int64{}, Others: map[string][]byte{}}
	for _, r := range g.rules {
		if r.join != nil {
			s.Rules[r.Key] = r.join.digest()
		}
	}
	for _, j := range g.joins {
		for el := j.order.Back(); el != nil; el = el.Prev() {
			if one, ok := el.Value.(*group); ok {
				s.Groups = append(s.Groups, one.save())
			}
		}
	}
	for el := g.hold.order.Back(); el != nil; el = el.Prev() {
		if one, ok := el.Value.(*held); ok {
			s.Held = append(s.Held, *one)
		}
	}
	for source, c := range g.clocks {
		s.Clocks[source] = c.now
	}
	for _, other := range g.config.Stateful {
		state, err := other.State()
		if err != nil {
			return nil, fmt.Errorf("state of %s: %w", other.Name(), err)
		}
		s.Others[other.Name()] = state
	}
	s.Learned = g.learned()
	out, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("state of the detection engine: %w", err)
	}
	return out, nil
}

func (g *group) save() savedGroup {
	s := savedGroup{Rule: g.join.rule.Key, Key: g.key, Source: g.source, Actor: g.actor, Muted: g.muted}
	if g.open {
		s.Start, s.Due = &g.start, g.due
	}
	for _, h := range g.hits {
		row := []uint64{uint64(h.at), h.seq, uint64(h.step), h.value} //nolint:gosec // bits, read back below
		s.Hits = append(s.Hits, append(row, h.more...))
	}
	return s
}

// Restore puts a state back into an engine that has observed nothing. What belongs to
// rules that are gone or say something else now is left out. Where a rule about
// behaviour has to learn anew, an error says so, and all else is restored.
func (g *Engine) Restore(state []byte) error {
	if g.stats.events.Load() > 0 {
		return errors.New("restore the detection engine: it has observed events already")
	}
	var s savedState
	if err := json.Unmarshal(state, &s); err != nil {
		return fmt.Errorf("restore the detection engine: %w", err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("restore the detection engine: the state is of version %d, not %d", s.Version, stateVersion)
	}
	for source, now := range s.Clocks {
		g.clock(source).now = now
	}
	for i := range s.Groups {
		if err := g.restore(&s.Groups[i], s.Rules); err != nil {
			return fmt.Errorf("restore the detection engine: group %d of %q: %w", i, s.Groups[i].Rule, err)
		}
	}
	for i := range s.Held {
		if one := s.Held[i]; g.keys[ruleOf(one.Key)] != nil && g.hold.keys[one.Key] == nil {
			g.hold.put(&one)
		}
	}
	for _, other := range g.config.Stateful {
		if state, ok := s.Others[other.Name()]; ok {
			if err := other.Restore(state); err != nil {
				return fmt.Errorf("restore the detection %s: %w", other.Name(), err)
			}
		}
	}
	g.stats.groups.Store(int64(g.groups.count))
	g.stats.hits.Store(int64(g.groups.hits))
	return g.relearn(s.Learned)
}

func (g *Engine) restore(s *savedGroup, rules map[string]string) error {
	r := g.keys[s.Rule]
	if r == nil || r.join == nil || r.join.digest() != rules[s.Rule] {
		return nil
	}
	if r.join.groups[s.Key] != nil {
		return errors.New("it stands there twice")
	}
	one := g.groups.get(r.join, s.Key)
	one.source, one.actor = s.Source, s.Actor
	for _, row := range s.Hits {
		if len(row) < 4 || row[2] >= uint64(len(r.Bases)) {
			return errors.New("a hit cannot be read")
		}
		h := hit{at: int64(row[0]), seq: row[1], step: int(row[2]), value: row[3]} //nolint:gosec // bits, written above
		if len(row) > 4 {
			h.more = row[4:]
		}
		one.insert(h)
	}
	one.muted = s.Muted
	if s.Start != nil {
		one.open, one.start, one.due = true, *s.Start, s.Due
		g.clock(s.Source).wait(one)
	}
	g.groups.fit(&g.config, &g.stats)
	return nil
}

// ruleOf is the rule in the key of a held alert.
func ruleOf(key string) string {
	for i := range len(key) {
		if key[i] == separator[0] {
			return key[:i]
		}
	}
	return key
}
