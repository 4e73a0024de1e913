package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/coverage"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/detect/pipeline"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
	"bulwark.dev/bulwark/internal/posture/output"
)

// ruleFlags say which detections are used.
type ruleFlags struct {
	dirs      []string
	pipelines []string
	only      bool
}

func (f *ruleFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.dirs, "rules", nil, "folder with Sigma rules of your own; may be repeated")
	fl.StringArrayVar(&f.pipelines, "pipeline", nil, "file with a field mapping for rules of your own; may be repeated")
	fl.BoolVar(&f.only, "no-builtin-rules", false, "use only rules of your own")
}

// load reads the detections, each folder as a set of its own names.
func (f *ruleFlags) load() (*detect.Set, error) {
	var pipelines []*pipeline.Pipeline
	for _, file := range f.pipelines {
		text, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
		if err != nil {
			return nil, badUse(fmt.Errorf("--pipeline: %w", err))
		}
		p, err := pipeline.Parse(file, text)
		if err != nil {
			return nil, badUse(fmt.Errorf("--pipeline: %w", err))
		}
		pipelines = append(pipelines, p)
	}
	all, err := f.folders()
	if err != nil {
		return nil, err
	}
	set, err := detect.Load(all, pipelines...)
	if err != nil {
		return nil, badUse(fmt.Errorf("read the rules: %w", err))
	}
	return set, nil
}

// folders are where rules are read from.
func (f *ruleFlags) folders() (folders, error) {
	if f.only && len(f.dirs) == 0 {
		return nil, badUse(errors.New("--no-builtin-rules leaves no rules: name folders with --rules"))
	}
	all := folders{}
	if !f.only {
		all = append(all, folder{"catalog", catalog.Detections()})
	}
	for i, dir := range f.dirs {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, badUse(fmt.Errorf("--rules %s: expected a folder: %w", dir, errors.Join(err, fs.ErrInvalid)))
		}
		all = append(all, folder{fmt.Sprintf("%d-%s", i+1, filepath.Base(dir)), os.DirFS(dir)})
	}
	return all, nil
}

// folders are several folders of rules as one.
type folders []folder

type folder struct {
	name string
	fs.FS
}

// Open opens a name, which begins with its folder's.
func (f folders) Open(name string) (fs.File, error) {
	for _, one := range f {
		if rest, ok := strings.CutPrefix(name, one.name+"/"); ok {
			return one.Open(rest) //nolint:wrapcheck // a file system's own errors are what callers expect
		}
		if name == one.name {
			return one.Open(".") //nolint:wrapcheck // likewise
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Stat tells of a name; the root is a folder as the first one is.
func (f folders) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return fs.Stat(f[0].FS, ".") //nolint:wrapcheck // likewise
	}
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return file.Stat() //nolint:wrapcheck // likewise
}

// ReadDir lists a folder; the root has the folders.
func (f folders) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "." {
		var out []fs.DirEntry
		for _, one := range f {
			info, err := fs.Stat(one.FS, ".")
			if err != nil {
				return nil, err //nolint:wrapcheck // likewise
			}
			out = append(out, fs.FileInfoToDirEntry(called{info, one.name}))
		}
		return out, nil
	}
	for _, one := range f {
		if rest, ok := strings.CutPrefix(name+"/", one.name+"/"); ok {
			return fs.ReadDir(one.FS, cmp.Or(strings.TrimSuffix(rest, "/"), ".")) //nolint:wrapcheck // likewise
		}
	}
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
}

// called is a folder under another name.
type called struct {
	fs.FileInfo
	name string
}

func (c called) Name() string { return c.name }

// plainDecoder reads the events of rules' own tests: nothing is committed to.
func plainDecoder(now time.Time) func([]byte) ([]audit.Entry, error) {
	d := &ingest.Decoder{Source: "test", Now: func() time.Time { return now }, Redact: new(redact.Redactor).Redact}
	return d.Decode
}

// newAuditRules lists, checks and tests detections.
func newAuditRules(env *Env) *cobra.Command {
	f := &ruleFlags{}
	format, test := "", false
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List the detections, say which can never fire, and run their tests",
		Long: `List the detections: Bulwark's own, and Sigma rules in folders given by --rules. What
was read and is not run is told, and so is every rule that can never fire, or not at
the audit level that it says is enough. With --test the events inside the rules are
put through them.

Exit codes: 0; 1, a rule can never fire or a test does not give what it must; 2, a
file could not be read.`,
		Example: `  bulwark audit rules
  bulwark audit rules --rules my-sigma --no-builtin-rules --test`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := oneOf("output", format, "table", "json"); err != nil {
				return badUse(err)
			}
			return f.list(env, format, test)
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVarP(&format, "output", "o", "table", "form: table or json")
	fl.BoolVar(&test, "test", false, "run the tests inside the rules")
	return cmd
}

// ruleDocument is a detection as -o json prints it.
type ruleDocument struct {
	Rule     string   `json:"rule"`
	Title    string   `json:"title"`
	Severity string   `json:"severity"`
	File     string   `json:"file"`
	Level    string   `json:"minimumLevel"`
	Tags     []string `json:"tags,omitempty"`
	// Quiet rules only serve correlations.
	Quiet bool `json:"quiet,omitempty"`
	// Behaviour is the type of a rule that learns what is usual.
	Behaviour string   `json:"behaviour,omitempty"`
	Problems  []string `json:"problems,omitempty"`
}

func (f *ruleFlags) list(env *Env, format string, test bool) error {
	set, err := f.load()
	if err != nil {
		return err
	}
	problems, bad := map[string][]string{}, false
	for _, p := range set.Lint() {
		problems[p.Rule] = append(problems[p.Rule], fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Severity, p.Message))
		bad = bad || p.Severity >= bulwark.SeverityHigh
	}
	ran := 0
	if test {
		for _, r := range set.Test(plainDecoder(env.Now())) {
			ran++
			if !r.OK() {
				bad = true
				problems[r.Rule] = append(problems[r.Rule], fmt.Sprintf("%s: test %q: alert is %v, want %v: %v", r.File, r.Name, r.Got, r.Want, r.Err))
			}
		}
	}
	for _, s := range set.Skipped {
		_, _ = fmt.Fprintf(env.Stderr, "bulwark: not run: %s:%d: %s: %s\n", s.File, s.Line, s.Rule, s.Why)
	}
	out := make([]ruleDocument, 0, len(set.Rules))
	for _, r := range set.Rules {
		learns := ""
		if r.Behaviour != nil {
			learns = string(r.Behaviour.Type)
		}
		out = append(out, ruleDocument{r.Key, r.Title, r.Severity.String(), r.File, r.MinimumLevel, r.Tags, r.Quiet, learns, problems[r.Key]})
	}
	if err := writeRules(env, format, out); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	if test {
		_, _ = fmt.Fprintf(env.Stderr, "bulwark: %d tests ran\n", ran)
	}
	if bad {
		return errPrinted
	}
	return nil
}

func writeRules(env *Env, format string, rules []ruleDocument) error {
	if format == "json" {
		enc := json.NewEncoder(env.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(rules) //nolint:wrapcheck // the caller says what it was
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(w, "SEVERITY\tRULE\tLEVEL\tTITLE")
	for _, r := range rules {
		severity := r.Severity
		if r.Quiet {
			severity = "(quiet)"
		}
		_, wrong := fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", severity, output.Plain(r.Rule), r.Level, output.Plain(r.Title))
		err = errors.Join(err, wrong)
	}
	err = errors.Join(err, w.Flush())
	for _, r := range rules {
		for _, p := range r.Problems {
			_, wrong := fmt.Fprintln(env.Stdout, output.Plain(p))
			err = errors.Join(err, wrong)
		}
	}
	return err
}

// newAuditCoverage says which detections an audit policy blinds.
func newAuditCoverage(env *Env) *cobra.Command {
	f := &ruleFlags{}
	file, format, suggest := "", "", false
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "Say which detections an audit policy blinds, and suggest the smallest that does not",
		Long: `Put the events of each detection's own tests through an API server's audit policy, as
the API server would, and see whether the detection still fires.

With --suggest the smallest audit policy is printed under which all of them fire; that
is proven by the same way before it is printed.

Exit codes: 0, every detection sees; 1, at least one is blind or sees only in part;
2, wrong usage.`,
		Example: `  bulwark audit coverage --policy /etc/kubernetes/audit-policy.yaml
  bulwark audit coverage --suggest > audit-policy.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := oneOf("output", format, "table", "json"); err != nil {
				return badUse(err)
			}
			if suggest == (file != "") {
				return badUse(errors.New("expected --policy FILE or --suggest"))
			}
			return f.cover(env, file, format)
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVar(&file, "policy", "", "file with the API server's audit policy")
	fl.BoolVar(&suggest, "suggest", false, "print the smallest audit policy under which all detections fire")
	fl.StringVarP(&format, "output", "o", "table", "form of the verdicts: table or json")
	return cmd
}

func (f *ruleFlags) cover(env *Env, file, format string) error {
	set, err := f.load()
	if err != nil {
		return err
	}
	samples, err := set.Samples(plainDecoder(env.Now()))
	if err != nil {
		return badUse(err)
	}
	cases := make([]coverage.Case, 0, len(samples))
	for _, s := range samples {
		cases = append(cases, coverage.Case(s))
	}
	if file == "" {
		text, err := coverage.Smallest(cases)
		if err != nil {
			return err //nolint:wrapcheck // it says what it was doing
		}
		_, err = env.Stdout.Write(text)
		return err //nolint:wrapcheck // standard output
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
	if err != nil {
		return badUse(fmt.Errorf("--policy: %w", err))
	}
	policy, err := coverage.ParsePolicy(text)
	if err != nil {
		return badUse(fmt.Errorf("--policy %s: %w", file, err))
	}
	var names []string
	for _, r := range set.Rules {
		if !r.Quiet {
			names = append(names, r.Key)
		}
	}
	verdicts := coverage.Judge(policy, names, cases)
	if format == "json" {
		enc := json.NewEncoder(env.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(verdicts)
	} else {
		err = writeVerdicts(env, verdicts)
	}
	if err != nil {
		return fmt.Errorf("write the verdicts: %w", err)
	}
	for _, v := range verdicts {
		if v.State != coverage.Sees {
			return errPrinted
		}
	}
	return nil
}

func writeVerdicts(env *Env, verdicts []coverage.Verdict) error {
	count := map[coverage.State]int{}
	var err error
	for _, v := range verdicts {
		count[v.State]++
		if v.State == coverage.Sees {
			continue
		}
		_, wrong := fmt.Fprintf(env.Stdout, "%-8s %s\n", v.State, output.Plain(v.Rule))
		err = errors.Join(err, wrong)
		for _, why := range v.Missing {
			_, wrong := fmt.Fprintf(env.Stdout, "         %s\n", output.Plain(why))
			err = errors.Join(err, wrong)
		}
	}
	_, wrong := fmt.Fprintf(env.Stdout, "%d detections: %d see, %d see in part, %d are blind, %d cannot be told\n",
		len(verdicts), count[coverage.Sees], count[coverage.Partly], count[coverage.Blind], count[coverage.Unknown])
	return errors.Join(err, wrong)
}
