package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/gateway/compile"
)

// upFlags are the settings of "bulwark up".
type upFlags struct {
	gatewayFlags
	files      []string
	kubeconfig string
	addresses  []string
	example    bool
}

func newUp(env *Env) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine in one process",
		Long: `Run Bulwark on this machine, in one process.

Without -f it runs a small shop API and a local identity provider on loopback,
writes their configuration to DATA/shop, and guards them. With -f it guards your
own backends by your own files: Gateway API objects, SecurityPolicies, Services
with EndpointSlices, Secrets and ConfigMaps. Changed files are picked up at once;
a change that does not load leaves what was in force.

With --kubeconfig the same objects come from that cluster, by watch, and their
status is written back. The Gateways' listeners are opened on this machine.

Every request is recorded in DATA/events.jsonl. Ctrl-C drains and exits.`,
		Example: `  bulwark up
  bulwark up -f ./policies --data /var/lib/bulwark
  bulwark up --kubeconfig ~/.kube/config --address 192.0.2.7`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return badUse(err)
			}
			run := upFiles
			if f.kubeconfig != "" {
				run = upCluster
			}
			return runProcess(cmd.Context(), env, &f.processFlags, f.drain, func(ctx context.Context, log *slog.Logger, running *stack) error {
				return run(ctx, env, log, &f, running)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "file", "f", nil, "file or folder with objects; may be repeated (default: the shop example)")
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "read the objects of this cluster in place of files, and write their status")
	fl.StringArrayVar(&f.addresses, "address", nil, "IP address for Gateways without spec.addresses; may be repeated (default 127.0.0.1)")
	fl.BoolVar(&f.example, "example", false, "run the shop API and its identity provider beside the files given with -f")
	f.add(fl, "127.0.0.1:9400", "text")
	return cmd
}

func (f *upFlags) check() error {
	err := f.gatewayFlags.check()
	for _, a := range f.addresses {
		if _, perr := netip.ParseAddr(a); perr != nil {
			err = errors.Join(err, fmt.Errorf("--address %q: expected an IP address", a))
		}
	}
	if f.kubeconfig != "" && len(f.files) > 0 {
		err = errors.Join(err, errors.New("-f and --kubeconfig: expected one of them, since the objects come from one place"))
	}
	return err
}

// options are what of the flags matters to compilation.
func (f *upFlags) options() compile.Options {
	opt := f.gatewayFlags.options()
	opt.DefaultAddresses = f.addresses
	return opt
}

// upFiles serves what files say until ctx ends.
func upFiles(ctx context.Context, env *Env, log *slog.Logger, f *upFlags, running *stack) error {
	example := len(f.files) == 0 || f.example
	if len(f.files) == 0 {
		dir := filepath.Join(f.data, "shop")
		if err := writeShop(dir); err != nil {
			return badUse(err)
		}
		f.files = []string{dir}
	}
	// Read before anything starts: a mistake in the files ends here.
	snap, err := cluster.LoadFiles(f.files)
	if err != nil {
		return badUse(err)
	}
	if example {
		stop, err := startShop(ctx, env, log)
		if err != nil {
			return badUse(err)
		}
		running.push(stop)
	}
	g, err := startGateway(ctx, env, log, &f.gatewayFlags, newJudge(f.options(), nil), running)
	if err != nil {
		return err
	}
	if err := g.apply(ctx, snap); err != nil {
		return badUse(err)
	}
	if err := g.describe(env.Stdout, f, example); err != nil {
		return err
	}
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	if err := cluster.Watch(watchCtx, f.files, log, func(s *cluster.Snapshot, err error) { _ = g.changed(watchCtx, s, err) }); err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	log.LogAttrs(ctx, slog.LevelInfo, "draining", slog.Duration("atMost", f.drain))
	return nil
}

// describe tells a person what is guarded and what is refused.
func (g *gateway) describe(w io.Writer, f *upFlags, example bool) error {
	var b []byte
	b = append(b, "Guarded:\n"...)
	for _, line := range guarded(g.table, g.server.Addresses()) {
		b = fmt.Appendf(b, "  %s\n", line)
	}
	if lines := g.refusedLines(); len(lines) > 0 {
		b = append(b, "\nNot in force as asked for:\n"...)
		for _, l := range lines {
			b = fmt.Appendf(b, "  %s %s %s=%s (%s): %s\n", l.Object, l.Section, l.Condition, l.Status, l.Reason, l.Message)
		}
	}
	b = append(b, "\nRefused: everything else. No route: 404. No credential: 401. No rule that allows it: 403.\n"...)
	if f.events != "none" {
		b = fmt.Appendf(b, "Events:  %s\n", filepath.Join(f.data, "events.jsonl"))
	}
	b = fmt.Appendf(b, "Objects: %v (changes take effect at once)\n", f.files)
	if example {
		b = append(b, shopTour...)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("print what is guarded: %w", err)
	}
	return nil
}
