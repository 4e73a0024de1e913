package lockout

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func policy() *Policy {
	return &Policy{Name: "p", Attempts: 3, Window: time.Minute, Duration: 10 * time.Minute, ByName: true, BySource: true}
}

func from(ip, name string) Subject { return Subject{Source: netip.MustParseAddr(ip), Name: name} }

// Each line: what happens, from whom, after how long since the start, and what
// must come out: for "fail" what became locked, for "try" what is locked.
func TestTable(t *testing.T) {
	tests := map[string]struct {
		edit  func(*Policy)
		steps string
	}{
		"third failure locks the source": {steps: `
			try 192.0.2.1 - 0s nothing
			fail 192.0.2.1 - 0s nothing
			fail 192.0.2.1 - 1s nothing
			try 192.0.2.1 - 1s nothing
			fail 192.0.2.1 - 2s source
			try 192.0.2.1 - 3s source
			try 192.0.2.2 - 3s nothing
			try 192.0.2.1 - 601s source
			try 192.0.2.1 - 602s nothing
			fail 192.0.2.1 - 603s nothing`},
		"failures leave the window": {steps: `
			fail 192.0.2.1 - 0s nothing
			fail 192.0.2.1 - 1s nothing
			fail 192.0.2.1 - 69s nothing
			fail 192.0.2.1 - 70s nothing
			fail 192.0.2.1 - 75s source`},
		"the window slides over its parts": {steps: `
			fail 192.0.2.1 - 50s nothing
			fail 192.0.2.1 - 55s nothing
			fail 192.0.2.1 - 105s source`},
		"an IPv6 /64 is one source": {steps: `
			fail 2001:db8::1 - 0s nothing
			fail 2001:db8::2 - 0s nothing
			fail 2001:db8::3 - 0s source
			try 2001:db8::ffff:4 - 1s source
			try 2001:db8:0:1::1 - 1s nothing`},
		"a mapped IPv4 address is the IPv4 address": {steps: `
			fail ::ffff:192.0.2.1 - 0s nothing
			fail 192.0.2.1 - 0s nothing
			fail ::ffff:192.0.2.1 - 0s source
			try 192.0.2.1 - 0s source`},
		"a name is locked over all sources": {steps: `
			fail 192.0.2.1 ann 0s nothing
			fail 192.0.2.2 ann 0s nothing
			fail 192.0.2.3 ann 0s name
			try 192.0.2.4 ann 1s name
			try 192.0.2.4 bob 1s nothing
			try 192.0.2.4 - 1s nothing
			try 192.0.2.4 ann 601s nothing`},
		"success forgets the name's failures from the same source only": {steps: `
			fail 192.0.2.1 ann 0s nothing
			fail 192.0.2.1 ann 0s nothing
			pass 192.0.2.1 ann 1s nothing
			fail 192.0.2.9 ann 2s nothing
			fail 192.0.2.9 ann 2s nothing
			pass 192.0.2.1 ann 3s nothing
			fail 192.0.2.8 ann 4s name`},
		"success does not forget the source's failures": {steps: `
			fail 192.0.2.1 ann 0s nothing
			fail 192.0.2.1 bob 0s nothing
			pass 192.0.2.1 eve 1s nothing
			fail 192.0.2.1 dan 2s source`},
		"a source that proved the name gets past the name's lock": {
			edit: func(p *Policy) { p.BySource = false },
			steps: `
			pass 192.0.2.1 ann 0s nothing
			fail 203.0.113.1 ann 1s nothing
			fail 203.0.113.1 ann 1s nothing
			fail 203.0.113.1 ann 1s name
			try 203.0.113.1 ann 2s name
			try 192.0.2.1 ann 2s nothing
			fail 192.0.2.1 ann 3s nothing
			fail 192.0.2.1 ann 3s nothing
			try 192.0.2.1 ann 3s nothing
			fail 192.0.2.1 ann 3s nothing
			try 192.0.2.1 ann 4s name`,
		},
		"trust ends after a day": {
			edit: func(p *Policy) { p.BySource = false; p.Duration = 72 * time.Hour },
			steps: `
			pass 192.0.2.1 ann 0s nothing
			fail 203.0.113.1 ann 1s nothing
			fail 203.0.113.1 ann 1s nothing
			fail 203.0.113.1 ann 1s name
			try 192.0.2.1 ann 86399s nothing
			try 192.0.2.1 ann 86400s name`,
		},
		"by name only": {
			edit: func(p *Policy) { p.BySource = false },
			steps: `
			fail 192.0.2.1 - 0s nothing
			fail 192.0.2.1 - 0s nothing
			fail 192.0.2.1 - 0s nothing
			try 192.0.2.1 - 0s nothing`,
		},
		"by source only": {
			edit: func(p *Policy) { p.ByName = false },
			steps: `
			fail 192.0.2.1 ann 0s nothing
			fail 192.0.2.2 ann 0s nothing
			fail 192.0.2.3 ann 0s nothing
			try 192.0.2.4 ann 0s nothing`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := policy()
			if tt.edit != nil {
				tt.edit(p)
			}
			table := New()
			for line := range strings.SplitSeq(strings.TrimSpace(tt.steps), "\n") {
				w := strings.Fields(line)
				d, err := time.ParseDuration(w[3])
				if err != nil {
					t.Fatal(err)
				}
				s := from(w[1], strings.Trim(w[2], "-"))
				now := start.Add(d)
				got := ""
				switch w[0] {
				case "fail":
					got = table.Failed(p, s, now)
				case "try":
					got, _ = table.Locked(p, s, now)
				case "pass":
					table.Succeeded(p, s, now)
				}
				if got == "" {
					got = "nothing"
				}
				if got != w[4] {
					t.Fatalf("%s: got %s", strings.TrimSpace(line), got)
				}
			}
		})
	}
}

func TestPoliciesCountApart(t *testing.T) {
	table, p, q := New(), policy(), policy()
	q.Name = "q"
	for range 3 {
		table.Failed(p, from("192.0.2.1", ""), start)
	}
	if what, _ := table.Locked(q, from("192.0.2.1", ""), start); what != "" {
		t.Errorf("locked %s by another policy", what)
	}
	if what, left := table.Locked(p, from("192.0.2.1", ""), start.Add(time.Minute)); what != Source || left != 9*time.Minute {
		t.Errorf("got %q for %v", what, left)
	}
}

func TestBounded(t *testing.T) {
	table, p := New(), policy()
	for i := range 3 * Capacity / 2 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		table.Failed(p, Subject{Source: a, Name: fmt.Sprint(i)}, start)
	}
	if n := table.failures.size.Load(); n > Capacity {
		t.Errorf("%d counters, the limit is %d", n, Capacity)
	}
	long := Subject{Name: strings.Repeat("x", 1<<20)}
	if k := nameKey(p, long); len(k.name) > maxNameBytes+1 {
		t.Errorf("a name of %d bytes is kept", len(k.name))
	}
	if nameKey(p, long) == nameKey(p, Subject{Name: strings.Repeat("x", 1<<20) + "y"}) {
		t.Error("two long names count as one")
	}
}

func TestConcurrent(t *testing.T) {
	table, p := New(), policy()
	p.Attempts = 1000
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 125 {
				s := from("192.0.2.1", fmt.Sprint(i, k))
				table.Failed(p, s, start)
				table.Locked(p, s, start)
				table.Succeeded(p, s, start)
			}
		})
	}
	wg.Wait()
	if what, _ := table.Locked(p, from("192.0.2.1", ""), start); what != Source {
		t.Errorf("1000 failures locked %q", what)
	}
}

func BenchmarkLocked(b *testing.B) {
	table, p := New(), policy()
	table.Failed(p, from("192.0.2.77", "bob"), start)
	s := from("192.0.2.1", "ann")
	b.ReportAllocs()
	for b.Loop() {
		if what, _ := table.Locked(p, s, start); what != "" {
			b.Fatal(what)
		}
	}
}
