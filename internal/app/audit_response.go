package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit/control"
	"bulwark.dev/bulwark/internal/audit/respond/action"
	"bulwark.dev/bulwark/internal/posture/output"
)

// newAuditResponse plans, takes and undoes measures.
func newAuditResponse(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "response",
		Short: "Take reversible measures against what an alert told of",
		Long: `Plan measures, take them, and take them back: refuse an identity at the gateway, cut a
pod off the network, revoke tokens, take a binding away, cordon a node. Each is shown
before it is taken, checked by the API server in a dry run, ends by itself, and is told
in the trail.

Beside a running "bulwark serve audit --respond FILE" the server does it; without one
these commands open the trail themselves.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	cmd.AddCommand(newResponseList(env), newResponsePlan(env, false), newResponsePlan(env, true), newResponseUndo(env), newResponseStatus(env))
	return cmd
}

func newResponseList(env *Env) *cobra.Command {
	format, subject := "table", "bulwark-audit"
	var only []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the actions that there are, and the rights that they need",
		Long: `List the actions. With -o rbac the ClusterRole is printed that Bulwark needs to take
them; --action names those that you want, so that it gets no right that it does not need.`,
		Example: `  bulwark audit response list
  bulwark audit response list -o rbac --action quarantine-pod --action cordon-node | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := oneOf("output", format, "table", "json", "rbac"); err != nil {
				return badUse(err)
			}
			actions, err := action.Load(catalog.Responses())
			if err != nil {
				return fmt.Errorf("read the actions: %w", err)
			}
			for _, name := range only {
				if actions[name] == nil {
					return badUse(fmt.Errorf("--action: there is no action %q", name))
				}
			}
			var list []*action.Action
			for _, name := range slices.Sorted(maps.Keys(actions)) {
				if len(only) == 0 || slices.Contains(only, name) {
					list = append(list, actions[name])
				}
			}
			if err := writeActions(env.Stdout, list, format, subject); err != nil {
				return fmt.Errorf("write the list: %w", err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&format, "output", "o", "table", "form of the list: table, json or rbac")
	fl.StringVar(&subject, "role", "bulwark-responses", "name of the ClusterRole of -o rbac")
	fl.StringArrayVar(&only, "action", nil, "only this action; may be repeated")
	return cmd
}

func writeActions(w io.Writer, list []*action.Action, format, role string) error {
	switch format {
	case "json":
		return writeJSON(w, list)
	case "rbac":
		out := rbacv1.ClusterRole{TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"}, ObjectMeta: metav1.ObjectMeta{Name: role}}
		for _, a := range list {
			for _, r := range a.RBAC {
				if !slices.ContainsFunc(out.Rules, func(o rbacv1.PolicyRule) bool { return o.String() == r.String() }) {
					out.Rules = append(out.Rules, r)
				}
			}
		}
		text, err := yaml.Marshal(out)
		if err == nil {
			_, err = w.Write(text)
		}
		return err //nolint:wrapcheck // the caller says what it was
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(tab, "ACTION\tRISK\tPARAMETERS\tTITLE")
	for _, a := range list {
		var names []string
		for _, p := range a.Parameters {
			names = append(names, p.Name)
		}
		_, wrong := fmt.Fprintf(tab, "%s\t%s\t%s\t%s\n", a.Name, a.Risk, strings.Join(names, ","), a.Title)
		err = errors.Join(err, wrong)
	}
	return errors.Join(err, tab.Flush())
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v) //nolint:wrapcheck // the caller says what it was
}

// responseFlags are those of the commands that plan, take and undo.
type responseFlags struct {
	writerFlags
	respondFlags
	request responseRequest
	set     []string
	yes     bool
	wait    bool
	format  string
}

func (f *responseFlags) add(fl *pflag.FlagSet) {
	f.writerFlags.add(fl)
	f.respondFlags.add(fl, "respond")
	fl.StringVar(&f.request.Reason, "reason", "", "why; the trail keeps it")
	fl.StringVarP(&f.format, "output", "o", "text", "form of the result: text or json")
}

func newResponsePlan(env *Env, apply bool) *cobra.Command {
	f := &responseFlags{}
	cmd := &cobra.Command{
		Use:   "plan ACTION",
		Short: "Show what an action would change, and change nothing",
		Long: `Show what an action would change: which fields of which objects, before and after, on
what evidence, what it breaks, until when. The API server checks it in a dry run.
Nothing is changed; the trail is told that it was asked for.

Exit codes: 0; 1, it could not be planned, or is refused; 2, wrong usage.`,
		Example: `  bulwark audit response plan quarantine-pod --alert alert-5d41402abc4b2a76b9719d911017c592 --data trail
  bulwark audit response plan cordon-node --set node=worker-3 --reason "INC-7" --data trail`,
		Args: cobra.ExactArgs(1),
	}
	fl := cmd.Flags()
	verb := verbPlan
	if apply {
		verb = verbApply
		cmd.Use = "apply ACTION"
		cmd.Short = "Take a measure, for a time"
		cmd.Long = `Plan an action as "plan" does, and take it. It is taken back when its time is over, by
the server; without a server --wait stays until then, and takes it back early when it is
interrupted.

Exit codes: 0; 1, it could not be taken, and what was done of it is taken back; 2, wrong
usage.`
		cmd.Example = `  bulwark audit response apply quarantine-pod --alert 4711 --expiry 30m --yes --data trail`
		fl.BoolVar(&f.yes, "yes", false, "take it: without this nothing is changed")
		fl.BoolVar(&f.wait, "wait", false, "without a server: stay until it is taken back")
	}
	f.add(fl)
	fl.StringVar(&f.request.Alert, "alert", "", "alert, by its id or its number in the trail, whose evidence has the parameters")
	fl.StringVar(&f.request.From, "from", "", "of the evidence take what it was done to (object) or who did it (caller)")
	fl.StringArrayVar(&f.set, "set", nil, "parameter as NAME=VALUE, where there is no alert; may be repeated")
	fl.DurationVar(&f.request.Expiry, "expiry", 0, "how long it stands (default: what the policy says, or 1h)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.request.Action = args[0]
		if apply && !f.yes {
			return badUse(errors.New(`--yes is required to change something; "bulwark audit response plan" shows what`))
		}
		return f.run(cmd.Context(), env, verb)
	}
	return cmd
}

func newResponseUndo(env *Env) *cobra.Command {
	f := &responseFlags{}
	cmd := &cobra.Command{
		Use:   "undo RUN",
		Short: "Take a measure back before its time is over",
		Long: `Take a measure back. What somebody else has changed since is left as it is, and named.
It may be called again.

Exit codes: 0; 1, not all of it could be taken back; 2, wrong usage.`,
		Example: `  bulwark audit response undo r-0123456789ab --data trail --reason "false alarm"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.request.Run = args[0]
			return f.run(cmd.Context(), env, verbUndo)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// run asks the server, or does it here where there is none.
func (f *responseFlags) run(ctx context.Context, env *Env, verb string) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := oneOf("output", f.format, "text", "json"); err != nil {
		return badUse(err)
	}
	for _, s := range f.set {
		name, v, ok := strings.Cut(s, "=")
		if _, twice := f.request.Set[name]; !ok || twice {
			return badUse(fmt.Errorf("--set %q: expected NAME=VALUE, each name once", s))
		}
		if f.request.Set == nil {
			f.request.Set = map[string]string{}
		}
		f.request.Set[name] = v
	}
	var answer responseAnswer
	err := control.Call(ctx, f.data, verb, f.request, &answer)
	if err == nil {
		return f.told(env, &answer)
	}
	if !errors.Is(err, control.ErrNoServer) && !errors.Is(err, control.ErrPathTooLong) {
		return err //nolint:wrapcheck // it says what it was doing
	}
	return f.alone(ctx, env, verb)
}

// alone opens the trail itself.
func (f *responseFlags) alone(ctx context.Context, env *Env, verb string) (err error) {
	if verb == verbApply && !f.wait {
		return badUse(errors.New(`no server is there to take it back when its time is over: run "bulwark serve audit --respond FILE", or give --wait`))
	}
	if _, err := os.Stat(f.data); err != nil {
		return badUse(fmt.Errorf("--data: %w", err))
	}
	logger, err := newLog(env.Stderr, "text", "warn")
	if err != nil {
		return err
	}
	klog.SetSlogLogger(logger)
	t, err := openTrail(ctx, env, &f.writerFlags, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close(context.WithoutCancel(ctx))) }()
	e, err := f.engine(env, t, logger)
	if err != nil {
		return err
	}
	e.Sweep(ctx) // what fell due while nobody was there
	by := nameOf(os.Getuid())
	answer, err := t.perform(ctx, e, verb, f.request, by)
	if err != nil {
		return err
	}
	if err := f.told(env, answer); err != nil || verb != verbApply {
		return err
	}
	return f.stay(ctx, env, e, answer.Run, by)
}

// stay waits until a measure was taken back; who interrupts it wants that now.
func (f *responseFlags) stay(ctx context.Context, env *Env, e *action.Engine, r *action.Run, by string) error {
	_, _ = fmt.Fprintf(env.Stderr, "bulwark: %s stands until %s; interrupt to take it back now\n", r.ID, r.Until.Format(time.RFC3339))
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			undone, err := e.Undo(context.WithoutCancel(ctx), r.ID, by, "interrupted")
			if err != nil {
				return err //nolint:wrapcheck // it says what it was doing
			}
			return f.told(env, &responseAnswer{Run: undone})
		case <-tick.C:
			e.Sweep(ctx)
		}
		for _, now := range e.Runs(true) {
			if now.ID == r.ID && !now.Ended.IsZero() {
				return f.told(env, &responseAnswer{Run: &now})
			}
		}
	}
}

// told prints what came of it.
func (f *responseFlags) told(env *Env, a *responseAnswer) error {
	var err error
	if f.format == "json" {
		err = writeJSON(env.Stdout, a)
	} else {
		err = writeRun(env.Stdout, a.Run)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if a.Problem != "" {
		return errors.New(output.Plain(a.Problem))
	}
	return nil
}

func newResponseStatus(env *Env) *cobra.Command {
	var f trailFolder
	all, format := false, "table"
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the measures that stand",
		Example: `  bulwark audit response status --data trail
  bulwark audit response status --all --data trail -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := oneOf("output", format, "table", "json"); err != nil {
				return badUse(err)
			}
			runs, unread := action.Standing(responsesOf(f.data), all)
			var err error
			if format == "json" {
				err = writeJSON(env.Stdout, runs)
			} else {
				err = writeRuns(env.Stdout, runs)
			}
			if err != nil {
				err = fmt.Errorf("write the list: %w", err)
			}
			return errors.Join(err, unread)
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.BoolVar(&all, "all", false, "also those that ended within thirty days")
	fl.StringVarP(&format, "output", "o", "table", "form of the list: table or json")
	return cmd
}

func writeRuns(w io.Writer, runs []action.Run) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(tab, "RUN\tSTATE\tUNTIL\tBY\tACTION\tOBJECTS")
	for _, r := range runs {
		var objects []string
		for _, c := range r.Changes {
			objects = append(objects, c.Object.String())
		}
		by := r.By
		if r.Automatic {
			by = "policy, " + r.Rule
		}
		_, wrong := fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.State, r.Until.Format(time.RFC3339), output.Plain(by), r.Action, output.Plain(strings.Join(objects, ", ")))
		err = errors.Join(err, wrong)
		if r.Trouble != "" {
			_, wrong := fmt.Fprintf(tab, "\t\t\t\t\t%s\n", output.Plain(r.Trouble))
			err = errors.Join(err, wrong)
		}
	}
	return errors.Join(err, tab.Flush())
}

// writeRun prints a plan and what became of it.
func writeRun(w io.Writer, r *action.Run) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		for i, a := range args {
			if s, ok := a.(string); ok {
				args[i] = output.Plain(s)
			}
		}
		fmt.Fprintf(&b, format+"\n", args...)
	}
	line("%s  %s  %s", r.ID, r.Action, string(r.State))
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		line("  %s: %s", name, r.Parameters[name])
	}
	if r.Alert != "" {
		line("  because of %s, detection %s, events %v", r.Alert, r.Rule, r.Evidence)
	}
	if r.Reason != "" {
		line("  reason: %s", r.Reason)
	}
	if r.Until.IsZero() {
		line("  for %s once it is taken", r.Expiry.String())
	} else {
		line("  until %s", r.Until.Format(time.RFC3339))
	}
	line("changes:")
	for _, c := range r.Changes {
		state := ""
		switch {
		case c.Undone:
			state = "  (taken back)"
		case c.Left != "":
			state = "  (left: " + c.Left + ")"
		case c.Done:
			state = "  (done)"
		}
		line("  %s %s%s", c.Do, c.Object.String(), state)
		for _, field := range c.Fields {
			line("    %s: %s -> %s", strings.Join(field.Path, "."), shownValue(field.Before), shownValue(field.After))
		}
		if c.Rule != nil {
			line("    spec.authorization.rules: in front of them %s", shownValue(c.Rule))
		}
		if c.Body != nil {
			line("    %s", shownValue(c.Body))
		}
	}
	for _, s := range r.Breaks {
		line("breaks: %s", s)
	}
	for _, s := range r.Warnings {
		line("mind: %s", s)
	}
	if r.State == action.StatePlanned {
		line("The API server checked it in a dry run. Nothing was changed.")
	}
	_, err := io.WriteString(w, b.String())
	return err //nolint:wrapcheck // the caller says what it was
}

func shownValue(v any) string {
	if v == nil {
		return "(none)"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "(unreadable)"
	}
	return string(raw)
}
