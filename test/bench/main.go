// Command bench measures the processor time that one request costs in Bulwark
// and in its peers, in one run on the same cores, and checks the bars that the
// product promises. It runs inside the test module:
//
//	cd test && go run ./bench
//
// Method and results are in docs/benchmarks.md. Exit codes: 0 every bar that
// was measured holds; 1 a bar is missed or a measurement is void; 2 usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Exit codes, as for every command of this project.
const (
	exitFine = iota
	exitMissed
	exitUsage
)

// errMissed is what run gives when a bar does not hold.
var errMissed = errors.New("a bar is missed")

// options are the flags.
type options struct {
	duration    time.Duration
	warmup      time.Duration
	connections int
	rounds      int
	peers       []string
	pin         bool
	out         string
	writeDocs   string
	profile     string
	check       bool
	verbose     bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == stdproxyCommand {
		if err := stdproxy(os.Args[2:]); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(exitMissed)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := exitFine
	opt, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		code = exitUsage
	default:
		if err := run(ctx, opt, os.Stdout, os.Stderr); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
			code = exitMissed
		}
	}
	stop()
	os.Exit(code)
}

// parseFlags reads the command line. Usage and errors go to stderr.
func parseFlags(args []string, stderr io.Writer) (options, error) {
	var opt options
	var names string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.DurationVar(&opt.duration, "duration", 5*time.Second, "length of one measurement, at least 1s, in whole seconds")
	fs.DurationVar(&opt.warmup, "warmup", time.Second, "load before each measurement, in whole seconds, at least 1s")
	fs.IntVar(&opt.connections, "connections", 64, "keep-alive connections of the load generator")
	fs.IntVar(&opt.rounds, "rounds", 5, "how often each peer is measured, in turns")
	fs.StringVar(&names, "peers", "all", "comma-separated peers to measure: "+strings.Join(namesOf(catalogue()), ", "))
	fs.BoolVar(&opt.pin, "pin", false, "keep the measured peer on the first core, load and backend on the others")
	fs.StringVar(&opt.out, "out", "", "write every sample and ratio to this file as JSON; - is the standard output")
	fs.StringVar(&opt.writeDocs, "write-docs", "", "rewrite the results between the markers of this Markdown file")
	fs.StringVar(&opt.profile, "profile", "", "after measuring, write CPU profiles of Bulwark under load into this folder")
	fs.BoolVar(&opt.check, "check", true, "exit 1 when a bar is missed")
	fs.BoolVar(&opt.verbose, "v", false, "print each sample")
	if err := fs.Parse(args); err != nil {
		return options{}, fmt.Errorf("read flags: %w", err)
	}
	if fs.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if opt.duration < time.Second || opt.duration%time.Second != 0 {
		return options{}, fmt.Errorf("-duration %s: want whole seconds, at least 1s", opt.duration)
	}
	if opt.warmup < time.Second || opt.warmup%time.Second != 0 {
		return options{}, fmt.Errorf("-warmup %s: want whole seconds, at least 1s", opt.warmup)
	}
	if opt.connections < 1 || opt.connections > 1000 {
		return options{}, fmt.Errorf("-connections %d: want 1 to 1000", opt.connections)
	}
	if opt.rounds < 1 {
		return options{}, fmt.Errorf("-rounds %d: want at least 1", opt.rounds)
	}
	known := namesOf(catalogue())
	if names == "all" {
		opt.peers = known
		return opt, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(known, name) {
			return options{}, fmt.Errorf("-peers: %q is not one of %s", name, strings.Join(known, ", "))
		}
		opt.peers = append(opt.peers, name)
	}
	return opt, nil
}

// run measures, prints, writes and judges.
func run(ctx context.Context, opt options, stdout, stderr io.Writer) error {
	res, err := measure(ctx, opt, stderr)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, markdown(res)); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	if opt.out != "" {
		if err := writeJSON(opt.out, res, stdout); err != nil {
			return err
		}
	}
	if opt.writeDocs != "" {
		if err := writeDocs(opt.writeDocs, markdown(res)); err != nil {
			return err
		}
	}
	if !opt.check {
		return nil
	}
	var missed []string
	for _, b := range res.Bars {
		if !b.Holds {
			missed = append(missed, b.Name)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(missed, "; "))
	}
	return nil
}

// writeJSON writes the whole result.
func writeJSON(path string, res result, stdout io.Writer) error {
	b, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	b = append(b, '\n')
	if path == "-" {
		if _, err := stdout.Write(b); err != nil {
			return fmt.Errorf("print the results: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
