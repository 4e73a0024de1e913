// Package app is the only wiring: it turns flags and files into parts, runs
// them in order and stops them in reverse. One file per subcommand.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
	_ "time/tzdata" // CEL's getHours("Europe/Berlin") must work in an image without zone files

	"github.com/spf13/cobra"
)

// The exit codes of the program.
const (
	exitOK      = 0
	exitFailed  = 1 // findings, or a verification that failed
	exitBadUse  = 2 // a usage or input error
	drainPeriod = 30 * time.Second
)

// Env is the outside world of the program.
type Env struct {
	Context context.Context // the lifetime of the process
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Now     func() time.Time
	Random  func() uint64
	// Program is this program's file, to be started again for work that may come to
	// harm; "": such work is done in this process.
	Program string
}

// System is the real world: its context ends with SIGINT or SIGTERM.
func System() Env {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills at once
	program, err := os.Executable()
	if err != nil {
		program = "" // the system cannot tell
	}
	return Env{Context: ctx, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Random: rand.Uint64, Program: program}
}

// failure is an error that carries its exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// badUse marks an error of usage or input: exit code 2.
func badUse(err error) error { return &failure{exitBadUse, err} }

// quiet marks an outcome that has been printed already.
var errPrinted = errors.New("printed")

// Main runs the command line and gives the exit code. Errors go to env.Stderr.
func Main(args []string, env Env) int {
	root := newRoot(&env)
	root.SetArgs(args)
	err := root.ExecuteContext(env.Context)
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errPrinted) {
		_, _ = fmt.Fprintf(env.Stderr, "bulwark: %v\n", err)
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitFailed
}

func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "bulwark",
		Short: "Secure the APIs of a Kubernetes cluster, and the API of the cluster itself",
		Long: `Bulwark guards APIs with an API gateway that refuses when unsure.

Routing is Gateway API; protection is one SecurityPolicy per API. Start with
"bulwark up": it runs the gateway in front of an example API on this machine.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return badUse(fmt.Errorf("%w\nSee %q", err, cmd.CommandPath()+" --help"))
	})
	root.AddCommand(newUp(env), newServe(env), newPolicy(env), newExample(env), newScan(env), newAudit(env), newRenderApart(env), newVersion(env))
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments exit with code 2, for c and below.
func usageErrors(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return badUse(fmt.Errorf("%w\nSee %q", err, cmd.CommandPath()+" --help"))
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// newLog writes logs for operators to w.
func newLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, badUse(fmt.Errorf("--log-level %q: expected debug, info, warn or error", level))
	}
	opt := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opt)), nil
	}
	return nil, badUse(fmt.Errorf("--log-format %q: expected text or json", format))
}

func newVersion(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Stdout, "bulwark", version())
			if err != nil {
				return fmt.Errorf("print version: %w", err)
			}
			return nil
		},
	}
}

// version is the module's version, the commit, or "devel".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && v == "devel" {
			v += "-" + s.Value[:12]
		}
	}
	return v + " " + info.GoVersion
}
