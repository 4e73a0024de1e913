package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// sample is one measurement of one peer.
type sample struct {
	Peer     string `json:"peer"`
	Round    int    `json:"round"`
	Requests int64  `json:"requests"`
	// CPU is processor time per request, in microseconds.
	CPU float64 `json:"cpuMicrosecondsPerRequest"`
	// Rate is requests per second.
	Rate float64 `json:"requestsPerSecond"`
	// P50 and P99 are response times at saturation, in microseconds.
	P50 int64 `json:"p50Microseconds"`
	P99 int64 `json:"p99Microseconds"`
}

// spread is the median of some values, with the least and the greatest.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// row is what is known of one peer after all rounds.
type row struct {
	Peer    string  `json:"peer"`
	Label   string  `json:"label"`
	Version string  `json:"version"`
	CPU     spread  `json:"cpuMicrosecondsPerRequest"`
	Rate    float64 `json:"requestsPerSecond"`
	P99     float64 `json:"p99Microseconds"`
	// Ratios are to other peers, by their names: the ratio of processor time
	// per request, taken within each round.
	Ratios map[string]spread `json:"ratios"`
}

// bar is one promise.
type bar struct {
	Name  string  `json:"name"`
	Of    string  `json:"of"`
	To    string  `json:"to"`
	Most  float64 `json:"atMost"`
	Ratio spread  `json:"ratio"`
	Holds bool    `json:"holds"`
}

// machine is the shape of the machine, without anything that names it.
type machine struct {
	Cores  int    `json:"cores"`
	Memory int    `json:"memoryGiB"`
	Arch   string `json:"arch"`
	System string `json:"system"`
	Go     string `json:"go"`
}

// result is everything of a run.
type result struct {
	Machine     machine `json:"machine"`
	Duration    string  `json:"duration"`
	Connections int     `json:"connections"`
	Rounds      int     `json:"rounds"`
	Pinned      bool    `json:"pinned"`
	Rows        []row   `json:"rows"`
	Bars        []bar   `json:"bars"`
	// Void is how many measurements proved nothing and were taken again.
	Void    int      `json:"void"`
	Samples []sample `json:"samples"`
}

// bars are the promises of the product: the processor time per request of one
// hop, as a ratio to another's, may be this much at most.
func bars() []bar {
	return []bar{
		{Name: "plain hop against `httputil.ReverseProxy`", Of: namePlain, To: nameReverseProxy, Most: 0.5},
		{Name: "plain hop against Traefik", Of: namePlain, To: nameTraefik, Most: 0.35},
		{Name: "plain hop against Caddy", Of: namePlain, To: nameCaddy, Most: 0.35},
		{Name: "plain hop against Traefik's fast proxy", Of: namePlain, To: nameTraefikFast, Most: 0.6},
		{Name: "plain hop against nginx", Of: namePlain, To: nameNginx, Most: 2},
		{Name: "secured hop against the plain hop", Of: nameSecured, To: namePlain, Most: 1.35},
	}
}

// summarise turns samples into rows and judges the bars whose both sides were
// measured.
func summarise(opt options, m machine, subjects []*subject, samples []sample, void int) result {
	res := result{
		Machine: m, Duration: opt.duration.String(), Connections: opt.connections,
		Rounds: opt.rounds, Pinned: opt.pin, Void: void, Samples: samples,
	}
	of := func(name string, value func(sample) float64) []float64 {
		var v []float64
		for _, s := range samples {
			if s.Peer == name {
				v = append(v, value(s))
			}
		}
		return v
	}
	cpu := func(s sample) float64 { return s.CPU }
	for _, s := range subjects {
		r := row{
			Peer: s.name, Label: s.label, Version: s.version,
			CPU:    spreadOf(of(s.name, cpu)),
			Rate:   spreadOf(of(s.name, func(s sample) float64 { return s.Rate })).Median,
			P99:    spreadOf(of(s.name, func(s sample) float64 { return float64(s.P99) })).Median,
			Ratios: make(map[string]spread),
		}
		for _, other := range subjects {
			r.Ratios[other.name] = spreadOf(quotients(of(s.name, cpu), of(other.name, cpu)))
		}
		res.Rows = append(res.Rows, r)
	}
	for _, b := range bars() {
		for _, r := range res.Rows {
			ratio, measured := r.Ratios[b.To]
			if r.Peer == b.Of && measured {
				b.Ratio, b.Holds = ratio, ratio.Median <= b.Most
				res.Bars = append(res.Bars, b)
			}
		}
	}
	return res
}

// quotients divides round by round.
func quotients(a, b []float64) []float64 {
	q := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		q = append(q, a[i]/b[i])
	}
	return q
}

// spreadOf gives median, least and greatest. Of no value all are NaN, which
// satisfies no bar.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{Median: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	}
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return spread{Median: mid, Min: v[0], Max: v[len(v)-1]}
}

// markdown prints the tables.
func markdown(res result) string {
	var b strings.Builder
	place := "load, backend and peer share all cores"
	if res.Pinned {
		place = "the peer alone on one core, load and backend on the others"
	}
	_, _ = fmt.Fprintf(&b, "%d cores (%s), %d GiB of memory, %s, %s; %d connections, %d rounds of %s; %s; void measurements taken again: %d.\n\n",
		res.Machine.Cores, res.Machine.Arch, res.Machine.Memory, res.Machine.System, res.Machine.Go,
		res.Connections, res.Rounds, res.Duration, place, res.Void)
	refs := []struct{ name, title string }{
		{nameReverseProxy, "× ReverseProxy"}, {nameNginx, "× nginx"}, {namePlain, "× Bulwark plain"},
	}
	b.WriteString("| | version | CPU per request, µs (spread) |")
	for _, ref := range refs {
		b.WriteString(" " + ref.title + " |")
	}
	b.WriteString(" requests/s | p99, ms |\n|---|---|---|" + strings.Repeat("---|", len(refs)) + "---|---|\n")
	for _, r := range res.Rows {
		_, _ = fmt.Fprintf(&b, "| %s | %s | %.1f (%.1f–%.1f) |", r.Label, r.Version, r.CPU.Median, r.CPU.Min, r.CPU.Max)
		for _, ref := range refs {
			if ratio, ok := r.Ratios[ref.name]; ok {
				_, _ = fmt.Fprintf(&b, " %.2f |", ratio.Median)
			} else {
				b.WriteString(" – |")
			}
		}
		_, _ = fmt.Fprintf(&b, " %.0f | %.1f |\n", r.Rate, r.P99/1000)
	}
	if len(res.Bars) == 0 {
		return b.String()
	}
	b.WriteString("\n| bar | at most | measured (spread) | |\n|---|---|---|---|\n")
	for _, x := range res.Bars {
		verdict := "holds"
		if !x.Holds {
			verdict = "**missed**"
		}
		_, _ = fmt.Fprintf(&b, "| %s | %g | %.2f (%.2f–%.2f) | %s |\n", x.Name, x.Most, x.Ratio.Median, x.Ratio.Min, x.Ratio.Max, verdict)
	}
	return b.String()
}

// The lines between which the documentation's results stand.
const (
	docsBegin = "<!-- bench:begin -->\n"
	docsEnd   = "<!-- bench:end -->\n"
)

// writeDocs replaces what stands between the markers of a file.
func writeDocs(path, text string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("write the documentation: %w", err)
	}
	out, err := between(b, text)
	if err != nil {
		return fmt.Errorf("write the documentation %s: %w", path, err)
	}
	if err := os.WriteFile(path, out, 0o644); err != nil {
		return fmt.Errorf("write the documentation: %w", err)
	}
	return nil
}

// between puts text between the two markers, each of which must be there once.
func between(doc []byte, text string) ([]byte, error) {
	head, rest, ok := bytes.Cut(doc, []byte(docsBegin))
	if !ok {
		return nil, fmt.Errorf("no line %q", strings.TrimSpace(docsBegin))
	}
	_, foot, ok := bytes.Cut(rest, []byte(docsEnd))
	if !ok {
		return nil, fmt.Errorf("no line %q behind the begin", strings.TrimSpace(docsEnd))
	}
	if bytes.Contains(foot, []byte(docsBegin)) || bytes.Contains(foot, []byte(docsEnd)) {
		return nil, errors.New("the markers stand there more than once")
	}
	return slices.Concat(head, []byte(docsBegin+"\n"+text+"\n"+docsEnd), foot), nil
}

// shape reads what kind of machine this is.
func shape() (machine, error) {
	mem, err := keyed("/proc/meminfo", "MemTotal:")
	if err != nil {
		return machine{}, err
	}
	kib, err := strconv.Atoi(strings.TrimSuffix(mem, " kB"))
	if err != nil {
		return machine{}, fmt.Errorf("read the size of memory: %w", err)
	}
	system, err := keyed("/etc/os-release", "PRETTY_NAME=")
	if err != nil {
		return machine{}, err
	}
	return machine{
		Cores: runtime.NumCPU(), Memory: int(math.Round(float64(kib) / (1 << 20))),
		Arch: runtime.GOARCH, System: strings.Trim(system, `"`), Go: runtime.Version(),
	}, nil
}

// keyed gives what follows a key at the start of a line of a file.
func keyed(path, key string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the machine's shape: %w", err)
	}
	defer func() { _ = f.Close() }()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), key); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("read the machine's shape: no %s in %s: %w", key, path, errOr(sc.Err(), "not found"))
}
