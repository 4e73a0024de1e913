package detect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/pipeline"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// maxFiles is how many files of rules are read. SigmaHQ has some 4,000 in all.
const maxFiles = 20_000

// Load reads every .yaml and .yml file of fsys. Each rule goes through the pipelines,
// the one of the least priority first, and through the built-in one. All problems of
// all files are joined into one error.
func Load(fsys fs.FS, pipelines ...*pipeline.Pipeline) (*Set, error) {
	builtin, err := pipeline.Builtin()
	if err != nil {
		return nil, fmt.Errorf("built-in pipeline: %w", err)
	}
	l := loader{set: &Set{vars: map[string][]string{}}, known: map[string]*Rule{}, skipped: map[string]string{}}
	l.pipelines = append(slices.Clone(pipelines), builtin)
	slices.SortStableFunc(l.pipelines[:len(pipelines)], func(a, b *pipeline.Pipeline) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, p := range l.pipelines {
		maps.Copy(l.set.vars, p.Vars)
	}
	l.walk(fsys)
	l.correlations()
	if err := errors.Join(l.errs...); err != nil {
		return nil, err
	}
	for _, r := range l.set.Rules {
		if r.MinimumLevel = r.own.MinimumLevel; r.MinimumLevel == "" {
			r.MinimumLevel = r.NeedsLevel()
		}
	}
	slices.SortFunc(l.set.Rules, func(a, b *Rule) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(l.set.Skipped, func(a, b Skipped) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return l.set, nil
}

type loader struct {
	set       *Set
	pipelines []*pipeline.Pipeline
	joins     []*Rule           // correlations
	known     map[string]*Rule  // by name and by id
	skipped   map[string]string // why, by name and by id
	errs      []error
}

func (l *loader) fail(r *sigma.Rule, format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf("%s:%d: rule %q: %w", r.File, r.Line, r.Key(), fmt.Errorf(format, args...)))
}

func (l *loader) skip(r *sigma.Rule, why string) {
	l.set.Skipped = append(l.set.Skipped, Skipped{Rule: r.Key(), File: r.File, Line: r.Line, Why: why})
	for _, key := range []string{r.Name, r.ID} {
		if key != "" {
			l.skipped[key] = why
		}
	}
}

func (l *loader) walk(fsys fs.FS) {
	files := 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read rules in %s: %w", name, err)
		}
		if ext := path.Ext(name); d.IsDir() || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		if files++; files > maxFiles {
			return fmt.Errorf("read rules: more than %d files", maxFiles)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("read rules in %s: %w", name, err)
		}
		rules, err := sigma.Parse(name, text)
		if err != nil {
			l.errs = append(l.errs, err)
		}
		for _, r := range rules {
			l.add(r)
		}
		return nil
	})
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// add takes a rule into the set, or says why not.
func (l *loader) add(s *sigma.Rule) {
	switch {
	case s.Filter:
		l.skip(s, "it is a Sigma filter, which is not supported: exclude in the rule, or by a pipeline")
		return
	case s.Status == "unsupported":
		l.skip(s, "its status is unsupported")
		return
	}
	r := &Rule{
		File: s.File, Line: s.Line, Key: s.Key(), Title: s.Title, ID: s.ID, Description: s.Description, Status: s.Status, Author: s.Author,
		Tags: s.Tags, References: s.References, FalsePositives: s.FalsePositives, Severity: severity(s.Level), source: s,
	}
	if s.Detection != nil && !l.fit(r) {
		return
	}
	r.LogSource, r.Interest = s.LogSource, s.Fields
	if s.Behaviour != nil && !l.behaviour(r) {
		return
	}
	if err := r.readOwn(); err != nil {
		l.errs = append(l.errs, err)
		return
	}
	if r.Behaviour != nil {
		l.namedBehaviour(r)
	} else {
		l.named(r)
	}
	if s.Correlation != nil {
		r.Correlation = true
		l.joins = append(l.joins, r)
	}
	for _, key := range []string{s.Name, s.ID, r.Key} {
		if other := l.known[key]; other != nil && other != r {
			l.fail(s, "%q is what %s:%d is called too", key, other.File, other.Line)
			return
		}
		if key != "" {
			l.known[key] = r
		}
	}
	l.set.Rules = append(l.set.Rules, r)
}

// fit runs the pipelines and finds out which events the rule is for.
func (l *loader) fit(r *Rule) bool {
	for _, p := range l.pipelines {
		err := p.Apply(r.source)
		var refused *pipeline.RefusedError
		switch {
		case errors.As(err, &refused):
			l.skip(r.source, refused.Reason)
			return false
		case err != nil:
			l.errs = append(l.errs, err)
			return false
		}
	}
	kinds, why := kindsOf(r.source.LogSource)
	if why != "" {
		l.skip(r.source, why)
		return false
	}
	r.Kinds = kinds
	r.cond = flat(r.source.Detection.Condition, r.source.Detection)
	return true
}

// flat puts the searches into the condition.
func flat(e *sigma.Expr, d *sigma.Detection) *sigma.Expr {
	if e.Op == sigma.OpSearch {
		return d.Find(e.Name).Expr
	}
	out := &sigma.Expr{Op: e.Op, Item: e.Item}
	for _, a := range e.Args {
		out.Args = append(out.Args, flat(a, d))
	}
	return out
}

// severity is that of a level. A rule that does not say is of the middle one.
func severity(level string) bulwark.Severity {
	switch level {
	case "informational":
		return bulwark.SeverityInfo
	case "low":
		return bulwark.SeverityLow
	case "high":
		return bulwark.SeverityHigh
	case "critical":
		return bulwark.SeverityCritical
	}
	return bulwark.SeverityMedium
}

// kindsOf says which kinds of events a log source means, or why none.
func kindsOf(l sigma.LogSource) (kinds []audit.Kind, why string) {
	if l.Product != "bulwark" && l.Category != "" && l.Category != "application" {
		return nil, "its log source is " + l.String() + ", of which Bulwark has no events"
	}
	switch l.Product {
	case "kubernetes":
		if l.Service == "" || l.Service == "audit" {
			return []audit.Kind{audit.KindAPI}, ""
		}
	case "azure":
		// The audit logs of AKS clusters. activitylogs are about Azure's own API, whose fields are others.
		if slices.Contains([]string{"kube-audit", "kube-audit-admin", "aks", "aks.audit", "kubernetes"}, l.Service) {
			return []audit.Kind{audit.KindAPI}, ""
		}
	case "gcp":
		// gcp.audit are the calls of Google's API with fields of their own.
		if slices.Contains([]string{"gke", "gke.audit", "kubernetes"}, l.Service) {
			return []audit.Kind{audit.KindAPI}, ""
		}
	case "aws":
		if slices.Contains([]string{"eks", "eks.audit", "kubernetes"}, l.Service) {
			return []audit.Kind{audit.KindAPI}, ""
		}
	case "bulwark":
		switch l.Service {
		case "":
			return []audit.Kind{audit.KindGateway, audit.KindAccess, audit.KindAction, audit.KindSystem}, ""
		default:
			if k := audit.Kind(l.Service); slices.Contains(audit.Kinds(), k) {
				return []audit.Kind{k}, ""
			}
		}
	}
	return nil, "its log source is " + l.String() + ", of which Bulwark has no events"
}

// correlations finds the rules that correlations name, and takes out those of which
// one was skipped.
func (l *loader) correlations() {
	for again := true; again; {
		again = false
		for i, r := range l.joins {
			if r == nil {
				continue
			}
			for _, name := range r.source.Correlation.Rules {
				why, gone := l.skipped[name]
				if !gone || l.known[name] != nil {
					continue
				}
				l.skip(r.source, fmt.Sprintf("it needs rule %q, which is skipped: %s", name, why))
				for key, known := range l.known {
					if known == r {
						delete(l.known, key)
					}
				}
				l.set.Rules = slices.DeleteFunc(l.set.Rules, func(x *Rule) bool { return x == r })
				l.joins[i], again = nil, true
				break
			}
		}
	}
	l.joins = slices.DeleteFunc(l.joins, func(r *Rule) bool { return r == nil })
	for _, r := range l.joins {
		for _, name := range r.source.Correlation.Rules {
			base := l.known[name]
			if base == nil {
				l.fail(r.source, "correlation.rules: no rule is called %q", name)
				continue
			}
			r.Bases = append(r.Bases, base)
			if base.Correlation && atEnd(base.source.Correlation) {
				l.fail(r.source, "correlation.rules: %q is decided when its window is over, so that it cannot be part of another", name)
			}
		}
	}
	for _, r := range l.joins {
		if l.cyclic(r) {
			l.fail(r.source, "correlation.rules: it needs itself")
		}
	}
	if len(l.errs) > 0 {
		return
	}
	for _, r := range l.joins {
		l.join(r)
	}
}

// cyclic reports whether a correlation is among the rules below it.
func (l *loader) cyclic(r *Rule) bool {
	return slices.ContainsFunc(withBases(r), func(b *Rule) bool { return slices.Contains(b.Bases, r) })
}

// join works out what a correlation has of its rules. A rule that only correlations
// without generate use does not alert by itself, unless it says so.
func (l *loader) join(r *Rule) {
	for _, b := range r.leaves() {
		for _, k := range b.Kinds {
			if !slices.Contains(r.Kinds, k) {
				r.Kinds = append(r.Kinds, k)
			}
		}
	}
	for _, b := range r.Bases {
		generated := slices.ContainsFunc(l.joins, func(o *Rule) bool { return o.source.Correlation.Generate && slices.Contains(o.Bases, b) })
		if !generated && b.own.Quiet == nil {
			b.Quiet, b.muted = true, r.Key
		}
	}
	c := r.source.Correlation
	rename := func(names []string) []string {
		var out []string
		for _, name := range names {
			out = append(out, l.rename(r, name)...)
		}
		return out
	}
	c.GroupBy, c.Fields = rename(c.GroupBy), rename(c.Fields)
	for _, of := range c.Aliases {
		for rule, field := range of {
			of[rule] = l.rename(l.known[rule], field)[0]
		}
	}
}

// leaves are the rules without correlations, below a correlation.
func (r *Rule) leaves() []*Rule {
	return slices.DeleteFunc(withBases(r), func(b *Rule) bool { return b.Correlation })
}

// rename gives the fields that a name outside of searches stands for. An alias stays.
func (l *loader) rename(r *Rule, name string) []string {
	if c := r.source.Correlation; c != nil {
		if _, alias := c.Aliases[name]; alias {
			return []string{name}
		}
	}
	names := []string{name}
	for _, p := range l.pipelines {
		var next []string
		for _, n := range names {
			next = append(next, p.Fields(r.leaves()[0].source.LogSource, n)...)
		}
		names = next
	}
	return names
}
