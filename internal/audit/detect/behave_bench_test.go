package detect

import (
	"fmt"
	"io/fs"
	"testing"
	"time"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
)

// behaviours are the shipped rules about behaviour alone.
func behaviours(tb testing.TB) *Set {
	tb.Helper()
	sub, err := fs.Sub(catalog.Detections(), "behaviour")
	if err != nil {
		tb.Fatal(err)
	}
	set, err := Load(sub)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// routine is what some hundred identities do day by day: event n of it.
func routine(n int) *audit.Event {
	who := n % 300
	e := sample(uint64(n) + 1)
	e.RequestObject, e.Level = nil, "Metadata"
	at := start().Add(time.Duration(n) * 10 * time.Second)
	e.RequestReceived, e.StageAt, e.Received = at, at, at
	ns := fmt.Sprint("team-", who%40)
	e.User = audit.User{Username: fmt.Sprint("system:serviceaccount:", ns, ":app-", who), Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"}}
	e.UserAgent = fmt.Sprint("app/v1.2.", n/30_000, " (linux/amd64) client-go/v0.33")
	e.SourceIPs = []string{fmt.Sprintf("10.0.%d.%d", who%7, n%250)}
	e.Verb = []string{"get", "list", "watch", "update"}[n/300%4]
	e.Object = audit.ObjectRef{APIVersion: "v1", Resource: []string{"pods", "secrets", "configmaps", "services"}[n/1200%4], Namespace: ns, Name: "x"}
	e.Status.Code = 200
	return e
}

// BenchmarkBehaviour is what all shipped rules about behaviour cost for events of known
// behaviour, of service accounts, which most of them look at.
func BenchmarkBehaviour(b *testing.B) {
	engine, err := NewEngine(behaviours(b), Config{})
	if err != nil {
		b.Fatal(err)
	}
	const learned, cycle = 100_000, 4800
	for i := range learned {
		engine.Observe(routine(i))
	}
	events := make([]*audit.Event, cycle)
	for i := range events {
		events[i] = routine(learned + i)
		engine.Observe(events[i])
	}
	before := engine.Stats()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		e := events[n%cycle]
		e.StageAt, e.Received = e.StageAt.Add(cycle*10*time.Second), e.Received.Add(cycle*10*time.Second)
		if len(engine.Observe(e)) > 0 {
			b.Fatal("known behaviour alerts")
		}
		n++
	}
	if now := engine.Stats(); now.Behaviour != before.Behaviour {
		b.Fatalf("%+v, then %+v", before.Behaviour, now.Behaviour)
	}
	b.ReportMetric(float64(before.Behaviour.Identities), "identities")
}
