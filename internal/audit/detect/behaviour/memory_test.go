package behaviour

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
)

func TestFirstSeen(t *testing.T) {
	t.Parallel()
	l := newLearner(t, plain)
	l.know("cart", "get", "shop")
	l.silent(l.did(day(9), "cart", "get", "shop"))
	got := l.one(Unusual, l.did(day(9), "cart", "get", "pay"))
	want := Finding{Kind: Unusual, Learned: true, Seqs: []uint64{l.seq}, Count: 1, Values: map[string]string{
		"behaviour.days": "9", "behaviour.events": "12", "behaviour.known": "1", "behaviour.learned": "true",
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	l.silent(l.did(day(9), "cart", "get", "pay")) // it was told
	// "a" and "bc" are not "ab" and "c".
	l.one(Unusual, l.did(day(9), "cart", "a", "bc"))
	l.one(Unusual, l.did(day(9), "cart", "ab", "c"))
	// Somebody else is still learned, for as long as not both are enough.
	l.silent(l.did(day(9), "web", "get", "pay"))
	l.silent(l.did(day(20), "web", "get", "db"))
	for i := range 20 {
		l.silent(l.did(day(20).Add(time.Duration(i)*time.Second), "api", fmt.Sprint("v", i%9), "x"))
	}
	// What was not seen for longer than it is remembered is new again.
	for i := range 40 {
		l.silent(l.did(day(9+float64(i)), "cart", "get", "shop"))
	}
	l.one(Unusual, l.did(day(49), "cart", "get", "pay"))
	// Who was not seen for so long is learned anew.
	l.silent(l.did(day(90), "cart", "get", "db"))
}

func TestRefusedTeachesNothing(t *testing.T) {
	t.Parallel()
	refused := func(e *audit.Event) { e.Status.Code = 403 }
	l := newLearner(t, plain)
	l.know("cart", "get", "shop")
	l.silent(l.event(day(9), never, refused, []string{"cart"}, []string{"list"}, []string{"pay"}))
	l.silent(l.event(day(9), never, func(e *audit.Event) { e.Stage, e.Status.Code = "RequestReceived", 0 }, []string{"cart"}, []string{"list"}, []string{"pay"}))
	l.one(Unusual, l.did(day(9), "cart", "list", "pay"))
	// With both, one does not teach the other either.
	l = newLearner(t, `{type: first_seen, outcome: any, group-by: [user], fields: [verb, namespace], learning: {for: 7d, events: 10}, forget: 30d, selection: {}}`)
	l.know("cart", "get", "shop")
	l.one(Unusual, l.event(day(9), never, refused, []string{"cart"}, []string{"list"}, []string{"pay"}))
	l.silent(l.event(day(9), never, refused, []string{"cart"}, []string{"list"}, []string{"pay"}))
	l.one(Unusual, l.did(day(9), "cart", "list", "pay"))
}

func TestRoam(t *testing.T) {
	t.Parallel()
	l := newLearner(t, `{type: first_seen, group-by: [user], fields: [verb, namespace], roam: {field: namespace, after: 3}, learning: {for: 7d, events: 10}, forget: 30d, selection: {}}`)
	l.know("op", "get", "a")
	l.one(Unusual, l.did(day(9), "op", "get", "b"))
	l.one(Unusual, l.did(day(9), "op", "get", "c"))
	for i := range 50 {
		l.silent(l.did(day(9), "op", "get", fmt.Sprint("ns-", i))) // it goes everywhere
	}
	l.one(Unusual, l.did(day(9), "op", "delete", "a")) // but not with everything
	if n := l.m.Counts().Values; n > 3+3+2 {
		t.Errorf("%d values are remembered of one that goes everywhere", n)
	}
}

func TestNeverLearn(t *testing.T) {
	t.Parallel()
	risky := `{type: first_seen, group-by: [user], fields: [verb], learning: {for: 7d, events: 10}, forget: 30d, selection: {}, neverLearn: {when: x, rare: 1, after: 7d}}`
	l := newLearner(t, risky)
	l.silent(l.event(day(0), always, nil, []string{"a"}, []string{"exec"})) // the rule is new itself
	got := l.one(Unusual, l.event(day(8), always, nil, []string{"b"}, []string{"exec"}))
	if got.Learned || got.Values["behaviour.others"] != "1" || got.Values["behaviour.learned"] != "false" {
		t.Errorf("%+v", got)
	}
	l.silent(l.event(day(8), always, nil, []string{"b"}, []string{"exec"})) // it was told
	l.silent(l.event(day(8), always, nil, []string{"c"}, []string{"exec"})) // and is not rare any more
	l.silent(l.event(day(8), never, nil, []string{"c"}, []string{"get"}))
	l.one(Unusual, l.event(day(8), always, nil, []string{"c"}, []string{"attach"}))
}

// Who makes up names pushes out others who are new, and nobody who is known; and it is
// told.
func TestFloodOfIdentities(t *testing.T) {
	t.Parallel()
	l := newLearner(t, plain)
	for i := range 10 {
		l.know(fmt.Sprint("known-", i), "get", "shop")
	}
	told := 0
	for i := range 1000 {
		for _, f := range l.did(day(9).Add(time.Duration(i)*time.Second), fmt.Sprint("made-up-", i), "get", "shop") {
			if f.Kind != Crowded {
				t.Fatalf("%+v", f)
			}
			told++
		}
	}
	if c := l.m.Counts(); told != 1 || c.Evicted != 990 || c.Refused != 0 || c.Identities != 20 {
		t.Errorf("told %d times, %+v", told, c)
	}
	for i := range 10 {
		l.silent(l.did(day(9), fmt.Sprint("known-", i), "get", "shop"))
		l.one(Unusual, l.did(day(9), fmt.Sprint("known-", i), "get", "pay"))
	}
}

// Where all are known, there is no room for others, which is told every day, and the
// risky things that they do are told too.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	l := newLearner(t, `{type: first_seen, group-by: [user], fields: [verb], learning: {for: 7d, events: 10}, forget: 30d, selection: {}, identities: 10, neverLearn: {when: x, rare: 5, after: 0s}}`)
	for i := range 10 {
		l.know(fmt.Sprint("known-", i), "get")
	}
	l.one(Crowded, l.did(day(9), "late", "get"))
	l.silent(l.did(day(9), "later", "get"))
	l.one(Unusual, l.event(day(9), always, nil, []string{"latest"}, []string{"exec"}))
	l.one(Crowded, l.did(day(10), "late", "get"))
	if c := l.m.Counts(); c.Refused != 4 || c.Identities != 10 {
		t.Errorf("%+v", c)
	}
	// Who was not seen for long makes room.
	for i := range 9 {
		l.silent(l.did(day(45), fmt.Sprint("known-", i), "get"))
	}
	l.silent(l.did(day(45), "late", "get"))
}

func TestFloodOfValues(t *testing.T) {
	t.Parallel()
	l := newLearner(t, plain)
	l.know("cart", "get", "shop")
	for i := range 9 {
		l.one(Unusual, l.did(day(9), "cart", "get", fmt.Sprint("ns-", i)))
	}
	// There is no room: what is new is told once a day, not learned, and counted.
	if f := l.one(Varied, l.did(day(9), "cart", "get", "one-more")); !f.Learned {
		t.Errorf("%+v", f)
	}
	l.silent(l.did(day(9), "cart", "get", "and-more"))
	l.one(Varied, l.did(day(10), "cart", "get", "and-more"))
	l.silent(l.did(day(10), "cart", "get", "shop"))
	if c := l.m.Counts(); c.Unjudged != 3 || c.Values != 10 {
		t.Errorf("%+v", c)
	}
	// One that was so before it was known is not judged, which is told once.
	for i := range 10 {
		l.silent(l.did(day(10), "gc", "get", fmt.Sprint("ns-", i)))
	}
	if f := l.one(Varied, l.did(day(10), "gc", "get", "more")); f.Learned {
		t.Errorf("%+v", f)
	}
	for i := range 30 {
		l.silent(l.did(day(10+float64(i)), "gc", "get", fmt.Sprint("x-", i)))
	}
	// When most of it is forgotten, it is learned again.
	for i := range 20 {
		l.silent(l.did(day(45+float64(i)), "gc", "get", "x"))
	}
	l.one(Unusual, l.did(day(65), "gc", "get", "y"))
}

// A group that does ever new things is told of once a day when it is full, and what is
// risky is told all the same.
func TestFloodOfGroup(t *testing.T) {
	t.Parallel()
	l := newLearner(t, `{type: peer_group, group-by: [user], fields: [verb], peers: {of: groups, members: 2}, learning: {for: 7d, events: 10}, forget: 30d, selection: {}, values: 10, neverLearn: {when: x, rare: 1, after: 7d}}`)
	did := func(at time.Time, risky func() bool, who, verb string) []Finding {
		return l.event(at, risky, nil, []string{who}, []string{verb}, []string{"shop"})
	}
	for i := range 22 {
		l.silent(did(day(float64(i)/2), never, fmt.Sprint("svc-", i%2), "get"))
	}
	for i := range 7 {
		l.one(Unusual, did(day(12), never, "svc-0", fmt.Sprint("v", i)))
	}
	l.one(Varied, did(day(12), never, "svc-0", "w0"))
	l.silent(did(day(12), never, "svc-0", "w0"))
	l.silent(did(day(12), never, "svc-1", "w1"))
	l.one(Unusual, did(day(12), always, "svc-1", "exec"))
	l.one(Varied, did(day(13), never, "svc-1", "w1"))
	l.silent(did(day(13), never, "svc-1", "get"))
	if c := l.m.Counts(); c.Unjudged != 5 || c.Values != 10 {
		t.Errorf("%+v", c)
	}
}

// A clock that goes back, or far ahead, neither blinds a rule nor makes it forget.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	l := newLearner(t, plain)
	l.know("cart", "get", "shop")
	l.silent(l.did(day(-400), "cart", "get", "shop"))
	l.silent(l.did(time.UnixMicro(0), "cart", "get", "shop"))
	l.one(Unusual, l.did(day(-300), "cart", "get", "pay"))
	l.one(Unusual, l.did(day(9), "cart", "get", "pay")) // it was long ago
	l.one(Unusual, l.did(day(9), "cart", "get", "db"))
	// Ahead by years and back: it has to be learned again, and then it is judged.
	l.silent(l.did(day(4000), "cart", "get", "shop"))
	for i := range 11 {
		l.did(day(10+float64(i)), "cart", "get", "shop")
	}
	l.one(Unusual, l.did(day(22), "cart", "get", "web"))
}

func TestNewValue(t *testing.T) {
	t.Parallel()
	l := newLearner(t, `{type: new_value, value: client, group-by: [user], learning: {for: 7d, events: 10}, forget: 30d, selection: {}}`)
	with := func(agent string) func(*audit.Event) { return func(e *audit.Event) { e.UserAgent = agent } }
	l.know("cart")
	l.silent(l.event(day(9), never, with("kubectl/v1.40.0 (linux/amd64) kubernetes/0000000"), []string{"cart"}))
	l.silent(l.event(day(9), never, with(""), []string{"cart"}))
	if f := l.one(Unusual, l.event(day(9), never, with("curl/8.9.1"), []string{"cart"})); f.Values["behaviour.value"] != "curl" {
		t.Errorf("%+v", f)
	}
	l.silent(l.event(day(9), never, with("curl/8.10"), []string{"cart"}))

	l = newLearner(t, `{type: new_value, value: network, group-by: [user], learning: {for: 7d, events: 10}, forget: 30d, selection: {}}`)
	from := func(ips ...string) func(*audit.Event) { return func(e *audit.Event) { e.SourceIPs = ips } }
	l.know("cart")
	l.silent(l.event(day(9), never, from("203.0.113.1", "10.0.0.77"), []string{"cart"}))
	l.silent(l.event(day(9), never, from("::ffff:10.0.0.9"), []string{"cart"}))
	l.silent(l.event(day(9), never, from("@"), []string{"cart"}))
	l.silent(l.event(day(9), never, from(), []string{"cart"}))
	if f := l.one(Unusual, l.event(day(9), never, from("10.0.0.77", "203.0.113.1"), []string{"cart"})); f.Values["behaviour.value"] != "203.0.113.0/24" {
		t.Errorf("%+v", f)
	}
}

func TestPeerGroup(t *testing.T) {
	t.Parallel()
	l := newLearner(t, `{type: peer_group, group-by: [user], fields: [verb], peers: {of: groups, ignore: [all], members: 3}, learning: {for: 7d, events: 10}, forget: 30d, selection: {}}`)
	did := func(at time.Time, who, verb string, groups ...string) []Finding {
		return l.event(at, never, nil, []string{who}, []string{verb}, groups)
	}
	for i := range 12 {
		l.silent(did(day(float64(i)), fmt.Sprint("svc-", i%2), "get", "all", "shop"))
	}
	l.silent(did(day(12), "svc-0", "list", "all", "shop")) // two are no group
	l.silent(did(day(12), "svc-2", "get", "all", "shop"))
	l.silent(did(day(12), "svc-1", "list", "all", "shop")) // another did it
	got := l.one(Unusual, did(day(12), "svc-new", "delete", "all", "shop"))
	if got.Values["behaviour.group"] != "shop" || got.Values["behaviour.members"] != "3" {
		t.Errorf("%+v", got)
	}
	l.silent(did(day(12), "svc-0", "delete", "all", "shop"))
	l.silent(did(day(12), "dev-0", "exec", "all", "dev"))
	l.silent(did(day(12), "svc-0", "exec", "shop", "dev")) // it is usual in one of its groups
	l.silent(did(day(12), "svc-0", "patch"))
	l.silent(did(day(12), "svc-0", "patch", "all"))
	// Members who are gone for long do not count.
	for i := range 40 {
		l.silent(did(day(12+float64(i)), "svc-0", "get", "shop"))
	}
	l.silent(did(day(52), "svc-0", "approve", "shop"))
	// More members than are told apart.
	for i := range 100 {
		l.silent(did(day(53), fmt.Sprint("many-", i), "get", "shop"))
	}
	if f := l.one(Unusual, did(day(53), "svc-0", "escalate", "shop")); f.Values["behaviour.members"] != "32 or more" {
		t.Errorf("%+v", f)
	}
}
