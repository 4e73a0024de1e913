package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// read measures searches and the verification, each a process of its own that begins
// with nothing in memory.
func (r *results) read(ctx context.Context, opt *options, data string, log io.Writer) error {
	if err := forgetPeak(); err != nil {
		return err
	}
	for _, q := range questions(time.Now().Add(-time.Minute)) {
		var err error
		if q.answer, q.spent, err = command(ctx, "", "", opt.bulwark, "audit", "search", q.text, "--data", data, "-o", "csv", "--limit", "100"); err != nil {
			return err
		}
		r.queries = append(r.queries, q)
		_, _ = fmt.Fprintf(log, "search %s: %v, %v of processors, %d lines\n", q.text, q.wall.Round(time.Millisecond), q.cpu.Round(time.Millisecond), bytes.Count(q.answer, []byte("\n")))
	}
	if opt.duckdb {
		if err := r.peer(ctx, data, log); err != nil {
			return err
		}
	}
	_, s, err := command(ctx, "", "", opt.bulwark, "audit", "verify", "--data", data)
	if err != nil {
		return err
	}
	r.verify = s
	_, _ = fmt.Fprintf(log, "verify: %v, %v of processors\n", s.wall.Round(time.Millisecond), s.cpu.Round(time.Millisecond))
	return nil
}

// questions are what the trail is asked, in our words and in SQL.
func questions(minuteAgo time.Time) []query {
	const person = "person-7@shop.example"
	since := minuteAgo.UTC().Format(time.RFC3339)
	one := fmt.Sprintf(sqlUser, person)
	return []query{
		{name: "one user, a minute", text: "user=" + person + " since=" + since, sql: sqlEvents("stage_at >= TIMESTAMPTZ '" + since + "' AND " + one), columns: 18},
		{name: "one user, all time, newest 100", text: "user=" + person, sql: sqlEvents(one), columns: 18},
		{name: "two conditions, all of them counted", text: "verb=get resource=secrets | count", sql: sqlCount("verb = 'get' AND object_resource = 'secrets'"), columns: 3},
		{name: "free text that is nowhere: everything is read", text: `"this text is nowhere"`, sql: sqlText("this text is nowhere"), columns: 1},
		{name: "aggregate over all", text: "| count by user,verb", sql: sqlCount("true", "coalesce(user_username, '') AS user", "coalesce(verb, '') AS verb"), columns: 5},
	}
}

// forgetPeak lets this process begin small: Linux counts, as the most memory of a process, also
// what its parent had when it was started.
func forgetPeak() error {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return fmt.Errorf("forget the most memory of this process: %w", err)
	}
	return nil
}

// command runs a program in a folder, with a text on its standard input, and gives what it
// printed and cost.
func command(ctx context.Context, dir, input, program string, args ...string) ([]byte, spent, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return nil, spent{}, fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{filepath.Base(program)}, args...), " "), err, stderr.Bytes())
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
	fmt.Fprintf(&b, "| verify all, events a second | %.0f (%d MiB) | |\n", float64(r.events)/r.verify.wall.Seconds(), r.verify.rss>>20)
	r.searches(&b)
	return b.String()
}

// searches is a table of its own: beside each search stands what the same question costs
// DuckDB.
func (r *results) searches(b *strings.Builder) {
	if r.peerVersion == "" {
		b.WriteString("\n| search | Bulwark |\n|---|---|\n")
		for _, q := range r.queries {
			fmt.Fprintf(b, "| %s | %s |\n", q.name, &q.spent)
		}
		return
	}
	fmt.Fprintf(b, "\n| search | Bulwark | DuckDB %s | quicker | less processor time |\n|---|---|---|---|---|\n", r.peerVersion)
	for _, q := range r.queries {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", q.name, &q.spent, &q.peer, better(q.wall, q.peer.wall), better(q.cpu, q.peer.cpu))
	}
}

// String is the clock, the processors and the most memory.
func (s *spent) String() string {
	return fmt.Sprintf("%v (%v of processors, %d MiB)", s.wall.Round(time.Millisecond), s.cpu.Round(time.Millisecond), s.rss>>20)
}

// better says which of the two took less, and by what factor.
func better(ours, theirs time.Duration) string {
	switch {
	case ours <= 0 || theirs <= 0:
		return "not measured"
	case ours <= theirs:
		return fmt.Sprintf("Bulwark, %.1f ×", float64(theirs)/float64(ours))
	default:
		return fmt.Sprintf("DuckDB, %.1f ×", float64(ours)/float64(theirs))
	}
}
