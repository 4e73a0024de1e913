package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/audit/log"
)

// shredFlags say whose openings are destroyed.
type shredFlags struct {
	keepFlags

	events []uint
	before string
	search string
	reason string
	dry    bool
	yes    bool
}

func newAuditShred(env *Env) *cobra.Command {
	f := &shredFlags{}
	cmd := &cobra.Command{
		Use:   "shred",
		Short: "Destroy for good what shows redacted values",
		Long: `Destroy the keys of openings: nobody can show any more what was redacted in those
events. The events themselves stay, and verify as before. What a hold keeps stays.
It cannot be undone, so --yes is needed; --dry-run says what would go.

The key is overwritten where it lies. What a snapshot, a backup or the disk itself
still has of it, only a change of keys/openings.key ends.

Exit codes: 0, also when there was nothing to destroy; 1, it failed; 2, wrong usage, also
when an event that was named is held.`,
		Example: `  bulwark audit shred --event 4711 --reason 'erasure request 12' --yes --data trail
  bulwark audit shred --search 'user=alice' --reason 'she left' --dry-run --data trail
  bulwark audit shred --before 2026-01-01 --reason 'yearly' --yes --data trail`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.UintSliceVar(&f.events, "event", nil, "number of an event; may be repeated")
	fl.StringVar(&f.before, "before", "", "events that were received before a time: 2026-01-01, 2026-01-01T10:00:00Z, or 90d for days ago")
	fl.StringVar(&f.search, "search", "", "events that an expression finds; see docs/guide/audit-search.md")
	fl.StringVar(&f.reason, "reason", "", "why (required); it stays in the trail")
	fl.BoolVar(&f.dry, "dry-run", false, "only say what would be destroyed")
	fl.BoolVar(&f.yes, "yes", false, "destroy it")
	return cmd
}

func (f *shredFlags) request(now time.Time) (log.ShredRequest, error) {
	q := log.ShredRequest{Search: f.search, Reason: f.reason, DryRun: f.dry}
	for _, event := range f.events {
		q.Events = append(q.Events, uint64(event))
	}
	given := 0
	for _, is := range []bool{len(f.events) > 0, f.before != "", f.search != ""} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return q, badUse(errors.New("expected one of --event, --before and --search"))
	case f.dry == f.yes:
		return q, badUse(errors.New("expected either --dry-run or --yes: what is destroyed is gone for good"))
	}
	if f.before != "" {
		at, err := moment(f.before, now)
		if err != nil {
			return q, badUse(fmt.Errorf("--before: %w", err))
		}
		q.Search = `received<"` + at.UTC().Format(time.RFC3339Nano) + `"`
	}
	if q.Search != "" {
		var err error
		if q.Search, _, err = compileSearch(q.Search, now); err != nil {
			return q, badUse(err)
		}
		if q.Search == "" {
			return q, badUse(errors.New("--search finds everything: say --before 0d if that is meant"))
		}
	}
	return q, nil
}

func (f *shredFlags) run(ctx context.Context, env *Env) error {
	q, err := f.request(env.Now())
	if err != nil {
		return err
	}
	var out log.Shredded
	if err := f.ask(ctx, env, verbShred, q, &out); err != nil {
		return err
	}
	if f.format == "json" {
		err = writeJSON(env.Stdout, out)
	} else {
		verb := "lost their openings"
		if out.DryRun {
			verb = "would lose their openings"
		}
		_, err = fmt.Fprintf(env.Stdout, "%d events %s, of %d with redactions; %d are held\n", out.Events, verb, out.Matched, out.Held)
		if err == nil && out.Told > 0 {
			_, err = fmt.Fprintf(env.Stdout, "event %d of the trail says so\n", out.Told)
		}
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// moment reads a day, a time, or how long ago.
func moment(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	days, isDays := strings.CutSuffix(text, "d")
	if n, err := strconv.ParseUint(days, 10, 16); err == nil && isDays {
		return now.AddDate(0, 0, -int(n)), nil
	}
	return time.Time{}, fmt.Errorf("%.60q: expected a day (2026-01-01), a time (2026-01-01T10:00:00Z), or days ago (90d)", text)
}
