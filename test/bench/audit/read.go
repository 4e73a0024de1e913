package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// read measures searches and the verification, each a process of its own that begins
// with nothing in memory.
func (r *results) read(ctx context.Context, opt *options, data string, log io.Writer) error {
	for _, q := range []query{
		{name: "one user, a minute", text: fmt.Sprintf("user=person-7@shop.example since=%s", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))},
		{name: "one user, all time, newest 100", text: "user=person-7@shop.example"},
		{name: "two conditions, all of them counted", text: "verb=get resource=secrets | count"},
		{name: "free text that is nowhere: everything is read", text: `"this text is nowhere"`},
		{name: "aggregate over all", text: "| count by user,verb"},
	} {
		text, s, err := command(ctx, opt.bulwark, "audit", "search", q.text, "--data", data, "-o", "csv", "--limit", "100")
		if err != nil {
			return err
		}
		q.spent, q.lines = s, bytes.Count(text, []byte("\n"))
		r.queries = append(r.queries, q)
		_, _ = fmt.Fprintf(log, "search %s: %v, %v of processors, %d lines\n", q.text, s.wall.Round(time.Millisecond), s.cpu.Round(time.Millisecond), q.lines)
	}
	_, s, err := command(ctx, opt.bulwark, "audit", "verify", "--data", data)
	if err != nil {
		return err
	}
	r.verify = s
	_, _ = fmt.Fprintf(log, "verify: %v, %v of processors\n", s.wall.Round(time.Millisecond), s.cpu.Round(time.Millisecond))
	return nil
}

// command runs the program and gives what it printed and cost.
func command(ctx context.Context, program string, args ...string) ([]byte, spent, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return nil, spent{}, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	s := spent{wall: time.Since(begin), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.rss = usage.Maxrss << 10
	}
	return stdout.Bytes(), s, nil
}

func (r *results) each() float64 { return float64(r.bytes) / float64(r.events) }

func (r *results) held() bool { return r.rate >= barRate && r.each() <= barBytes }

// table is the results as a page shows them.
func (r *results) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d events, %d processors for the server and the senders together, %s.\n\n", r.events, runtime.NumCPU(), runtime.Version())
	b.WriteString("| what | figure | bar |\n|---|---|---|\n")
	fmt.Fprintf(&b, "| events a second, every rule on, fsynced before acknowledged | %.0f | ≥ %d |\n", r.rate, barRate)
	fmt.Fprintf(&b, "| processor time of the server for an event, sealing included | %.1f µs | |\n", r.serverAt)
	fmt.Fprintf(&b, "| acknowledgement at %d events/s, p50 and p99 | %v, %v | |\n", r.steadyAt, at(r.steady, 50).Round(100*time.Microsecond), at(r.steady, 99).Round(100*time.Microsecond))
	fmt.Fprintf(&b, "| acknowledgement at full speed, p50 and p99 | %v, %v | |\n", at(r.fast, 50).Round(100*time.Microsecond), at(r.fast, 99).Round(100*time.Microsecond))
	fmt.Fprintf(&b, "| bytes on disk for an event, proofs and all | %.1f | ≤ %d |\n", r.each(), barBytes)
	fmt.Fprintf(&b, "| most memory of the server | %d MiB | |\n", r.rss>>20)
	for _, q := range r.queries {
		fmt.Fprintf(&b, "| search, %s | %v (%v of processors, %d MiB) | |\n", q.name, q.wall.Round(time.Millisecond), q.cpu.Round(time.Millisecond), q.rss>>20)
	}
	fmt.Fprintf(&b, "| verify all, events a second | %.0f (%d MiB) | |\n", float64(r.events)/r.verify.wall.Seconds(), r.verify.rss>>20)
	return b.String()
}
