package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"

	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/upstream"
)

// table is an ir.Table made ready to serve: patterns compiled, steps built,
// backends connected. It is immutable; a request finishes on the table that it
// began with. What did not change since the table before is shared with it.
type table struct {
	ir        *ir.Table
	binds     map[string]*bindTable // by "ip:port"
	rules     []rule
	listeners map[string]*listener // by name
	set       *upstream.Set
	stamped   []bool // by backend; nil where there is none
}

// rule is an ir.Rule made ready.
type rule struct {
	*ir.Rule
	made    *ir.Rule       // what chain and stream were made from, before any refusal
	chain   *filters.Chain // of rules that requests follow
	stream  *filters.Stream
	metrics *ruleMetrics
}

// bindTable is what one address and port serves.
type bindTable struct {
	tls bool
	// streams says that the ClientHello decides who ends TLS.
	streams   bool
	listeners hostSet[*listener]
	// named are the listeners that the address is opened for.
	named []string
}

// listener is an ir.Listener made ready.
type listener struct {
	*ir.Listener
	hosts    hostSet[*matcher]
	matchers []*matcher   // of Listener.Hosts, one for each
	streams  hostSet[int] // index of the rule
	tls      *tls.Config
	made     *ir.Listener // what the listener was made from
}

// Problem is a part of a table that cannot be served. Its requests are refused.
type Problem struct {
	// Rule is the ID of the rule, or "" where Listener is set.
	Rule     string
	Listener string
	Err      error
}

// String names the part and the cause.
func (p Problem) String() string {
	if p.Rule != "" {
		return fmt.Sprintf("rule %s: %v", p.Rule, p.Err)
	}
	return fmt.Sprintf("listener %s: %v", p.Listener, p.Err)
}

// newTable builds t. Problems leave their rules refusing and their listeners
// closed.
func newTable(t *ir.Table, prev *table, cfg *Config, m *metrics) (*table, []Problem) {
	if prev == nil {
		prev = &table{ir: &ir.Table{}}
	}
	set, broken := upstream.NewSet(t, prev.set, cfg.Upstream)
	out := &table{
		ir: t, set: set, binds: map[string]*bindTable{}, rules: make([]rule, len(t.Rules)),
		listeners: make(map[string]*listener, len(t.Listeners)),
	}
	if len(cfg.APIServers) > 0 {
		out.stamped = make([]bool, len(t.Backends))
		for i := range t.Backends {
			out.stamped[i] = slices.Contains(cfg.APIServers, t.Backends[i].Name)
		}
	}
	problems := out.addRules(prev, broken, cfg, m)
	for i := range t.Listeners {
		if err := out.addListener(&t.Listeners[i], prev); err != nil {
			problems = append(problems, Problem{Listener: t.Listeners[i].Name, Err: err})
		}
	}
	return out, problems
}

// addRules makes the rules ready. Both tables have theirs sorted by ID, so that
// one walk over both finds what stayed.
func (t *table) addRules(prev *table, broken map[int]error, cfg *Config, m *metrics) []Problem {
	var problems []Problem
	streams := t.streamRules()
	before := prev.rules
	for i := range t.ir.Rules {
		r := &t.ir.Rules[i]
		for len(before) > 0 && before[0].ID < r.ID {
			before = before[1:]
		}
		var old *rule
		if len(before) > 0 && before[0].ID == r.ID {
			old = &before[0]
		}
		now := &t.rules[i]
		*now = rule{Rule: r, made: r}
		if old != nil {
			now.metrics = old.metrics
		} else {
			now.metrics = m.rule(r.ID)
		}
		if r.Refuse != nil {
			continue
		}
		err := now.build(old, streams[i], cfg)
		for _, b := range r.Backends {
			if b.Backend >= 0 && broken[b.Backend] != nil && err == nil {
				err = fmt.Errorf("backend %s: %w", t.ir.Backends[b.Backend].Name, broken[b.Backend])
			}
		}
		if err != nil {
			problems = append(problems, Problem{Rule: r.ID, Err: err})
			refused := *r
			refused.Refuse = &ir.Refusal{Status: http.StatusServiceUnavailable, Reason: err.Error()}
			now.Rule = &refused
		}
	}
	return problems
}

// build makes the rule's steps, or keeps those of old.
func (r *rule) build(old *rule, stream bool, cfg *Config) error {
	if old != nil && (old.chain != nil && !stream || old.stream != nil && stream) && sameRule(old.made, r.made) {
		r.chain, r.stream = old.chain, old.stream
		return nil
	}
	var err error
	if stream {
		r.stream, err = filters.BuildStream(r.made, cfg.Filters)
		return err
	}
	r.chain, err = filters.Build(r.made, cfg.Filters)
	return err
}

// streamRules tells which rules connections follow, not requests.
func (t *table) streamRules() map[int]bool {
	out := map[int]bool{}
	for i := range t.ir.Listeners {
		for _, s := range t.ir.Listeners[i].Streams {
			out[s.Rule] = true
		}
	}
	return out
}

// bindPort is the port to bind for a listener.
func bindPort(l *ir.Listener) uint16 { return cmp.Or(l.BindPort, l.Port) }

// addListener puts a listener in its place. One that cannot be served keeps the
// place, closed: its hostname must not fall to a less specific neighbour.
func (t *table) addListener(l *ir.Listener, prev *table) error {
	out, err := t.newListener(l, prev.listeners[l.Name])
	if err != nil {
		closed := *l
		closed.Refuse = &ir.Refusal{Status: http.StatusServiceUnavailable, Reason: err.Error()}
		out = &listener{Listener: &closed} // without tls: the handshake fails
	}
	t.listeners[l.Name] = out
	secure := l.TLS != nil || l.Passthrough
	for _, a := range l.Addresses {
		key := net.JoinHostPort(a, strconv.Itoa(int(bindPort(l))))
		b := t.binds[key]
		if b == nil {
			b = &bindTable{tls: secure}
			t.binds[key] = b
		}
		if b.tls != secure {
			return fmt.Errorf("address %s is asked for with and without TLS", key)
		}
		b.streams = b.streams || l.Passthrough || len(l.Streams) > 0
		b.named = append(b.named, l.Name)
		b.listeners.add(l.Hostname, out)
	}
	return err
}

func (t *table) newListener(l *ir.Listener, old *listener) (*listener, error) {
	out := &listener{Listener: l, made: l}
	switch {
	case l.Passthrough && (l.TLS != nil || len(l.Hosts) > 0):
		return nil, errors.New("a passthrough listener has neither certificates nor hosts")
	case len(l.Streams) > 0 && len(l.Hosts) > 0:
		return nil, errors.New("a listener has hosts or streams, not both")
	case len(l.Streams) > 0 && l.TLS == nil && !l.Passthrough:
		return nil, errors.New("streams are told apart by TLS, which the listener does not have")
	}
	if l.TLS != nil {
		cfg, err := listenerTLS(l, old)
		if err != nil {
			return nil, err
		}
		out.tls = cfg
	}
	for _, s := range l.Streams {
		if s.Rule < 0 || s.Rule >= len(t.rules) {
			return nil, errors.New("stream names a rule that is not there")
		}
		out.streams.add(s.Pattern, s.Rule)
	}
	return out, t.addHosts(out, old)
}

// addHosts makes the matchers ready, or keeps those of old.
func (t *table) addHosts(l, old *listener) error {
	l.matchers = make([]*matcher, 0, len(l.Hosts))
	l.hosts.expect(len(l.Hosts))
	for i := range l.Hosts {
		h := &l.Hosts[i]
		for j := range h.Matches {
			if h.Matches[j].Rule < 0 || h.Matches[j].Rule >= len(t.rules) {
				return errors.New("match names a rule that is not there")
			}
		}
		m := old.matcher(i, h.Pattern).with(h.Matches)
		if m == nil {
			var err error
			if m, err = newMatcher(h.Matches); err != nil {
				return err
			}
		}
		l.matchers = append(l.matchers, m)
		l.hosts.add(h.Pattern, m)
	}
	return nil
}

// matcher gives the matcher that the listener had for a pattern, or nil. Hosts
// stay in their order; one that came or went shifts the others.
func (l *listener) matcher(i int, pattern string) *matcher {
	if l == nil || l.made == nil || len(l.matchers) != len(l.made.Hosts) {
		return nil
	}
	for _, at := range [...]int{i, i - 1, i + 1} {
		if at >= 0 && at < len(l.matchers) && l.made.Hosts[at].Pattern == pattern {
			return l.matchers[at]
		}
	}
	m, _ := l.hosts.at(pattern)
	return m
}

// sameTLS reports whether a configuration made for a serves b. Keys are told by
// their certificates: no two keys make a pair with one.
func sameTLS(a, b *ir.ListenerTLS) bool {
	return a.ClientCA == b.ClientCA && a.RequireClient == b.RequireClient && a.RequestClient == b.RequestClient && a.MinVersion == b.MinVersion &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(x, y ir.KeyPair) bool { return x.Name == y.Name && x.Fingerprint == y.Fingerprint })
}
