package log

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// typical makes n events whose canonical form has about 1.2 kB.
func typical(n int) []audit.Entry {
	batch := make([]audit.Entry, n)
	for i := range batch {
		at := received().Add(time.Duration(i) * time.Microsecond)
		batch[i].Event = &audit.Event{
			Kind: audit.KindAPI, Source: "webhook/apiserver-0", Cluster: "prod", Received: at,
			AuditID: fmt.Sprintf("%08x-8f2e-4c1b-9d57-%012x", i*2654435761, i*40503), Level: "Metadata", Stage: "ResponseComplete",
			RequestURI: "/api/v1/namespaces/shop/pods/cart-" + strconv.Itoa(i%50) + "/status?fieldManager=kubelet&timeout=30s", Verb: "patch",
			User: audit.User{
				Username: "system:node:node-" + strconv.Itoa(i%20), Groups: []string{"system:nodes", "system:authenticated"},
				Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=" + strings.Repeat("4f", 32)}},
			},
			SourceIPs: []string{"10.0.4." + strconv.Itoa(i%250)}, UserAgent: "kubelet/v1.36.3 (linux/amd64) kubernetes/5f1b6f2",
			Object:          audit.ObjectRef{APIVersion: "v1", Resource: "pods", Subresource: "status", Namespace: "shop", Name: "cart-" + strconv.Itoa(i%50)},
			Status:          audit.Status{Code: 200},
			RequestReceived: at, StageAt: at.Add(3 * time.Millisecond),
			Annotations: map[string]string{
				"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "",
				"note": strings.Repeat("n", 260),
			},
		}
	}
	return batch
}

func processor(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkAppend: batches of 400 events, as an API server sends them, from several
// senders at once.
func BenchmarkAppend(b *testing.B) {
	for _, sealing := range []bool{false, true} {
		for _, senders := range []int{1, 8} {
			b.Run(fmt.Sprintf("sealing=%t/senders=%d", sealing, senders), func(b *testing.B) {
				cfg := testConfig(b)
				if !sealing {
					cfg.SealEvents, cfg.SealBytes = 1<<30, 1<<50
				}
				l := mustOpen(b, cfg)
				batch := typical(400)
				size := len(audit.AppendCanonical(nil, batch[7].Event))
				if size < 1000 || size > 1400 {
					b.Fatalf("an event has %d bytes", size)
				}
				var slowest atomic.Int64
				work := make(chan struct{})
				done := make(chan error)
				before := processor(b)
				b.ResetTimer()
				for range senders {
					mine := typical(400)
					go func() {
						for range work {
							start := time.Now()
							if _, err := l.Append(b.Context(), mine); err != nil {
								done <- err
								return
							}
							took := int64(time.Since(start))
							for old := slowest.Load(); took > old && !slowest.CompareAndSwap(old, took); old = slowest.Load() {
							}
						}
						done <- nil
					}()
				}
				for range b.N {
					work <- struct{}{}
				}
				close(work)
				for range senders {
					if err := <-done; err != nil {
						b.Fatal(err)
					}
				}
				if sealing {
					if err := l.Seal(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				n := float64(b.N) * 400
				b.ReportMetric(n/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64((processor(b)-before).Nanoseconds())/n, "cpu-ns/event")
				b.ReportMetric(float64(slowest.Load())/1e6, "slowest-ms")
				b.ReportMetric(n/float64(l.Stats().Commits), "events/commit")
			})
		}
	}
}

// BenchmarkRead: a view over one write-ahead file.
func BenchmarkRead(b *testing.B) {
	cfg := testConfig(b)
	l := mustOpen(b, cfg)
	for range 20 {
		mustAppend(b, l, typical(400))
	}
	v, err := l.View()
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		n := 0
		if err := v.Events(b.Context(), 1, func(*audit.Event) error { n++; return nil }); err != nil || n != 8000 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N)*8000/b.Elapsed().Seconds(), "events/s")
}
