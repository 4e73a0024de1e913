package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/results"
	"bulwark.dev/bulwark/internal/posture/output"
)

// searchFlags are the settings of commands that look for events.
type searchFlags struct {
	trailFolder
	format string
	limit  int
	oldest bool
	stats  bool
}

// view opens the trail for reading. A folder without one is an error: nothing found
// in nothing would look like an answer.
func (f *trailFolder) view() (*log.View, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	dir := filepath.Join(f.data, "log")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, badUse(fmt.Errorf("%s has no trail: %w", f.data, err))
	}
	keys, err := f.keys()
	if err != nil {
		return nil, err
	}
	// Before anything is printed: a part of an answer must not look like all of it.
	mixed, err := log.Survey(dir, keys)
	if err != nil {
		return nil, keyNeeded(f.wrap("read the trail in", err))
	}
	f.mixed = mixed.Err()
	v, err := log.OpenView(dir, log.ViewOptions{Keys: keys})
	if err != nil {
		return nil, f.wrap("read the trail in", err)
	}
	return v, nil
}

// viewFor opens the trail for reading and tells of plain files in an encrypted one.
func (f *trailFolder) viewFor(env *Env) (*log.View, error) {
	v, err := f.view()
	if err == nil && f.mixed != nil {
		_, _ = fmt.Fprintf(env.Stderr, "bulwark: %v\n", f.mixed)
	}
	return v, err
}

// readQuery reads the words of a search as one.
func readQuery(env *Env, words []string) (*query.Query, error) {
	text := strings.Join(words, " ")
	q, err := query.Parse(text, query.Env{Now: env.Now()})
	if wrong, ok := errors.AsType[*query.Error](err); ok {
		return nil, badUse(fmt.Errorf("%w\n%s", err, wrong.Caret()))
	}
	if err != nil {
		return nil, badUse(err)
	}
	return q, nil
}

// output makes the output of a form.
func (f *searchFlags) output(env *Env) (*results.Writer, error) {
	terminal := terminalOf(env.Stdout)
	out, err := results.New(env.Stdout, f.format, results.Style{Width: terminal.Width, Color: terminal.Color, Location: time.UTC, Version: version()})
	if err != nil {
		return nil, badUse(fmt.Errorf("-o: %w", err))
	}
	return out, nil
}

func (f *searchFlags) options() (search.Options, error) {
	if f.limit < 0 {
		return search.Options{}, badUse(fmt.Errorf("--limit %d: expected a number of events, or 0 for all", f.limit))
	}
	return search.Options{Limit: f.limit, OldestFirst: f.oldest, Workers: runtime.GOMAXPROCS(0)}, nil
}

func newAuditSearch(env *Env) *cobra.Command {
	f := &searchFlags{}
	cmd := &cobra.Command{
		Use:   "search [QUERY]",
		Short: "Find events in the trail",
		Long: `Find events: the newest first, at most --limit of them.

A QUERY is conditions with spaces between them, all of which must hold: field=value,
with * and ? in values, lists (get,list), ranges 400..499, CIDRs; or, not and
parentheses; bare words are looked for anywhere. After a pipe events are counted:
| count by user,verb. All of the language is in docs/guide/audit-search.md. Begin a
query with "not", or put "--" before it, where it would begin with a dash.

Exit codes: 0, also when nothing is found; 1, a part of the trail could not be read,
and what is printed is incomplete; 2, wrong usage.`,
		Example: `  bulwark audit search 'user=alice verb=get resource=secrets since=2h' --data trail
  bulwark audit search 'code=403 | count by user' --data trail
  bulwark audit search 'ns=shop verb=(create,delete)' --data trail -o json --limit 0`,
		RunE: func(cmd *cobra.Command, words []string) error { return keyNeeded(f.run(cmd.Context(), env, words)) },
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVarP(&f.format, "output", "o", "table", "form of the result: "+strings.Join(results.Formats(), ", "))
	fl.IntVar(&f.limit, "limit", 100, "how many events at most; 0 for all")
	fl.BoolVar(&f.oldest, "oldest-first", false, "the oldest event first")
	fl.BoolVar(&f.stats, "stats", false, "say on standard error what was read")
	return cmd
}

func (f *searchFlags) run(ctx context.Context, env *Env, words []string) error {
	q, err := readQuery(env, words)
	if err != nil {
		return err
	}
	opt, err := f.options()
	if err != nil {
		return err
	}
	out, err := f.output(env)
	if err != nil {
		return err
	}
	v, err := f.viewFor(env)
	if err != nil {
		return err
	}
	trail, err := search.Trail(v)
	if err != nil {
		return f.wrap("read the trail in", err)
	}
	var stats search.Stats
	if q.Groups() {
		var g *search.Groups
		if g, stats, err = search.Count(ctx, trail, q, opt); g != nil {
			err = errors.Join(err, out.Groups(g))
		}
	} else {
		stats, err = search.Search(ctx, trail, q, opt, out.Event)
	}
	f.tell(env, &stats)
	return errors.Join(err, out.Flush())
}

// tell says what was read, if somebody asked or if something cannot be found any more.
func (f *searchFlags) tell(env *Env, stats *search.Stats) {
	if f.stats || stats.Pruned > 0 {
		_, _ = fmt.Fprintln(env.Stderr, stats)
	}
}

func newAuditTail(env *Env) *cobra.Command {
	f := &searchFlags{}
	from := ""
	cmd := &cobra.Command{
		Use:     "tail [QUERY]",
		Short:   "Print events as they come",
		Long:    "Print the events that a QUERY finds as they come, until it is stopped. The trail may be written by another process.",
		Example: `  bulwark audit tail 'kind=alert' --data trail`,
		RunE: func(cmd *cobra.Command, words []string) error {
			return keyNeeded(f.follow(cmd.Context(), env, words, from))
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVarP(&f.format, "output", "o", "table", "form of the result: "+strings.Join(results.Formats(), ", "))
	fl.StringVar(&from, "from", "end", "where to begin: end, start, or the number of an event")
	return cmd
}

// tailPause is how often another process's log is looked at.
const tailPause = 200 * time.Millisecond

func (f *searchFlags) follow(ctx context.Context, env *Env, words []string, from string) error {
	q, err := readQuery(env, words)
	if err != nil {
		return err
	}
	out, err := f.output(env)
	if err != nil {
		return err
	}
	follower, err := results.NewFollower(q, out)
	if err != nil {
		return badUse(err)
	}
	v, err := f.viewFor(env)
	if err != nil {
		return err
	}
	next := uint64(1)
	switch from {
	case "start":
	case "end":
		last, err := v.Last()
		if err != nil {
			return f.wrap("read the trail in", err)
		}
		next = last + 1
	default:
		if _, err := fmt.Sscan(from, &next); err != nil || next == 0 {
			return badUse(fmt.Errorf("--from %q: expected end, start or the number of an event", from))
		}
	}
	err = v.Follow(ctx, next, tailPause, nil, func(e *audit.Event) error {
		_, err := follower.Event(e)
		return err //nolint:wrapcheck // it says what it was doing
	})
	if err != nil && ctx.Err() == nil {
		return f.wrap("follow the trail in", err)
	}
	return nil
}

func newAuditAlerts(env *Env) *cobra.Command {
	f := &searchFlags{}
	least := ""
	cmd := &cobra.Command{
		Use:   "alerts [QUERY]",
		Short: "List what the detections found",
		Long: `List the alerts in the trail, the newest first. A QUERY narrows them, as in search:
actor=alice, rule=secrets-*, since=1d. With -o json the result is one JSON array.`,
		Example: `  bulwark audit alerts --data trail
  bulwark audit alerts 'since=1d' --severity high --data trail -o json`,
		RunE: func(cmd *cobra.Command, words []string) error {
			return keyNeeded(f.alerts(cmd.Context(), env, words, least))
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVarP(&f.format, "output", "o", "table", "form of the result: table, json, csv, ocsf")
	fl.StringVar(&least, "severity", "info", "only alerts of this severity or above")
	fl.IntVar(&f.limit, "limit", 100, "how many alerts at most; 0 for all")
	fl.BoolVar(&f.oldest, "oldest-first", false, "the oldest alert first")
	return cmd
}

// alertDocument is an alert as -o json prints it.
type alertDocument struct {
	Seq      uint64            `json:"seq"`
	ID       string            `json:"id"`
	Time     time.Time         `json:"time"`
	Rule     string            `json:"rule"`
	Title    string            `json:"title"`
	Severity bulwark.Severity  `json:"severity"`
	Actor    string            `json:"actor"`
	Summary  string            `json:"summary"`
	Evidence []uint64          `json:"evidence"`
	Tags     []string          `json:"tags,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
}

func (f *searchFlags) alerts(ctx context.Context, env *Env, words []string, least string) error {
	if _, err := bulwark.ParseSeverity(least); err != nil {
		return badUse(fmt.Errorf("--severity %w", err))
	}
	narrowed := []string{"kind=alert", "severity>=" + least}
	if text := strings.TrimSpace(strings.Join(words, " ")); text != "" {
		if strings.Contains(text, "|") {
			narrowed = append(narrowed, text)
		} else {
			narrowed = append(narrowed, "("+text+")")
		}
	}
	q, err := readQuery(env, narrowed)
	if err != nil {
		return err
	}
	opt, err := f.options()
	if err != nil {
		return err
	}
	if q.Groups() {
		return badUse(errors.New("alerts lists and does not count: use bulwark audit search 'kind=alert … | count by rule'"))
	}
	v, err := f.viewFor(env)
	if err != nil {
		return err
	}
	trail, err := search.Trail(v)
	if err != nil {
		return f.wrap("read the trail in", err)
	}
	out, err := f.output(env)
	if err != nil {
		return err
	}
	list := []alertDocument{}
	stats, err := search.Search(ctx, trail, q, opt, func(e *audit.Event) error {
		if f.format == "csv" || f.format == "ocsf" {
			return out.Event(e)
		}
		a, err := detect.AlertOf(e)
		if err != nil {
			return fmt.Errorf("read alert %d: %w", e.Seq, err)
		}
		list = append(list, alertDocument{e.Seq, a.ID, a.Time.UTC(), a.Rule, a.Title, a.Severity, a.Actor, a.Summary, a.Evidence, a.Tags, a.Fields})
		return nil
	})
	f.tell(env, &stats)
	switch f.format {
	case "json":
		enc := json.NewEncoder(env.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return errors.Join(err, enc.Encode(list))
	case "table":
		return errors.Join(err, writeAlerts(env, list))
	}
	return errors.Join(err, out.Flush())
}

// writeAlerts writes alerts for people: one line each, and what it is about below.
func writeAlerts(env *Env, list []alertDocument) error {
	var b strings.Builder
	for _, a := range list {
		fmt.Fprintf(&b, "%s  %-8s  %s\n    %s\n    %s, evidence: %s\n", a.Time.Format("2006-01-02 15:04:05"), a.Severity, output.Plain(a.Title),
			output.Plain(a.Summary), output.Plain(a.Rule), detect.Alert{Evidence: a.Evidence}.EvidenceLine())
	}
	if len(list) == 0 {
		b.WriteString("no alerts\n")
	}
	_, err := io.WriteString(env.Stdout, b.String())
	return err //nolint:wrapcheck // standard output
}
