package posture_test

import (
	"fmt"
	"runtime"
	"testing"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
	"bulwark.dev/bulwark/internal/posture/posturetest"
)

func engine(tb testing.TB, joint bool) *posture.Engine {
	tb.Helper()
	controls, err := content.Load(catalog.Controls())
	if err != nil {
		tb.Log(err) // TestExamples of package content fails for it
	}
	opt := posture.Options{}
	for _, c := range controls {
		opt.Single = append(opt.Single, control.Single(c))
	}
	if joint {
		opt.Joint = graph.Checks()
	}
	e, err := posture.New(opt)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// BenchmarkJudge runs the catalog over clusters of several sizes, decoding included.
func BenchmarkJudge(b *testing.B) {
	for _, joint := range []bool{false, true} {
		e := engine(b, joint)
		for _, n := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("joint=%v/objects=%d", joint, n), func(b *testing.B) {
				snap := inventory.NewSnapshot(posturetest.Cluster(n, 1), inventory.Facts{}, nil, nil)
				b.ReportAllocs()
				var report *posture.Report
				for b.Loop() {
					var err error
					if report, err = e.Judge(b.Context(), snap); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/object")
				b.ReportMetric(float64(len(report.Findings)), "findings")
				b.ReportMetric(float64(report.Folded), "folded")
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapInuse>>20), "heap-MiB")
			})
		}
	}
}
