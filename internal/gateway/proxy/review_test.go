package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// What a new table does to streams that are open.
func TestTableReviewsStreams(t *testing.T) {
	ca := newAuthority(t)
	rules := func(t *ir.Table, edit func(*ir.Rule)) {
		t.Rules = slices.Clone(t.Rules)
		for i := range t.Rules {
			edit(&t.Rules[i])
		}
	}
	pass := func(t *ir.Table) *ir.Listener {
		t.Listeners = slices.Clone(t.Listeners)
		return &t.Listeners[0]
	}
	for _, tc := range []struct {
		name string
		edit func(*ir.Table)
		cut  bool
	}{
		{name: "nothing changed", edit: func(*ir.Table) {}},
		{name: "other certificates and limits", edit: func(n *ir.Table) {
			rules(n, func(r *ir.Rule) {
				if r.ID != "3" {
					r.Concurrency = &ir.Concurrency{Rule: "p", Max: 1}
				}
			})
		}},
		{name: "other backends", edit: func(n *ir.Table) {
			n.Backends = slices.Clone(n.Backends)
			n.Backends[0].Endpoints, n.Backends[2].Endpoints = nil, nil
		}},
		{name: "source still allowed", edit: func(n *ir.Table) {
			rules(n, func(r *ir.Rule) {
				r.Network = &ir.Network{Rule: "p", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
			})
		}},
		{name: "source no longer allowed", cut: true, edit: func(n *ir.Table) {
			rules(n, func(r *ir.Rule) {
				r.Network = &ir.Network{Rule: "p", Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
			})
		}},
		{name: "rule refuses", cut: true, edit: func(n *ir.Table) {
			rules(n, func(r *ir.Rule) { r.Refuse = &ir.Refusal{Status: 503, Reason: "r"} })
		}},
		{name: "rule cannot be served", cut: true, edit: func(n *ir.Table) { rules(n, func(r *ir.Rule) { r.Unprotected = false }) }},
		{name: "streams are gone", cut: true, edit: func(n *ir.Table) {
			pass(n).Streams = nil
			n.Listeners[1].Streams = nil
		}},
		{name: "another rule serves the name", cut: true, edit: func(n *ir.Table) {
			pass(n).Streams = []ir.Stream{{Pattern: "a.pass.example", Rule: 1}}
			n.Listeners[1].Streams = []ir.Stream{{Pattern: "term.example", Rule: 1}}
		}},
		{name: "listeners are gone", cut: true, edit: func(n *ir.Table) { n.Listeners = n.Listeners[2:] }},
		{name: "table is empty", cut: true, edit: func(n *ir.Table) { *n = ir.Table{} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := streams(t, ca)
			f := start(t, table, Limits{})
			for _, sni := range []string{"a.pass.example", "term.example"} {
				c, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: ca.pool(), ServerName: sni})
				if err != nil {
					t.Fatal(err)
				}
				br := bufio.NewReader(c)
				if _, err := br.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				next := *table
				tc.edit(&next)
				if _, err := f.server.Apply(t.Context(), &next); err != nil {
					t.Fatal(err)
				}
				_, werr := io.WriteString(c, "ping\n")
				_, rerr := br.ReadString('\n')
				if cut := errors.Join(werr, rerr) != nil; cut != tc.cut {
					t.Errorf("%s: cut is %v: %v, %v", sni, cut, werr, rerr)
				}
				_ = c.Close()
				f.events.await(t, func(e *bulwark.Event) bool {
					return e.Host == sni && e.Decision.Allowed && (e.Error == errStreamCut.Error()) == tc.cut
				})
				if _, err := f.server.Apply(t.Context(), table); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Tables that change while streams come and go neither break a stream that every
// one of them admits nor leave one that none does.
func TestTablesUnderStreams(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	f := start(t, table, Limits{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := f.greet(t, &tls.Config{RootCAs: ca.pool(), ServerName: "a.pass.example"}); err != nil {
					t.Errorf("%q, %v", got, err)
				}
				_, _ = f.greet(t, &tls.Config{RootCAs: ca.pool(), ServerName: "term.example"})
			}
		})
	}
	for i := range 300 {
		next := *table
		next.Rules = slices.Clone(table.Rules)
		if i%2 == 0 {
			next.Rules[2].Refuse = &ir.Refusal{Status: 503, Reason: "r"}
		}
		if _, err := f.server.Apply(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	// The last one's accounts may still be being made up.
	for t.Context().Err() == nil {
		f.server.mu.Lock()
		left := len(f.server.streams)
		f.server.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("streams are left")
}
