package search

import (
	"fmt"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

// trailOf makes a trail as a cluster would write it, in segments of 65,536.
func trailOf(tb testing.TB, segments int) *memory {
	tb.Helper()
	const size = 65536
	users := []string{"system:apiserver", "system:kube-scheduler", "system:serviceaccount:kube-system:endpoint-controller", "alice", "bob", "system:node:n1"}
	verbs := []string{"get", "list", "watch", "update", "patch", "create", "delete"}
	resources := []string{"leases", "pods", "endpointslices", "configmaps", "secrets", "nodes", "deployments"}
	view := &memory{}
	n := 0
	for range segments {
		events := make([]*audit.Event, size)
		for i := range events {
			n++
			user := users[n*n%31%len(users)]
			if n%1000 == 0 {
				user = fmt.Sprintf("person-%d", n%17)
			}
			ns, name := fmt.Sprintf("ns-%d", n%40), fmt.Sprintf("object-%d", n*7919%3000)
			events[i] = &audit.Event{
				Seq: uint64(n), Kind: audit.KindAPI, Source: "webhook/apiserver-0", Level: "Metadata", Stage: "ResponseComplete",
				AuditID: fmt.Sprintf("%08x-1111-4111-8111-%012x", n, n*n), Verb: verbs[n*13%len(verbs)], User: audit.User{Username: user, Groups: []string{"system:authenticated"}},
				SourceIPs: []string{fmt.Sprintf("10.0.%d.%d", n%4, n%250)}, UserAgent: "kube-controller-manager/v1.36.3 (linux/amd64) kubernetes/abcdef",
				RequestURI: "/api/v1/namespaces/" + ns + "/" + name, Object: audit.ObjectRef{APIVersion: "v1", Resource: resources[n*11%len(resources)], Namespace: ns, Name: name},
				Status: audit.Status{Code: 200}, RequestReceived: searchtest.Noon().Add(time.Duration(n) * time.Millisecond),
				StageAt: searchtest.Noon().Add(time.Duration(n)*time.Millisecond + 300*time.Microsecond), Received: searchtest.Noon().Add(time.Duration(n+3) * time.Millisecond),
				Annotations: map[string]string{"authorization.k8s.io/decision": "allow"},
			}
		}
		view.segments = append(view.segments, seal(tb, events, nil))
	}
	return view
}

// BenchmarkSearch looks through 8 segments of 65,536 events; events/s is of those in
// the trail, not of those found.
func BenchmarkSearch(b *testing.B) {
	const segments = 8
	view := trailOf(b, segments)
	for _, query := range []string{
		"user=person-3", "user=alice verb=delete resource=secrets", "at=2026-11-21T12:03..12:04 user=alice", "object-77", "object-77 | count", "ip=10.0.3.0/30 code>=400",
		"| count by user,verb", "| top 10 by ip", "user=alice | timeline 1m", "| count by resource",
	} {
		b.Run(query, func(b *testing.B) {
			q := mustParse(b, query)
			for b.Loop() {
				var err error
				if q.Groups() {
					_, _, err = Count(b.Context(), view, q, Options{Workers: 2})
				} else {
					_, err = Search(b.Context(), view, q, Options{Limit: 100, Workers: 2}, func(*audit.Event) error { return nil })
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(segments*65536*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkOpen opens a segment for its place in time, as a search does with each.
func BenchmarkOpen(b *testing.B) {
	view := trailOf(b, 1)
	for b.Loop() {
		if _, err := placeOf(0, view.segments[0]); err != nil {
			b.Fatal(err)
		}
	}
}
