package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/baseline"
	"bulwark.dev/bulwark/internal/posture/exception"
	"bulwark.dev/bulwark/internal/posture/exposure"
	"bulwark.dev/bulwark/internal/posture/output"
)

// scanFlags are the settings of a scan.
type scanFlags struct {
	source scanSource
	judge  scanControls

	severity string
	failOn   string
	format   string
	file     string

	baseline      string
	writeBaseline string
	exceptions    []string
	save          string
	fix           string
}

func newScan(env *Env) *cobra.Command {
	f := &scanFlags{}
	cmd := &cobra.Command{
		Use:   "scan [PATH...]",
		Short: "Find what is wrong in manifests, charts, overlays or a cluster, and what to do",
		Long: `Judge every object by every control and say what fails: object, field, file and
line, why it matters and what to do; then what to repair first, a score, and what
the frameworks ask for.

PATH is a manifest file, a folder of them, "-" for standard input, a Helm chart
(folder or .tgz), a Kustomize folder, or a file that --save wrote; default: the
folder you are in. With --kubeconfig or --context the objects are a cluster's, and
what may not be read there is unknown, which never counts as passing.

Exit codes: 0, nothing at or above --fail-on fails; 1, something does; 2, what was
asked for could not be done: wrong usage, a cluster that does not answer, a PATH of
which nothing could be read, or a file, chart or overlay named as PATH that could be
read in part only. What could be read is judged and printed all the same. Within a
folder, what cannot be read is told on standard error and does not change the code.`,
		Example: `  bulwark scan ./manifests
  bulwark scan chart/ -f values.yaml
  bulwark scan overlays/prod -o sarif --output-file bulwark.sarif
  bulwark scan --kubeconfig ~/.kube/config --framework cis-1.12
  bulwark scan . --baseline bulwark-baseline.json --fail-on medium`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.source.paths = args
			f.source.live = cmd.Flags().Changed("kubeconfig") || cmd.Flags().Changed("context")
			host, err := newHost(env)
			if err != nil {
				return badUse(err)
			}
			if f.source.host = host; host != nil {
				defer host.Close()
			}
			// Helm logs what it finds odd in values, with the values.
			slog.SetDefault(slog.New(slog.DiscardHandler))
			s := &scan{env: env, f: f}
			return s.run(cmd.Context())
		},
	}
	fl := cmd.Flags()
	f.source.add(fl)
	f.judge.add(fl)
	fl.StringVar(&f.severity, "severity", "info", "least severity that is shown: "+strings.Join(bulwark.Severities(), ", "))
	fl.StringVar(&f.failOn, "fail-on", "high", `exit with 1 if something of this severity fails, shown or not; "never": always 0`)
	fl.StringVarP(&f.format, "output", "o", "table", "format: "+strings.Join(output.Formats(), ", "))
	fl.StringVar(&f.file, "output-file", "", "write there in place of standard output")
	fl.StringVar(&f.baseline, "baseline", "", "show only what this file, of an earlier --write-baseline, does not know")
	fl.StringVar(&f.writeBaseline, "write-baseline", "", "write the findings there, for a later --baseline")
	fl.StringArrayVar(&f.exceptions, "exceptions", nil, "file with PostureException objects; may be repeated")
	fl.StringVar(&f.fix, "fix", "", `change the files so that what fails and can be fixed does not; "diff" prints the patch and changes nothing`)
	fl.Lookup("fix").NoOptDefVal = fixWrite
	fl.StringVar(&f.save, "save", "", "write what was read there, without the values of Secrets, for a later scan")
	return cmd
}

// scan is one run of the command.
type scan struct {
	env *Env
	f   *scanFlags

	failOn   bulwark.Severity // 0: never
	least    bulwark.Severity
	before   *baseline.Baseline
	accepted []*exception.PostureException
	controls *controlSet
	inputs   *scanInputs
}

// prepare reads all that is small before anything is judged, so that wrong usage
// is told at once.
func (s *scan) prepare() error {
	f := s.f
	var err error
	if s.least, err = bulwark.ParseSeverity(f.severity); err != nil {
		return fmt.Errorf("--severity: %w", err)
	}
	if f.failOn != "never" {
		if s.failOn, err = bulwark.ParseSeverity(f.failOn); err != nil {
			return fmt.Errorf("--fail-on: %w, or never", err)
		}
	}
	if err := oneOf("output", f.format, output.Formats()...); err != nil {
		return err
	}
	if err := f.source.check(); err != nil {
		return err
	}
	if err := f.checkFix(); err != nil {
		return err
	}
	if f.baseline != "" {
		if s.before, err = readBaseline(f.baseline); err != nil {
			return err
		}
	}
	for _, name := range f.exceptions {
		text, err := readBounded(name)
		if err != nil {
			return fmt.Errorf("--exceptions: %w", err)
		}
		e, err := exception.Parse(name, text)
		if err != nil {
			return fmt.Errorf("--exceptions: %w", err)
		}
		s.accepted = append(s.accepted, e...)
	}
	s.controls, err = f.judge.load()
	return err
}

func (s *scan) run(ctx context.Context) error {
	if err := s.prepare(); err != nil { //nolint:contextcheck // small files are read to their end
		return badUse(err)
	}
	in, err := s.f.source.read(ctx, s.env)
	if err != nil {
		return badUse(err)
	}
	s.inputs = in
	if s.f.save != "" {
		if len(in.snaps) > 1 {
			return badUse(errors.New("--save: these charts or overlays make objects of one name; save them one by one"))
		}
		if err := saveSnapshot(s.f.save, in.snaps[0]); err != nil {
			return badUse(err)
		}
	}
	rep, err := s.judge(ctx)
	if err != nil {
		return err
	}
	if s.f.fix != "" {
		wrote, err := s.repair(ctx, rep)
		if err != nil {
			return badUse(err)
		}
		if wrote { // what is printed is what is left
			if rep, err = s.judge(ctx); err != nil {
				return err
			}
		}
	}
	worst, err := s.write(rep)
	if err != nil {
		return badUse(err)
	}
	s.tell(rep)
	switch {
	case s.inputs.failed != nil:
		return badUse(s.inputs.failed)
	case s.failOn != 0 && worst >= s.failOn:
		return &failure{exitFailed, errPrinted}
	}
	return nil
}

// judge runs the controls and applies the exceptions.
func (s *scan) judge(ctx context.Context) (*posture.Report, error) {
	engine, err := posture.New(s.controls.options())
	if err != nil {
		return nil, badUse(err)
	}
	show := newProgress(s.env)
	defer show.done()
	var parts []exception.Part
	for _, snap := range s.inputs.snaps {
		show.say("judging %d objects", len(snap.Objects()))
		rep, err := engine.Judge(ctx, snap)
		if err != nil {
			return nil, badUse(fmt.Errorf("judge: %w", err)) // ended from outside: nothing was found out
		}
		parts = append(parts, exception.Of(snap, rep))
	}
	return exception.Join(parts, s.accepted, s.excepting()), nil
}

func (s *scan) excepting() exception.Options {
	return exception.Options{Now: s.env.Now(), Never: s.controls.never, Known: s.controls.known}
}

// exposed says how an object is reached from outside.
func (s *scan) exposed() func(bulwark.ObjectRef) string {
	var all []*exposure.Index
	for _, snap := range s.inputs.snaps {
		all = append(all, exposure.New(snap))
	}
	return func(ref bulwark.ObjectRef) string {
		for _, ix := range all {
			if how := ix.Of(ref); how != "" {
				return how
			}
		}
		return ""
	}
}

// split gives the findings that count and, with a baseline, how many it knows and
// how many of it are gone.
func (s *scan) split(rep *posture.Report) (fresh []bulwark.Finding, known, fixed int) {
	if s.before == nil {
		return rep.Findings, 0, 0
	}
	fresh, old, fixed := s.before.Split(rep)
	return fresh, len(old), fixed
}

func (s *scan) fresh(rep *posture.Report) []bulwark.Finding {
	out, _, _ := s.split(rep)
	return out
}

// write writes what was asked for and gives the severity of the worst finding that
// counts for the exit code.
func (s *scan) write(rep *posture.Report) (bulwark.Severity, error) {
	findings, known, fixed := s.split(rep)
	var worst bulwark.Severity
	for i := range findings {
		if findings[i].Verdict == bulwark.VerdictFail {
			worst = max(worst, findings[i].Severity)
		}
	}
	name, _, _ := strings.Cut(version(), " ")
	doc := output.New(output.Input{
		Tool: output.Tool{Name: "bulwark", Version: name}, Time: s.env.Now(), Inputs: s.f.source.names(), Report: rep,
		Findings: findings, Frameworks: s.controls.coverage(rep), Exposed: s.exposed(),
		Compared: s.before != nil, Known: known, Fixed: fixed, Least: s.least,
	})
	if s.f.writeBaseline != "" {
		if err := writeFile(s.f.writeBaseline, baseline.Make(rep).Write); err != nil {
			return 0, err
		}
	}
	if s.f.fix == fixDiff && s.f.file == "" {
		return worst, nil // standard output holds the patch
	}
	if s.f.file != "" {
		return worst, writeFile(s.f.file, func(w io.Writer) error { return output.Write(w, s.f.format, doc, output.Options{}) })
	}
	return worst, output.Write(s.env.Stdout, s.f.format, doc, terminalOf(s.env.Stdout))
}

// tell says on standard error what could not be read, at most so much of it.
func (s *scan) tell(rep *posture.Report) {
	const most = 30
	lines := make([]string, 0, len(rep.Problems)+len(rep.Unreadable))
	for _, p := range rep.Problems {
		lines = append(lines, problemLine(p))
	}
	for _, u := range rep.Unreadable {
		lines = append(lines, unreadableLine(u))
	}
	for i, l := range lines {
		if i == most {
			_, _ = fmt.Fprintf(s.env.Stderr, "bulwark: … and %d more; -o json has all of them\n", len(lines)-most)
			break
		}
		_, _ = fmt.Fprintf(s.env.Stderr, "bulwark: %s\n", output.Plain(l))
	}
}

func problemLine(p inventory.Problem) string {
	at := p.Location.File
	if at != "" && p.Location.Line > 0 {
		at += fmt.Sprintf(":%d", p.Location.Line)
	}
	if at != "" {
		at += ": "
	}
	return at + p.What
}

func unreadableLine(u inventory.Unreadable) string {
	name := u.Kind
	switch {
	case name == "":
		name = fmt.Sprintf("every kind of the API group %q", u.Group)
	case u.Group != "":
		name += "." + u.Group
	}
	if u.Namespace != "" {
		name += " in " + u.Namespace
	}
	return "not read: " + name + ": " + u.Reason
}

// errNothing is for inputs without a single object.
var errNothing = errors.New("there are no Kubernetes objects in it")
