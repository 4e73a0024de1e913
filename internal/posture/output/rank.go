package output

import (
	"cmp"
	"math"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/framework"
)

// exposedFactor is how much more a finding counts on what is reached from outside.
const exposedFactor = 3

// Rank is one control in the order in which repairing helps most: the severity of
// its worst finding × whether that is exposed × how widespread it is, where ten
// times as many objects count half as much again. So a hundred small things come
// after a single bad one.
type Rank struct {
	Control     string           `json:"control"`
	Title       string           `json:"title"`
	Severity    bulwark.Severity `json:"severity"`
	Objects     int              `json:"objects"`
	Exposed     int              `json:"exposed"`
	Points      int              `json:"points"`
	Remediation string           `json:"remediation,omitempty"`
	// Fixable are the findings that have a fix.
	Fixable int `json:"fixable"`
}

// fixFirst ranks the controls that fail.
func fixFirst(d *Document) []Rank {
	by := map[string]*Rank{}
	counted := map[string]map[bulwark.ObjectRef]bool{}
	meta := d.meta()
	for i := range d.Findings {
		f := &d.Findings[i]
		if f.Verdict != bulwark.VerdictFail {
			continue
		}
		r := by[f.Control]
		if r == nil {
			m := meta[f.Control]
			r = &Rank{Control: f.Control, Title: m.Title, Remediation: m.Remediation}
			by[f.Control], counted[f.Control] = r, map[bulwark.ObjectRef]bool{}
		}
		r.Severity = max(r.Severity, f.Severity)
		if len(f.Fix) > 0 {
			r.Fixable++
		}
		if counted[f.Control][f.Object] {
			continue
		}
		counted[f.Control][f.Object] = true
		r.Objects++
		points := framework.Weight(f.Severity)
		if f.Exposed != "" {
			r.Exposed++
			points *= exposedFactor
		}
		r.Points = max(r.Points, points)
	}
	out := make([]Rank, 0, len(by))
	for _, r := range by {
		r.Points = int(math.Round(float64(10*r.Points) * (1 + math.Log10(float64(r.Objects))/2)))
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Rank) int {
		return cmp.Or(cmp.Compare(b.Points, a.Points), cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Control, b.Control))
	})
	return out[:min(len(out), 10)]
}

// group is the findings of one control, object by object.
type group struct {
	control  string
	severity bulwark.Severity
	findings []*Finding
	objects  int
}

// groups parts the findings of some verdicts by control, the worst first, and
// within by object and field.
func groups(d *Document, verdicts ...bulwark.Verdict) []group {
	by := map[string]*group{}
	for i := range d.Findings {
		f := &d.Findings[i]
		if !slices.Contains(verdicts, f.Verdict) {
			continue
		}
		g := by[f.Control]
		if g == nil {
			g = &group{control: f.Control}
			by[f.Control] = g
		}
		g.severity = max(g.severity, f.Severity)
		g.findings = append(g.findings, f)
	}
	out := make([]group, 0, len(by))
	for _, g := range by {
		slices.SortStableFunc(g.findings, func(a, b *Finding) int {
			return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Exposed, a.Exposed), compareRefs(a.Object, b.Object),
				cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
		})
		seen := map[bulwark.ObjectRef]bool{}
		for _, f := range g.findings {
			seen[f.Object] = true
		}
		g.objects = len(seen)
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b group) int {
		return cmp.Or(cmp.Compare(b.severity, a.severity), cmp.Compare(len(b.findings), len(a.findings)), cmp.Compare(a.control, b.control))
	})
	return out
}

func compareRefs(a, b bulwark.ObjectRef) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.APIVersion, b.APIVersion))
}
