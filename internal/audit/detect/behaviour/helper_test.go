package behaviour

import (
	"fmt"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/audit"
)

// listed gives fields of an event to a Memory.
type listed [][]string

func (l listed) Len(n int) int        { return len(l[n]) }
func (l listed) Text(n, i int) string { return l[n][i] }
func always() bool                    { return true }
func never() bool                     { return false }
func start() time.Time                { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) }
func after(d time.Duration) time.Time { return start().Add(d) }
func day(n float64) time.Time         { return after(time.Duration(n * 24 * float64(time.Hour))) }

// learner is a Memory that a test shows events to.
type learner struct {
	tb  testing.TB
	m   *Memory
	seq uint64
}

func parse(tb testing.TB, text string) *Spec {
	tb.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		tb.Fatal(err)
	}
	s, err := Parse("r.yaml", doc.Content[0])
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func newLearner(tb testing.TB, text string) *learner {
	tb.Helper()
	m, err := New(parse(tb, text), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return &learner{tb: tb, m: m}
}

// event shows an event whose fields are given, and gives what was found.
func (l *learner) event(at time.Time, risky func() bool, change func(*audit.Event), fields ...[]string) []Finding {
	l.tb.Helper()
	l.seq++
	e := &audit.Event{
		Seq: l.seq, Kind: audit.KindAPI, Cluster: "prod", AuditID: fmt.Sprint("id-", l.seq), Stage: "ResponseComplete", StageAt: at, Received: at,
		UserAgent: "kubectl/v1.33.2 (linux/amd64) kubernetes/7a2f4b1", SourceIPs: []string{"10.0.0.1"}, Status: audit.Status{Code: 200},
	}
	if change != nil {
		change(e)
	}
	var out []Finding
	if l.m.spec.Concerns(e, e.Succeeded()) {
		l.m.Observe(e, at.UnixMicro(), listed(fields), risky, func(f Finding) { out = append(out, f) })
	}
	return out
}

// did shows an event of who did what.
func (l *learner) did(at time.Time, who string, what ...string) []Finding {
	l.tb.Helper()
	fields := [][]string{{who}}
	for _, w := range what {
		fields = append(fields, []string{w})
	}
	return l.event(at, never, nil, fields...)
}

// silent fails where something was found.
func (l *learner) silent(found []Finding) {
	l.tb.Helper()
	if len(found) > 0 {
		l.tb.Errorf("event %d: found %+v", l.seq, found)
	}
}

// one fails where not one finding of a kind came.
func (l *learner) one(kind Kind, found []Finding) Finding {
	l.tb.Helper()
	if len(found) != 1 || found[0].Kind != kind {
		l.tb.Errorf("event %d: found %+v; expected one of kind %d", l.seq, found, kind)
		return Finding{}
	}
	return found[0]
}

// know makes an identity known: so many events over so many days.
func (l *learner) know(who string, what ...string) {
	l.tb.Helper()
	for i := range 11 {
		l.silent(l.did(day(float64(i)*0.8), who, what...))
	}
}

const plain = `{type: first_seen, group-by: [user], fields: [verb, namespace], learning: {for: 7d, events: 10}, forget: 30d, selection: {}, identities: 20, values: 10}`
