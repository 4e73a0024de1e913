package behaviour

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"
)

// The bounds of what a rule may say.
const (
	maxFields     = 16
	maxIdentities = 100_000
	maxValues     = 10_000
	// maxWords is how many values a rule remembers in all: 80 MB.
	maxWords   = 10_000_000
	maxForget  = 10 * 365 * 24 * time.Hour
	maxLearn   = 365 * 24 * time.Hour
	maxEvents  = 1_000_000
	maxPeriod  = 7 * 24 * time.Hour
	maxTimes   = 1000
	maxMember  = 1000
	maxRoam    = 50
	maxListed  = 1000
	defaultIDs = 5000
	defaultOf  = 200
)

// Selection is the key of what sigma reads: which events a rule looks at.
const Selection = "selection"

// Parse reads the attribute behaviour of a rule, but for its selection. It is strict: a
// key that is not known, or not for the type, is an error that names its line.
func Parse(file string, n *yaml.Node) (*Spec, error) {
	r := reader{file: file, lines: map[string]int{}}
	s := &Spec{
		Line: n.Line, Outcome: OutcomeSucceeded, Network: Network{IPv4: 24, IPv6: 48},
		Identities: defaultIDs, Values: defaultOf,
	}
	r.mapping(n, "", map[string]func(*yaml.Node){
		"type": func(v *yaml.Node) { s.Type = choice(&r, v, "type", Types()) },
		"outcome": func(v *yaml.Node) {
			s.Outcome = choice(&r, v, "outcome", []Outcome{OutcomeSucceeded, OutcomeFailed, OutcomeAny})
		},
		"group-by":   func(v *yaml.Node) { s.GroupBy = r.fields(v, "group-by") },
		"fields":     func(v *yaml.Node) { s.Fields = r.fields(v, "fields") },
		"value":      func(v *yaml.Node) { s.Value = choice(&r, v, "value", []string{ValueClient, ValueNetwork}) },
		"network":    func(v *yaml.Node) { r.network(v, &s.Network) },
		"learning":   func(v *yaml.Node) { r.learning(v, s) },
		"forget":     func(v *yaml.Node) { s.Forget = r.span(v, "forget", 24*time.Hour, maxForget) },
		"roam":       func(v *yaml.Node) { r.roam(v, &s.Roam) },
		"neverLearn": func(v *yaml.Node) { r.never(v, s) },
		"window":     func(v *yaml.Node) { s.Window = r.span(v, "window", time.Minute, maxPeriod) },
		"times":      func(v *yaml.Node) { s.Times = r.number(v, "times", 2, maxTimes) },
		"least":      func(v *yaml.Node) { s.Least = r.number(v, "least", 2, maxEvents) },
		"peers":      func(v *yaml.Node) { r.peers(v, &s.Peers) },
		"identities": func(v *yaml.Node) { s.Identities = r.number(v, "identities", 10, maxIdentities) },
		"values":     func(v *yaml.Node) { s.Values = r.number(v, "values", 10, maxValues) },
		Selection:    func(*yaml.Node) {},
	})
	if len(r.errs) == 0 {
		r.whole(n, s)
	}
	return s, errors.Join(r.errs...)
}

// reader gathers what is wrong.
type reader struct {
	file  string
	errs  []error
	lines map[string]int // of the keys that are there
}

func (r *reader) fail(line int, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: behaviour: %w", r.file, line, fmt.Errorf(format, args...)))
}

// mapping reads each key with its function.
func (r *reader) mapping(n *yaml.Node, what string, keys map[string]func(*yaml.Node)) {
	place := what
	if what != "" {
		place += ": "
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, "%sexpected a mapping with %s", place, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		read, ok := keys[k.Value]
		if !ok {
			r.fail(k.Line, "%s%q is unknown; there are %s", place, k.Value, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
			continue
		}
		if what == "" {
			r.lines[k.Value] = k.Line
		}
		read(v)
	}
}

func (r *reader) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" || n.Value == "" {
		r.fail(n.Line, "%s: expected a text", what)
		return ""
	}
	return n.Value
}

// choice reads one of some words.
func choice[T ~string](r *reader, n *yaml.Node, what string, of []T) T {
	got := T(r.text(n, what))
	if got != "" && !slices.Contains(of, got) {
		r.fail(n.Line, "%s %q: expected one of %v", what, got, of)
	}
	return got
}

func (r *reader) texts(n *yaml.Node, what string, most int) []string {
	if n.Kind != yaml.SequenceNode {
		r.fail(n.Line, "%s: expected a list", what)
		return nil
	}
	if len(n.Content) > most {
		r.fail(n.Line, "%s: there are %d; at most %d are read", what, len(n.Content), most)
		return nil
	}
	var out []string
	for _, c := range n.Content {
		t := r.text(c, what)
		if slices.Contains(out, t) {
			r.fail(c.Line, "%s: %q stands there twice", what, t)
		}
		out = append(out, t)
	}
	return out
}

// fields reads names of fields; whether there are such is for who has the fields.
func (r *reader) fields(n *yaml.Node, what string) []string { return r.texts(n, what, maxFields) }

func (r *reader) number(n *yaml.Node, what string, least, most int) int {
	got, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || got < least || got > most {
		r.fail(n.Line, "%s: expected a whole number from %d to %d", what, least, most)
		return least
	}
	return got
}

// span reads a time span: a number and s, m, h or d.
func (r *reader) span(n *yaml.Node, what string, least, most time.Duration) time.Duration {
	text := r.text(n, what)
	for _, u := range []struct {
		name string
		of   time.Duration
	}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}} {
		number, ok := strings.CutSuffix(text, u.name)
		got, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil {
			continue
		}
		if n := int64(got); n >= int64((least+u.of-1)/u.of) && n <= int64(most/u.of) {
			return time.Duration(n) * u.of
		}
		r.fail(n.Line, "%s %q: expected from %s to %s", what, text, inWords(least), inWords(most))
		return 0
	}
	r.fail(n.Line, "%s %q: expected a number and s, m, h or d, such as 7d", what, text)
	return 0
}

func (r *reader) prefixes(n *yaml.Node, what string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range r.texts(n, what, maxListed) {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			r.fail(n.Line, "%s: %w", what, err)
		case p != p.Masked():
			r.fail(n.Line, "%s: %s has bits set after its length; is it %s?", what, p, p.Masked())
		case p.Addr().Is4In6():
			r.fail(n.Line, "%s: %s: write networks of IPv4 as such", what, p)
		}
		out = append(out, p)
	}
	return out
}

func (r *reader) network(n *yaml.Node, s *Network) {
	r.mapping(n, "network", map[string]func(*yaml.Node){
		"ipv4":     func(v *yaml.Node) { s.IPv4 = r.number(v, "network.ipv4", 1, 32) },
		"ipv6":     func(v *yaml.Node) { s.IPv6 = r.number(v, "network.ipv6", 1, 128) },
		"proxies":  func(v *yaml.Node) { s.Proxies = r.prefixes(v, "network.proxies") },
		"together": func(v *yaml.Node) { s.Together = r.prefixes(v, "network.together") },
	})
}

func (r *reader) learning(n *yaml.Node, s *Spec) {
	r.mapping(n, "learning", map[string]func(*yaml.Node){
		"for":    func(v *yaml.Node) { s.LearnFor = r.span(v, "learning.for", time.Minute, maxLearn) },
		"events": func(v *yaml.Node) { s.LearnEvents = r.number(v, "learning.events", 1, maxEvents) },
	})
}

func (r *reader) roam(n *yaml.Node, s *Roam) {
	r.mapping(n, "roam", map[string]func(*yaml.Node){
		"field": func(v *yaml.Node) { s.Field = r.text(v, "roam.field") },
		"after": func(v *yaml.Node) { s.After = r.number(v, "roam.after", 1, maxRoam) },
	})
	if s.Field == "" || s.After == 0 {
		r.fail(n.Line, "roam: field and after are needed")
	}
}

func (r *reader) never(n *yaml.Node, s *Spec) {
	after := false
	r.mapping(n, "neverLearn", map[string]func(*yaml.Node){
		"when": func(v *yaml.Node) { s.Never.When, s.Never.Line = r.text(v, "neverLearn.when"), v.Line },
		"rare": func(v *yaml.Node) { s.Never.Rare = r.number(v, "neverLearn.rare", 0, maxMember) },
		"after": func(v *yaml.Node) {
			s.Never.After, after = r.span(v, "neverLearn.after", 0, maxLearn), true
		},
	})
	if s.Never.When == "" || !after {
		r.fail(n.Line, "neverLearn: when and after are needed: 0s tells from the first event on")
	}
}

func (r *reader) peers(n *yaml.Node, s *Peers) {
	r.mapping(n, "peers", map[string]func(*yaml.Node){
		"of":      func(v *yaml.Node) { s.Of = r.text(v, "peers.of") },
		"ignore":  func(v *yaml.Node) { s.Ignore = r.texts(v, "peers.ignore", maxListed) },
		"members": func(v *yaml.Node) { s.Members = r.number(v, "peers.members", 2, maxMember) },
	})
	if s.Of == "" || s.Members == 0 {
		r.fail(n.Line, "peers: of and members are needed")
	}
}

// whole checks that a rule has what its type needs, and nothing that does nothing.
func (r *reader) whole(n *yaml.Node, s *Spec) {
	needs := map[Type][]string{
		FirstSeen: {"fields"}, NewValue: {"group-by", "value"}, Rate: {"group-by", "window", "times", "least"}, PeerGroup: {"group-by", "fields", "peers"},
	}
	may := map[Type][]string{FirstSeen: {"group-by", "roam", "neverLearn", "values"}, NewValue: {"network", "neverLearn", "values"}, Rate: {"fields"}, PeerGroup: {"roam", "neverLearn", "values"}}
	all := []string{"type", "outcome", "learning", "forget", "identities", Selection}
	if s.Type == "" {
		r.fail(n.Line, "type is missing: one of %v", Types())
		return
	}
	for _, key := range append([]string{"learning", "forget", Selection}, needs[s.Type]...) {
		if r.lines[key] == 0 {
			r.fail(n.Line, "%s is missing, which %s needs", key, s.Type)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.lines)) {
		if !slices.Contains(slices.Concat(all, needs[s.Type], may[s.Type]), key) {
			r.fail(r.lines[key], "%s says nothing for %s", key, s.Type)
		}
	}
	switch {
	case s.Type != FirstSeen && len(s.GroupBy) == 0:
		r.fail(n.Line, "group-by is empty: name the fields that make an identity")
	case s.Type != Rate && s.Type != NewValue && len(s.Fields) == 0:
		r.fail(n.Line, "fields is empty: name what is remembered")
	case s.Value != ValueNetwork && r.lines["network"] != 0:
		r.fail(r.lines["network"], "network says nothing for value %s", s.Value)
	case s.LearnFor == 0 || s.LearnEvents == 0:
		r.fail(r.lines["learning"], "learning: for and events are needed: until then it says nothing of an identity")
	case s.Forget%(24*time.Hour) != 0:
		r.fail(r.lines["forget"], "forget: expected whole days")
	case s.Forget <= s.LearnFor:
		r.fail(r.lines["forget"], "forget: it must be longer than learning.for, or nothing is ever learned")
	case s.Roam.After > 0 && (!slices.Contains(s.Fields, s.Roam.Field) || len(s.Fields) < 2):
		r.fail(r.lines["roam"], "roam.field %q: expected one of several fields", s.Roam.Field)
	case s.Identities*s.Values > maxWords:
		r.fail(n.Line, "identities times values is %d; at most %d are remembered", s.Identities*s.Values, maxWords)
	}
}
