package app

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/posture/output"
)

func newAuditHold(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Hold events, so that nothing takes them away",
		Long: `What a hold matches is not pruned by a retention policy, and its openings are not
shredded, until the hold is released. Holds are events of the trail: who added or
released one, when and why stays in it for good.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	cmd.AddCommand(newHoldAdd(env), newHoldList(env), newHoldRelease(env))
	return cmd
}

func newHoldAdd(env *Env) *cobra.Command {
	f := &keepFlags{}
	q := log.HoldRequest{}
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Hold what an expression finds, or everything",
		Long: `Hold the events that an expression of the search language finds, those that are there
and those that come. Times like 30d are counted back from now, once. Without --search
everything is held.

Exit codes: 0; 1, it failed; 2, wrong usage, also when a hold of that name stands.`,
		Example: `  bulwark audit hold add case-2026-17 --reason 'court order 17' --search 'user=mallory' --data trail`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Name = args[0]
			if cmd.Flags().Changed("search") && q.Search == "" {
				return badUse(errors.New("--search is empty: leave it out to hold everything"))
			}
			var h told.Hold
			if err := f.ask(cmd.Context(), env, verbHoldAdd, q, &h); err != nil {
				return err
			}
			return f.told(env, "stands", h)
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVar(&q.Reason, "reason", "", "why (required); it stays in the trail")
	fl.StringVar(&q.Search, "search", "", "expression that finds what to hold; see docs/guide/audit-search.md")
	return cmd
}

func newHoldRelease(env *Env) *cobra.Command {
	f := &keepFlags{}
	q := releaseRequest{}
	cmd := &cobra.Command{
		Use:     "release NAME",
		Short:   "End a hold",
		Long:    "End a hold: what it kept may go again when a policy says so. The hold itself stays in the trail.",
		Example: `  bulwark audit hold release case-2026-17 --reason 'settled' --data trail`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Name = args[0]
			var h told.Hold
			if err := f.ask(cmd.Context(), env, verbHoldRelease, q, &h); err != nil {
				return err
			}
			return f.told(env, "is released", h)
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVar(&q.Reason, "reason", "", "why (required); it stays in the trail")
	return cmd
}

// told prints what became of a hold.
func (f *keepFlags) told(env *Env, what string, h told.Hold) error {
	if h.Warning != "" {
		_, _ = fmt.Fprintf(env.Stderr, "bulwark: %s; they are held all the same\n", output.Plain(h.Warning))
	}
	var err error
	if f.format == "json" {
		err = writeJSON(env.Stdout, h)
	} else {
		_, err = fmt.Fprintf(env.Stdout, "hold %s %s: %d events matched when it was added, event %d of the trail says so\n", h.Name, what, h.Matched, max(h.Seq, h.Released))
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func newHoldList(env *Env) *cobra.Command {
	f := &trailFolder{}
	all, format := false, "table"
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the holds",
		Long:    "List the holds that stand, or with --all all that ever were, as the trail tells of them. It may be written by another process.",
		Example: `  bulwark audit hold list --data trail`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.holds(cmd.Context(), env, all, format) },
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.BoolVar(&all, "all", false, "also those that were released")
	fl.StringVarP(&format, "output", "o", "table", "form of the list: table or json")
	return cmd
}

func (f *trailFolder) holds(ctx context.Context, env *Env, all bool, format string) error {
	if err := oneOf("output", format, "table", "json"); err != nil {
		return badUse(err)
	}
	v, err := f.view()
	if err != nil {
		return err
	}
	history, err := log.ReadHolds(ctx, v)
	if err != nil {
		return f.wrap("read the trail in", err)
	}
	list := []told.Hold(history)
	if !all {
		list = history.Standing()
	}
	if format == "json" {
		if list == nil {
			list = []told.Hold{}
		}
		if err := writeJSON(env.Stdout, list); err != nil {
			return fmt.Errorf("write the list: %w", err)
		}
		return nil
	}
	tab := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, err = fmt.Fprintln(tab, "NAME\tSINCE\tBY\tMATCHED\tRELEASED\tWHAT\tREASON")
	for i := range list {
		h := &list[i]
		what, released := h.Search, "-"
		if what == "" {
			what = "everything"
		}
		if !h.Stands() {
			released = h.Until.Format(time.DateTime) + " by " + h.Releaser.Name
		}
		_, wrong := fmt.Fprintf(tab, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", output.Plain(h.Name), h.Since.Format(time.DateTime), output.Plain(h.By.Name), h.Matched,
			output.Plain(released), output.Plain(what), output.Plain(h.Reason))
		err = errors.Join(err, wrong)
	}
	if err = errors.Join(err, tab.Flush()); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}
