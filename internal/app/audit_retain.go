package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/policy"
	"bulwark.dev/bulwark/internal/posture/output"
)

// maxPolicyFile is more than a retention policy has.
const maxPolicyFile = 1 << 20

func newAuditRetain(env *Env) *cobra.Command {
	f := &keepFlags{}
	q := retainRequest{}
	cmd := &cobra.Command{
		Use:   "retain",
		Short: "Take away what a retention policy does not keep",
		Long: `Apply a retention policy (--policy) to the trail: of events that are too old, or too
many, the content is taken away and the hash stays, so that the trail verifies as
before. The trail tells what went, and why. What a hold keeps stays.

Beside a running "bulwark serve audit" the server does it; with --retention it does so
by itself, every hour.

Exit codes: 0; 1, something could not be handled and stays; 2, wrong usage, or a policy
that cannot be read.`,
		Example: `  bulwark audit retain --policy examples/audit/retention.yaml --dry-run --data trail`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := readPolicy("--policy", q.File)
			if err != nil {
				return err
			}
			q.Policy = string(text)
			var out retainAnswer
			if err := f.ask(cmd.Context(), env, verbRetain, q, &out); err != nil {
				return err
			}
			return f.retained(env, &out)
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVar(&q.File, "policy", "", "file with the retention policy (required)")
	fl.BoolVar(&q.DryRun, "dry-run", false, "only say what would go")
	return cmd
}

// readPolicy reads a policy's file and sees whether it is one, also what it searches for.
func readPolicy(flag, file string) ([]byte, error) {
	if file == "" {
		return nil, badUse(fmt.Errorf("%s is required: the file with the retention policy", flag))
	}
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxPolicyFile {
		err = fmt.Errorf("%s: %d bytes are more than a policy has", file, info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(file) // #nosec G304 -- the person who runs it names it
	}
	if err != nil {
		return nil, badUse(fmt.Errorf("%s: %w", flag, err))
	}
	policy, err := policy.Parse(file, text)
	if err == nil {
		if _, err = policy.Classifier(searchTest); err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
	}
	if err != nil {
		return nil, badUse(err)
	}
	return text, nil
}

// retained prints what went.
func (f *keepFlags) retained(env *Env, out *retainAnswer) error {
	var err error
	if f.format == "json" {
		err = writeJSON(env.Stdout, out)
	} else {
		err = writeRetained(env, out)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	for _, failure := range out.Failures {
		_, _ = fmt.Fprintf(env.Stderr, "bulwark: not handled: %s\n", output.Plain(failure))
	}
	if out.Problem != "" {
		return errors.New(output.Plain(out.Problem))
	}
	return nil
}

func writeRetained(env *Env, out *retainAnswer) error {
	tab := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(tab, "CLASS\tKEEP\tEVENTS\tBY AGE\tBY SIZE\tHELD\tFREED\tFROM\tTO")
	for i := range out.Classes {
		c := &out.Classes[i]
		from, to := "-", "-"
		if c.Events > 0 {
			from, to = c.From.Format(time.DateTime), c.To.Format(time.DateTime)
		}
		_, wrong := fmt.Fprintf(tab, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", output.Plain(c.Name), c.Keep, c.Events, c.ByAge, c.BySize, c.Held, size(c.Bytes), from, to)
		err = errors.Join(err, wrong)
	}
	if err = errors.Join(err, tab.Flush()); err != nil {
		return err
	}
	verb, about := "written anew", ""
	if out.DryRun {
		verb, about = "to be written anew", "about "
	}
	_, err = fmt.Fprintf(env.Stdout, "%d of %d segments %s; %s before, %s%s after\n", out.Segments, out.Of, verb, size(out.BytesBefore), about, size(out.BytesAfter))
	if err == nil && out.Over > 0 {
		_, err = fmt.Fprintf(env.Stdout, "%s more than maxBytes: nothing more may be taken, or nothing would be won\n", size(out.Over))
	}
	for i := range out.Classes {
		if c := &out.Classes[i]; c.Over > 0 && err == nil {
			_, err = fmt.Fprintf(env.Stdout, "class %s: %s more than its maxBytes: the rest takes no more room than its hashes would\n", output.Plain(c.Name), size(c.Over))
		}
	}
	return err //nolint:wrapcheck // standard output
}

// size is a number of bytes for people.
func size(n int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if part := int64(1) << (10 * (4 - i)); n >= part || n <= -part {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(part), unit)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// retentionFlags let a server apply a policy by itself.
type retentionFlags struct {
	file  string
	every time.Duration
}

func (f *retentionFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.file, "retention", "", "file with a retention policy, which is applied regularly; it is read again when it changes")
	fl.DurationVar(&f.every, "retention-interval", time.Hour, "how often the retention policy is applied")
}

func (f *retentionFlags) check() error {
	if f.every < time.Second {
		return badUse(fmt.Errorf("--retention-interval %v: expected 1s or more", f.every))
	}
	if f.file == "" {
		return nil
	}
	_, err := readPolicy("--retention", f.file)
	return err
}

// retainer applies a policy regularly. Whatever goes wrong, recording goes on.
type retainer struct {
	f       *retentionFlags
	keeping *keeping
	now     func() time.Time
	started time.Time
	log     *slog.Logger

	runs, failures, events, freed prometheus.Counter
	succeeded                     prometheus.Gauge
}

func newRetainer(t *trail, f *retentionFlags, logger *slog.Logger) *retainer {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "bulwark_audit_retention_" + name, Help: help})
	}
	return &retainer{
		f: f, keeping: t.keeping, now: t.now, started: t.now(), log: logger,
		runs:      counter("runs_total", "How often the retention policy was applied, or tried to be."),
		failures:  counter("failures_total", "How often that failed, in whole or in part; the log says why."),
		events:    counter("events_total", "Events whose content was taken away since the start."),
		freed:     counter("freed_bytes_total", "Bytes that this made free."),
		succeeded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bulwark_audit_retention_last_success_timestamp_seconds", Help: "When the retention policy was last applied without a failure."}),
	}
}

func (r *retainer) register(registry *prometheus.Registry) {
	registry.MustRegister(r.runs, r.failures, r.events, r.freed, r.succeeded)
}

// run applies the policy until ctx ends.
func (r *retainer) run(ctx context.Context) error {
	tick := time.NewTicker(r.f.every)
	defer tick.Stop()
	for {
		r.once(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// once applies the policy as the file has it now. A file that cannot be read, or is
// wrong, takes nothing away: what it said before is not what somebody wants now.
func (r *retainer) once(ctx context.Context) {
	r.runs.Inc()
	out, err := r.apply(ctx)
	if ctx.Err() != nil {
		return
	}
	for _, c := range out.Classes {
		r.events.Add(float64(c.Events))
		if c.Events > 0 {
			r.log.LogAttrs(ctx, slog.LevelInfo, "events were taken away", slog.String("class", c.Name), slog.Uint64("events", c.Events),
				slog.Time("from", c.From), slog.Time("to", c.To), slog.Uint64("held", c.Held))
		}
	}
	r.freed.Add(float64(max(0, out.BytesBefore-out.BytesAfter)))
	if err != nil {
		r.failures.Inc()
		r.log.LogAttrs(ctx, slog.LevelError, "the retention policy was not applied in full", slog.String("file", r.f.file), slog.Any("error", err), slog.Any("segments", out.Failures))
		return
	}
	if out.Over > 0 {
		r.log.LogAttrs(ctx, slog.LevelWarn, "the trail is larger than its policy allows, and nothing more may be taken away", slog.Int64("bytes", out.Over))
	}
	r.succeeded.SetToCurrentTime()
}

// leap is how far the clock may move while the process runs before nothing is taken away
// any more: events that are a year old by a wrong clock are not.
const leap = time.Hour

func (r *retainer) apply(ctx context.Context) (log.Retained, error) {
	now := r.now()
	// The first difference is of the clock on the wall, the second of one that nobody sets.
	if moved := now.Round(0).Sub(r.started.Round(0)) - now.Sub(r.started); moved > leap || moved < -leap {
		return log.Retained{}, fmt.Errorf("the clock was moved by %s while this process ran: start it again when the clock is right", moved.Round(time.Second))
	}
	text, err := readPolicy("--retention", r.f.file)
	if err != nil {
		return log.Retained{}, err
	}
	policy, err := policy.Parse(r.f.file, text)
	if err != nil {
		return log.Retained{}, err //nolint:wrapcheck // it says what it was doing
	}
	return r.keeping.keeper.Retain(ctx, log.RetainOptions{Policy: policy, By: whoIs(os.Getuid())}) //nolint:wrapcheck // likewise
}
