package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strconv"

	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/upstream"
)

// table is an ir.Table made ready to serve: patterns compiled, steps built,
// backends connected. It is immutable; a request finishes on the table that it
// began with.
type table struct {
	ir    *ir.Table
	binds map[string]*bindTable // by "ip:port"
	rules []rule
	set   *upstream.Set
}

// rule is an ir.Rule made ready.
type rule struct {
	*ir.Rule
	chain   *filters.Chain
	metrics *ruleMetrics
}

// bindTable is what one address and port serves.
type bindTable struct {
	tls       bool
	listeners hostSet[*listener]
}

// listener is an ir.Listener made ready.
type listener struct {
	*ir.Listener
	hosts hostSet[*matcher]
	tls   *tls.Config
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
	var prevSet *upstream.Set
	if prev != nil {
		prevSet = prev.set
	}
	set, broken := upstream.NewSet(t, prevSet, cfg.Upstream)
	out := &table{ir: t, set: set, binds: map[string]*bindTable{}, rules: make([]rule, len(t.Rules))}
	var problems []Problem
	for i := range t.Rules {
		r := &t.Rules[i]
		out.rules[i] = rule{Rule: r, metrics: m.rule(r.ID)}
		if r.Refuse != nil {
			continue
		}
		chain, err := filters.Build(r, cfg.Filters)
		for _, b := range r.Backends {
			if b.Backend >= 0 && broken[b.Backend] != nil && err == nil {
				err = fmt.Errorf("backend %s: %w", t.Backends[b.Backend].Name, broken[b.Backend])
			}
		}
		if err != nil {
			problems = append(problems, Problem{Rule: r.ID, Err: err})
			refused := *r
			refused.Refuse = &ir.Refusal{Status: http.StatusServiceUnavailable, Reason: err.Error()}
			out.rules[i].Rule = &refused
			continue
		}
		out.rules[i].chain = chain
	}
	for i := range t.Listeners {
		if err := out.addListener(&t.Listeners[i], prev); err != nil {
			problems = append(problems, Problem{Listener: t.Listeners[i].Name, Err: err})
		}
	}
	return out, problems
}

// addListener puts a listener in its place. One that cannot be served keeps the
// place, closed: its hostname must not fall to a less specific neighbour.
func (t *table) addListener(l *ir.Listener, prev *table) error {
	out, err := t.newListener(l, prev)
	if err != nil {
		closed := *l
		closed.Refuse = &ir.Refusal{Status: http.StatusServiceUnavailable, Reason: err.Error()}
		out = &listener{Listener: &closed} // without tls: the handshake fails
	}
	for _, a := range l.Addresses {
		key := net.JoinHostPort(a, strconv.Itoa(int(l.Port)))
		b := t.binds[key]
		if b == nil {
			b = &bindTable{tls: l.TLS != nil}
			t.binds[key] = b
		}
		if b.tls != (l.TLS != nil) {
			return fmt.Errorf("address %s is asked for with and without TLS", key)
		}
		b.listeners.add(l.Hostname, out)
	}
	return err
}

func (t *table) newListener(l *ir.Listener, prev *table) (*listener, error) {
	out := &listener{Listener: l}
	if l.TLS != nil {
		cfg, err := listenerTLS(l, prev)
		if err != nil {
			return nil, err
		}
		out.tls = cfg
	}
	for i := range l.Hosts {
		m, err := newMatcher(l.Hosts[i].Matches)
		if err != nil {
			return nil, err
		}
		for _, match := range l.Hosts[i].Matches {
			if match.Rule < 0 || match.Rule >= len(t.rules) {
				return nil, errors.New("match names a rule that is not there")
			}
		}
		out.hosts.add(l.Hosts[i].Pattern, m)
	}
	return out, nil
}

// sameListenerTLS finds the listener of an earlier table with the very same TLS
// part, whose configuration can be kept.
func sameListenerTLS(l *ir.Listener, prev *table) *tls.Config {
	if prev == nil {
		return nil
	}
	for i := range prev.ir.Listeners {
		old := &prev.ir.Listeners[i]
		if old.Name != l.Name || !reflect.DeepEqual(stripSecrets(old.TLS), stripSecrets(l.TLS)) {
			continue
		}
		for _, b := range prev.binds {
			if lis, ok := b.listeners.find(l.Hostname); ok && lis.Name == l.Name && lis.tls != nil {
				return lis.tls
			}
		}
	}
	return nil
}

func stripSecrets(t *ir.ListenerTLS) ir.ListenerTLS {
	if t == nil {
		return ir.ListenerTLS{}
	}
	c := *t
	c.Certificates = make([]ir.KeyPair, len(t.Certificates))
	for i, k := range t.Certificates {
		c.Certificates[i] = ir.KeyPair{Name: k.Name, Fingerprint: k.Fingerprint}
	}
	return c
}
