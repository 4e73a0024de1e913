// Command scale measures Bulwark on a cluster with thousands of routes: how long
// a change takes until it is enforced and until its status says so, whether
// churn fails or admits a request that it must not, and what controller and data
// plane need for it. It builds Bulwark, starts a cluster of its own
// (test/control), installs the chart and looks from outside:
//
//	cd test/scale && go run .
//
// Method and results are in docs/benchmarks.md. Exit codes: 0 every bar holds;
// 1 a bar is missed or something went wrong; 2 usage.
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
	"syscall"
	"time"
)

// Exit codes, as for every command of this project.
const (
	exitFine = iota
	exitMissed
	exitUsage
)

// options are the flags.
type options struct {
	routes      int
	few         int
	changes     int
	churn       int
	parallel    int
	rate        int
	idle        int
	controllers int
	// pace is between changes that nobody watches, and how long nothing must happen
	// for all to be settled.
	pace      time.Duration
	kind      string
	out       string
	writeDocs string
	profile   string
	check     bool
}

func main() {
	opt, err := parseFlags(os.Args[1:], os.Stderr)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(exitFine)
		}
		_, _ = fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(exitUsage)
	}
	if !within() {
		status, err := outside(opt.controllers, os.Args[1:])
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "scale:", err)
			status = max(status, exitMissed)
		}
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, opt, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(exitMissed)
	}
}

// parseFlags reads the command line. Usage and errors go to stderr.
func parseFlags(args []string, stderr io.Writer) (options, error) {
	var opt options
	fl := flag.NewFlagSet("scale", flag.ContinueOnError)
	fl.SetOutput(stderr)
	fl.IntVar(&opt.routes, "routes", 5000, "routes of the large world; half of them have a SecurityPolicy of their own")
	fl.IntVar(&opt.few, "few", 10, "routes of the small world, which are also the ones under steady load; at least 2")
	fl.IntVar(&opt.changes, "changes", 50, "changes of each kind, measured in each world")
	fl.IntVar(&opt.churn, "churn", 5000, "routes that are created, edited and deleted under load; at most -routes less -few")
	fl.IntVar(&opt.parallel, "parallel", 8, "writers to the API server during churn")
	fl.IntVar(&opt.rate, "rate", 100, "requests per second of each of the eight load connections")
	fl.IntVar(&opt.idle, "idle", 60, "seconds for which idleness is measured")
	fl.IntVar(&opt.controllers, "controllers", 1, "replicas of the controller")
	fl.DurationVar(&opt.pace, "pace", time.Second, "between two changes whose cost is measured, and how long a quiet world must stay so")
	fl.StringVar(&opt.kind, "kind", "", "measure changes of this kind only")
	fl.StringVar(&opt.out, "out", "", "write every figure to this file, as JSON")
	fl.StringVar(&opt.writeDocs, "write-docs", "", "rewrite the results in this file")
	fl.StringVar(&opt.profile, "profile", "", "write CPU and heap profiles of controller and data plane to this folder")
	fl.BoolVar(&opt.check, "check", true, "exit 1 when a bar is missed; a failed or wrongly answered request always does")
	if err := fl.Parse(args); err != nil {
		return opt, fmt.Errorf("flags: %w", err)
	}
	if fl.NArg() > 0 {
		return opt, fmt.Errorf("unexpected argument %q", fl.Arg(0))
	}
	opt.churn = min(opt.churn, opt.routes-opt.few)
	if opt.few < 2 || opt.churn < 0 || opt.changes < 1 || opt.parallel < 1 || opt.rate < 1 || opt.idle < 1 || opt.controllers < 1 || opt.pace <= 0 {
		return opt, errors.New("-few needs 2 and -routes as many; the other numbers need 1")
	}
	return opt, nil
}

// run measures everything inside the cluster and writes the results.
func run(ctx context.Context, opt options, stdout, stderr io.Writer) error {
	r, err := measure(ctx, opt, stderr)
	if r != nil && opt.out != "" {
		b, jerr := json.MarshalIndent(r, "", "  ")
		if jerr == nil {
			jerr = os.WriteFile(opt.out, append(b, '\n'), 0o644)
		}
		err = errors.Join(err, jerr)
	}
	if err != nil {
		return err
	}
	text := r.markdown()
	if _, err := io.WriteString(stdout, text); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	if opt.writeDocs != "" {
		if err := rewrite(opt.writeDocs, text); err != nil {
			return err
		}
	}
	return r.judge(opt.check)
}
