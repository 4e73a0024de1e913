package behaviour

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
)

func kinds() map[string]string {
	const rest = `learning: {for: 2d, events: 5}, forget: 10d, selection: {}, identities: 10`
	return map[string]string{
		"first_seen": `{type: first_seen, outcome: any, group-by: [u], fields: [v, n], roam: {field: n, after: 3}, values: 12, neverLearn: {when: x, rare: 1, after: 1d}, ` + rest + `}`,
		"client":     `{type: new_value, value: client, group-by: [u, v], values: 10, ` + rest + `}`,
		"network":    `{type: new_value, value: network, group-by: [u], values: 10, ` + rest + `}`,
		"rate":       `{type: rate, group-by: [u], fields: [v], window: 1h, times: 2, least: 3, ` + rest + `}`,
		"peer_group": `{type: peer_group, group-by: [u], fields: [v], values: 20, peers: {of: g, members: 2}, neverLearn: {when: x, rare: 1, after: 1d}, ` + rest + `}`,
	}
}

// life shows events of some weeks, with a clock that is not always right, and gives all
// that was found. Before each event, at may exchange the Memory.
func life(l *learner, seed uint64, at func(n int)) []Finding {
	r := rand.New(rand.NewPCG(seed, 1))
	now, out := start(), []Finding(nil)
	for n := range 1000 {
		at(n)
		now = now.Add(time.Duration(r.IntN(int(30 * time.Minute))))
		if r.IntN(50) == 0 {
			now = now.Add(time.Duration(r.IntN(int(5*24*time.Hour))) - 2*24*time.Hour)
		}
		pick := func(name string, n int) string { return fmt.Sprint(name, r.IntN(1+r.IntN(n))) }
		fields := [][]string{{pick("u", 14)}, {pick("v", 5)}, {pick("n", 9)}}
		if r.IntN(40) == 0 {
			fields[1][0] = fmt.Sprint("w", n)
		}
		agent, ip, code, risk := pick("tool", 6), fmt.Sprintf("10.%d.0.1", r.IntN(1+r.IntN(14))), int32(200), r.IntN(10) == 0
		if r.IntN(9) == 0 {
			code = 403
		}
		switch l.m.spec.Type {
		case NewValue:
			fields = fields[:len(l.m.spec.GroupBy)]
		case PeerGroup:
			fields = [][]string{fields[0], fields[1], {pick("g", 3), "h"}}
		case FirstSeen, Rate:
		}
		out = append(out, l.event(now, func() bool { return risk }, func(e *audit.Event) {
			e.UserAgent, e.SourceIPs, e.Status.Code = agent, []string{ip}, code
		}, fields...)...)
	}
	return out
}

// The same events give the same, also when the Memory is written and read in between.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	for name, text := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLearner(t, text)
			want := life(l, 7, func(int) {})
			if len(want) < 5 {
				t.Fatalf("%d findings", len(want))
			}
			again := newLearner(t, text)
			got := life(again, 7, func(n int) {
				if n%37 != 0 {
					return
				}
				state := again.m.State()
				next, err := New(again.m.spec, nil)
				if err == nil {
					err = next.Restore(state)
				}
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(next.State(), state) {
					t.Fatalf("after %d events, what was read is written in another way", n)
				}
				if a, b := again.m.Counts(), next.Counts(); a.Identities != b.Identities || a.Values != b.Values {
					t.Fatalf("after %d events: %+v, then %+v", n, a, b)
				}
				again.m = next
			})
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	l := newLearner(t, plain)
	l.know("cart", "get", "shop")
	l.know("web", "get", "shop")
	state := l.m.State()
	fresh := func(text string) *learner { return newLearner(t, text) }
	// Every part of it is needed, and nothing may follow.
	for n := range state {
		if err := fresh(plain).m.Restore(state[:n]); err == nil {
			t.Errorf("%d of %d bytes were read", n, len(state))
		}
	}
	next := fresh(plain)
	if err := next.m.Restore(append(bytes.Clone(state), 0)); err == nil || next.m.Counts() != (Counts{}) {
		t.Errorf("what follows was not refused: %v, %+v", err, next.m.Counts())
	}
	// What is judged may change, what is remembered may not.
	next = fresh(`{type: first_seen, group-by: [user], fields: [verb, namespace], learning: {for: 1d, events: 2}, forget: 60d, selection: {}, identities: 10, values: 10}`)
	if err := next.m.Restore(state); err != nil {
		t.Error(err)
	}
	next.one(Unusual, next.did(day(9), "web", "get", "pay"))
	for _, text := range kinds() {
		if err := fresh(text).m.Restore(state); !errors.Is(err, ErrOther) {
			t.Errorf("%v", err)
		}
	}
	// A smaller memory keeps what was seen last.
	l = newLearner(t, `{type: first_seen, group-by: [user], fields: [verb, namespace], learning: {for: 7d, events: 10}, forget: 30d, selection: {}, identities: 50, values: 50}`)
	for i := range 40 {
		for n := range 40 {
			l.did(day(float64(n)/2), fmt.Sprint("u", i), "get", fmt.Sprint(n))
		}
	}
	next = fresh(plain)
	if err := next.m.Restore(l.m.State()); err != nil {
		t.Fatal(err)
	}
	if c := next.m.Counts(); c.Identities != 20 || c.Values != 200 {
		t.Errorf("%+v", c)
	}
	next.silent(next.did(day(20), "u39", "get", "39"))
}

func FuzzRestore(f *testing.F) {
	var specs []*Spec
	for _, text := range kinds() {
		l := newLearner(f, text)
		for i := range 40 {
			l.event(day(float64(i)/4), always, nil, []string{fmt.Sprint("u", i%3)}, []string{fmt.Sprint("v", i%5)}, []string{"n"})
		}
		f.Add(l.m.State())
		specs = append(specs, l.m.spec)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		for _, spec := range specs {
			m, err := New(spec, nil)
			if err != nil || m.Restore(state) != nil {
				continue
			}
			next, err := New(spec, nil)
			if err != nil || next.Restore(m.State()) != nil || !bytes.Equal(m.State(), next.State()) {
				t.Fatalf("it was read, but not again: %v", err)
			}
			l := &learner{tb: t, m: m}
			for i := range 20 {
				l.event(day(float64(i)), always, nil, []string{"u0"}, []string{"v0"}, []string{fmt.Sprint("n", i)})
			}
		}
	})
}

// big is a Memory of so many identities with 200 values each, seen on 30 days.
func big(tb testing.TB, identities int) *Memory {
	tb.Helper()
	l := newLearner(tb, `{type: first_seen, group-by: [user], fields: [verb], learning: {for: 7d, events: 10}, forget: 90d, selection: {}}`)
	l.m.keys.set = true
	r := rand.New(rand.NewPCG(1, 1))
	for i := range identities {
		en := l.m.get(l.m.keys.key.sum(fmt.Append(nil, i)), day(0).UnixMicro())
		en.last = day(30).UnixMicro()
		for range 200 {
			l.m.remember(en, short(r.Uint64()), dayOf(day(float64(r.IntN(30))).UnixMicro()))
		}
	}
	return l.m
}

func TestStateSize(t *testing.T) {
	t.Parallel()
	m := big(t, 100)
	if c := m.Counts(); c.Identities != 100 || c.Values != 20_000 {
		t.Fatalf("%+v", c)
	}
	state := m.State()
	t.Logf("%d bytes", len(state))
	if len(state) > 140_000 { // 7 MB of 5,000 identities; in JSON it is a third more
		t.Errorf("%d bytes", len(state))
	}
	if err := newLearner(t, `{type: first_seen, group-by: [user], fields: [verb], learning: {for: 7d, events: 10}, forget: 90d, selection: {}}`).m.Restore(state); err != nil {
		t.Error(err)
	}
}

func BenchmarkState(b *testing.B) {
	m := big(b, 5000)
	for b.Loop() {
		b.SetBytes(int64(len(m.State())))
	}
}

func BenchmarkRestore(b *testing.B) {
	m := big(b, 5000)
	state := m.State()
	for b.Loop() {
		if err := m.Restore(state); err != nil {
			b.Fatal(err)
		}
	}
}
