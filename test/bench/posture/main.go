// Command posture measures what a scan of a saved cluster costs: time, processor
// time and memory of "bulwark scan", in a process of its own, for clusters of
// several sizes that are made up in the proportions of real ones.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/saved"
	"bulwark.dev/bulwark/internal/posture/posturetest"
)

// The bars: a cluster of this size, in this time and memory on two cores, and the
// cost of an object no more than so much higher than in a cluster a tenth its size.
const (
	barObjects = 100_000
	barWall    = 15 * time.Second
	barMemory  = 2 << 30
	barGrowth  = 1.3
)

type options struct {
	sizes   []int
	rounds  int
	bulwark string
	docs    string
	check   bool
}

// sample is one scan.
type sample struct {
	wall, cpu time.Duration
	rss       int64
}

// size is all that is known of one size.
type size struct {
	objects, findings, controls int
	file                        int64
	samples                     []sample
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var opt options
	fs := flag.NewFlagSet("posture", flag.ContinueOnError)
	sizes := fs.String("sizes", "10000,100000", "how many objects, in ascending order")
	fs.IntVar(&opt.rounds, "rounds", 3, "how often each size is scanned")
	fs.StringVar(&opt.bulwark, "bulwark", "", "program to measure; default: it is built")
	fs.StringVar(&opt.docs, "write-docs", "", "rewrite the results in this file")
	fs.BoolVar(&opt.check, "check", true, "fail if a bar is missed")
	if err := fs.Parse(args); err != nil {
		return opt, err
	}
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return opt, fmt.Errorf("-sizes: %q is no number of objects", text)
		}
		opt.sizes = append(opt.sizes, n)
	}
	if opt.rounds <= 0 {
		return opt, errors.New("-rounds must be more than 0")
	}
	return opt, nil
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	opt, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bulwark-bench-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if opt.bulwark == "" {
		opt.bulwark = filepath.Join(dir, "bulwark")
		build := exec.CommandContext(ctx, "go", "build", "-o", opt.bulwark, "bulwark.dev/bulwark/cmd/bulwark")
		build.Dir = ".."
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build bulwark: %w\n%s", err, text)
		}
	}
	sizes := make([]size, len(opt.sizes))
	for i, n := range opt.sizes {
		sizes[i].objects = n
		if sizes[i].file, err = write(file(dir, n), n); err != nil {
			return err
		}
	}
	// Sizes take turns, so that what else the machine does falls on all of them.
	for round := range opt.rounds {
		for i := range sizes {
			s, err := sizes[i].scan(ctx, opt.bulwark, file(dir, sizes[i].objects))
			if err != nil {
				return err
			}
			sizes[i].samples = append(sizes[i].samples, s)
			_, _ = fmt.Fprintf(log, "round %d: %d objects: %.1f s, %.1f s of processors, %d MiB\n", round+1, sizes[i].objects, s.wall.Seconds(), s.cpu.Seconds(), s.rss>>20)
		}
	}
	text, held := table(sizes)
	_, _ = fmt.Fprintln(out, text)
	if opt.docs != "" {
		if err := writeDocs(opt.docs, text); err != nil {
			return err
		}
	}
	if opt.check && !held {
		return errors.New("a bar is missed")
	}
	return nil
}

func file(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("saved-%d.json", n)) }

// write makes a cluster up and saves it as "bulwark scan --save" does.
func write(name string, n int) (int64, error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, fmt.Errorf("save a cluster: %w", err)
	}
	snap := inventory.NewSnapshot(posturetest.Cluster(n, 1), inventory.Facts{Live: true, Version: "v1.36.3"}, nil, nil)
	if err := errors.Join(saved.Write(f, snap), f.Close()); err != nil {
		return 0, fmt.Errorf("save a cluster: %w", err)
	}
	info, err := os.Stat(name)
	if err != nil {
		return 0, fmt.Errorf("save a cluster: %w", err)
	}
	return info.Size(), nil
}

// scan measures one scan. One that judged another number of objects than there are
// proves nothing and is an error.
func (s *size) scan(ctx context.Context, bulwark, name string) (sample, error) {
	// The report goes to a file: reading a pipe would be work for the processors too.
	report := name + ".report"
	cmd := exec.CommandContext(ctx, bulwark, "scan", name, "-o", "json", "--fail-on", "never", "--output-file", report)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	err := cmd.Run()
	wall := time.Since(begin)
	if err != nil {
		return sample{}, fmt.Errorf("scan %d objects: %w\n%s", s.objects, err, stderr.String())
	}
	if err := s.count(report); err != nil {
		return sample{}, fmt.Errorf("scan %d objects: %w", s.objects, err)
	}
	use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return sample{}, errors.New("this system does not say how much memory a process took")
	}
	return sample{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), use.Maxrss << 10}, nil
}

// count reads how much a report holds.
func (s *size) count(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var doc struct {
		Summary  struct{ Objects int }
		Objects  int
		Findings []json.RawMessage
		Controls []json.RawMessage
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	if got := max(doc.Objects, doc.Summary.Objects); got != s.objects {
		return fmt.Errorf("the report is about %d objects", got)
	}
	s.findings, s.controls = len(doc.Findings), len(doc.Controls)
	if s.findings == 0 || s.controls == 0 {
		return errors.New("the report has no findings or no controls")
	}
	return nil
}

// median of what the samples give, with the least and the greatest.
func median[T cmp.Ordered](samples []sample, of func(sample) T) (mid, least, most T) {
	var all []T
	for _, s := range samples {
		all = append(all, of(s))
	}
	slices.Sort(all)
	return all[len(all)/2], all[0], all[len(all)-1]
}

// table writes the results, and says whether the bars hold.
func table(sizes []size) (string, bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cores (%s), %s; %d rounds.\n\n", runtime.NumCPU(), runtime.GOARCH, runtime.Version(), len(sizes[0].samples))
	b.WriteString("| objects | file, MiB | controls | findings | wall, s (spread) | processors, s (spread) | per object, µs | peak memory, MiB |\n|---|---|---|---|---|---|---|---|\n")
	per := make([]float64, len(sizes))
	for i := range sizes {
		s := &sizes[i]
		wall, wl, wm := median(s.samples, func(s sample) time.Duration { return s.wall })
		cpu, cl, cm := median(s.samples, func(s sample) time.Duration { return s.cpu })
		rss, _, _ := median(s.samples, func(s sample) int64 { return s.rss })
		per[i] = float64(cpu.Microseconds()) / float64(s.objects)
		fmt.Fprintf(&b, "| %d | %d | %d | %d | %.1f (%.1f–%.1f) | %.1f (%.1f–%.1f) | %.0f | %d |\n", s.objects, s.file>>20, s.controls, s.findings,
			wall.Seconds(), wl.Seconds(), wm.Seconds(), cpu.Seconds(), cl.Seconds(), cm.Seconds(), per[i], rss>>20)
	}
	b.WriteString("\n| bar | at most | measured | |\n|---|---|---|---|\n")
	all := true
	bar := func(name, most, got string, holds bool) {
		word := "holds"
		if !holds {
			word, all = "**missed**", false
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, most, got, word)
	}
	for i := range sizes {
		s := &sizes[i]
		if s.objects == barObjects {
			wall, _, _ := median(s.samples, func(s sample) time.Duration { return s.wall })
			rss, _, _ := median(s.samples, func(s sample) int64 { return s.rss })
			bar(fmt.Sprintf("%d objects, wall", s.objects), fmt.Sprintf("%.0f s", barWall.Seconds()), fmt.Sprintf("%.1f s", wall.Seconds()), wall <= barWall)
			bar(fmt.Sprintf("%d objects, memory", s.objects), fmt.Sprintf("%d MiB", barMemory>>20), fmt.Sprintf("%d MiB", rss>>20), rss <= barMemory)
		}
		if i > 0 {
			growth := per[i] / per[0]
			bar(fmt.Sprintf("an object of %d against one of %d", s.objects, sizes[0].objects), fmt.Sprint(barGrowth), fmt.Sprintf("%.2f", growth), growth <= barGrowth)
		}
	}
	return b.String(), all
}

const (
	docsBegin = "<!-- posture:begin -->\n"
	docsEnd   = "<!-- posture:end -->\n"
)

// writeDocs replaces what stands between the markers of a file.
func writeDocs(path, text string) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("write the documentation: %w", err)
	}
	head, rest, ok := bytes.Cut(doc, []byte(docsBegin))
	_, foot, end := bytes.Cut(rest, []byte(docsEnd))
	if !ok || !end {
		return fmt.Errorf("write the documentation %s: the lines %q and %q are not there", path, strings.TrimSpace(docsBegin), strings.TrimSpace(docsEnd))
	}
	out := slices.Concat(head, []byte(docsBegin+"\n"+text+"\n"+docsEnd), foot)
	if err := os.WriteFile(path, out, 0o644); err != nil {
		return fmt.Errorf("write the documentation: %w", err)
	}
	return nil
}
