package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// The marks between which the results stand in the document.
const (
	beginMark = "<!-- scale:begin -->"
	endMark   = "<!-- scale:end -->"
)

// bar is what the product promises.
type bar struct {
	what     string
	atMost   float64
	measured float64
	unit     string
	// always says that a run fails by it whatever -check says.
	always bool
}

func (b bar) holds() bool { return b.measured <= b.atMost }

// bars judges what was measured.
func (r *results) bars() []bar {
	failed, wrong := 0, 0
	for _, l := range r.Loads {
		failed, wrong = failed+l.Failed, wrong+l.Wrong
	}
	out := []bar{
		{what: "requests that failed during churn", measured: float64(failed), always: true},
		{what: "requests wrongly admitted, refused or led", measured: float64(wrong), always: true},
	}
	peak, reload := 0.0, 0.0
	for _, p := range r.Phases {
		if p.Routes != r.Options["routes"] {
			continue
		}
		peak = max(peak, p.Parts[dataPlane].Peak)
		if strings.HasPrefix(p.Name, unwatched) {
			reload = p.Reloads.P50
		}
	}
	return append(out,
		bar{what: "data plane, greatest resident memory", atMost: 150, measured: peak / megabyte, unit: " MB"},
		bar{what: "data plane, a change put in force (median)", atMost: 300, measured: reload * 1e3, unit: " ms"},
	)
}

// judge gives an error that names the bars which are missed.
func (r *results) judge(check bool) error {
	var missed []error
	for _, b := range r.bars() {
		if !b.holds() && (check || b.always) {
			missed = append(missed, fmt.Errorf("a bar is missed: %s: %.0f%s, at most %.0f%s", b.what, b.measured, b.unit, b.atMost, b.unit))
		}
	}
	for _, l := range r.Loads {
		for _, f := range l.First {
			missed = append(missed, fmt.Errorf("%s: %s", l.Load, f))
		}
	}
	return errors.Join(missed...)
}

// markdown gives the results as docs/benchmarks.md has them.
func (r *results) markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	line("%d cores (%s), %s; %d controller, 1 data plane; the API server, etcd, kubelet, Service proxy, backend and this program share the cores.",
		runtime.NumCPU(), runtime.GOARCH, runtime.Version(), r.Options["controllers"])
	line("\n| change | routes | API call p50, ms | enforced p50, ms | p99 | max | status written p50, ms | p99 | max | changes |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, p := range r.Propagation {
		told := "– | – | –"
		if p.Told.N > 0 {
			told = fmt.Sprintf("%.0f | %.0f | %.0f", p.Told.P50*1e3, p.Told.P99*1e3, p.Told.Max*1e3)
		}
		line("| %s | %d | %.0f | %.0f | %.0f | %.0f | %s | %d |", p.Change, p.Routes, p.Called.P50*1e3,
			p.Enforced.P50*1e3, p.Enforced.P99*1e3, p.Enforced.Max*1e3, told, p.Enforced.N)
	}
	line("\n| one change at a time | CPU of the controller, ms | CPU of the data plane, ms | bytes to the data plane | status writes | put in force p50, ms | p99 | load average |\n|---|---|---|---|---|---|---|---|")
	for _, p := range r.Phases {
		if n := float64(p.Changes); strings.HasPrefix(p.Name, unwatched) {
			line("| %d routes | %.1f | %.1f | %.0f | %.1f | %.0f | %.0f | %s |", p.Routes,
				p.Parts[controller].CPU/n*1e3, p.Parts[dataPlane].CPU/n*1e3, p.RelayBytes/n, p.StatusWrites/n, p.Reloads.P50*1e3, p.Reloads.P99*1e3, p.Load)
		}
	}
	line("\nA new data plane is sent %.1f MB for everything, and is ready %.1f s after it was asked for, the pod's start included.", r.FullState/megabyte, r.FirstReady)
	line("\n| phase | calls to the API server | s | s until settled | load average | controller: CPU, s | RSS at the end (peak), heap, MB | data plane: CPU, s | RSS at the end (peak), heap, MB | tables | status writes |\n|---|---|---|---|---|---|---|---|---|---|---|")
	for _, p := range r.Phases {
		c, d := p.Parts[controller], p.Parts[dataPlane]
		line("| %s | %d | %.0f | %.1f | %s | %.1f | %.0f (%.0f), %.0f | %.1f | %.0f (%.0f), %.0f | %d | %.0f |", p.Name, p.Changes, p.Seconds, p.Settled, p.Load,
			c.CPU, c.RSS/megabyte, c.Peak/megabyte, c.Heap/megabyte, d.CPU, d.RSS/megabyte, d.Peak/megabyte, d.Heap/megabyte, p.Reloads.N, p.StatusWrites)
	}
	line("\n| load during churn | requests | failed | wrong | p50, ms | p99 | max |\n|---|---|---|---|---|---|---|")
	for _, l := range r.Loads {
		line("| %s | %d | %d | %d | %.1f | %.0f | %.0f |", l.Load, l.Requests, l.Failed, l.Wrong, l.Latency.P50*1e3, l.Latency.P99*1e3, l.Latency.Max*1e3)
	}
	line("\n| bar | at most | measured | |\n|---|---|---|---|")
	for _, x := range r.bars() {
		verdict := "holds"
		if !x.holds() {
			verdict = "**missed**"
		}
		line("| %s | %.0f%s | %.0f%s | %s |", x.what, x.atMost, x.unit, x.measured, x.unit, verdict)
	}
	return b.String()
}

// rewrite puts the results between the marks of a file.
func rewrite(file, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("rewrite results: %w", err)
	}
	head, rest, ok := bytes.Cut(b, []byte(beginMark))
	_, tail, closed := bytes.Cut(rest, []byte(endMark))
	if !ok || !closed {
		return fmt.Errorf("rewrite results: %s has no %s … %s", file, beginMark, endMark)
	}
	out := string(head) + beginMark + "\n\n" + text + "\n" + endMark + string(tail)
	if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
		return fmt.Errorf("rewrite results: %w", err)
	}
	return nil
}
