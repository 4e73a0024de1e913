// Command audit measures the audit trail: how many events it takes in a second with
// every rule on and every event on disk before it is acknowledged, how long an
// acknowledgement takes, what an event costs on disk, and how long searches and
// verification take. "bulwark serve audit" runs in a process of its own, with the
// senders beside it on the same processors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"bulwark.dev/bulwark/test/peers"
)

// The bars of the product's design.
const (
	barRate  = 50_000 // events a second
	barBytes = 80     // on disk for each event
)

type options struct {
	events  int
	senders int
	batch   int
	steady  int
	calm    int
	bulwark string
	docs    string
	check   bool
	keep    string
	duckdb  bool
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
	fs := flag.NewFlagSet("audit", flag.ContinueOnError)
	fs.IntVar(&opt.events, "events", 10_000_000, "how many events are sent")
	fs.IntVar(&opt.senders, "senders", 6, "how many connections send at the same time: three API servers keep about two each busy")
	fs.IntVar(&opt.batch, "batch", 400, "events in one request: what an API server sends by default")
	fs.IntVar(&opt.steady, "steady", 20_000, "events a second of the part that measures acknowledgements")
	fs.IntVar(&opt.calm, "calm", 0, "how many of the events are of that part; default: a tenth, but no more than 20 seconds of them")
	fs.StringVar(&opt.bulwark, "bulwark", "", "program to measure; default: it is built")
	fs.StringVar(&opt.docs, "write-docs", "", "rewrite the results in this file")
	fs.BoolVar(&opt.duckdb, "duckdb", true, "ask DuckDB the same of the same files; built at the first time")
	fs.BoolVar(&opt.check, "check", true, "fail if a bar is missed")
	fs.StringVar(&opt.keep, "data", "", "folder for the trail, which stays; default: a temporary one")
	if err := fs.Parse(args); err != nil {
		return opt, err
	}
	if opt.calm == 0 {
		opt.calm = min(opt.events/10, 20*opt.steady)
	}
	if opt.calm < 0 || opt.calm >= opt.events {
		return opt, errors.New("-calm must be less than -events")
	}
	if opt.events <= 0 || opt.senders <= 0 || opt.batch <= 0 || opt.steady <= 0 {
		return opt, errors.New("-events, -senders, -batch and -steady must be more than 0")
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
		if opt.bulwark, err = peers.BuildBulwark(ctx, dir); err != nil {
			return err
		}
	}
	data := opt.keep
	if data == "" {
		data = filepath.Join(dir, "trail")
	}
	var r results
	if err := r.ingest(ctx, &opt, dir, data, log); err != nil {
		return err
	}
	if err := r.read(ctx, &opt, data, log); err != nil {
		return err
	}
	text := r.table()
	_, _ = fmt.Fprintln(out, text)
	if opt.docs != "" {
		if err := writeDocs(opt.docs, text); err != nil {
			return err
		}
	}
	if opt.check && !r.held() {
		return errors.New("a bar is missed")
	}
	return nil
}

// The results stand between these lines of the page.
const (
	docsBegin = "<!-- audit:begin -->"
	docsEnd   = "<!-- audit:end -->"
)

func writeDocs(file, text string) error {
	raw, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	before, rest, found := strings.Cut(string(raw), docsBegin)
	_, after, ends := strings.Cut(rest, docsEnd)
	if !found || !ends {
		return fmt.Errorf("%s has no lines %q and %q", file, docsBegin, docsEnd)
	}
	if err := os.WriteFile(file, []byte(before+docsBegin+"\n"+text+docsEnd+after), 0o644); err != nil { // #nosec G306 -- a page for everybody
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// spent is what a process cost.
type spent struct {
	wall, cpu time.Duration
	rss       int64
}
