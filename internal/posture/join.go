package posture

import (
	"cmp"
	"slices"

	"bulwark.dev/bulwark"
)

// Join makes one report of those of several snapshots by the same controls. Of
// findings with one fingerprint the worst stays, and of equal ones the first: two
// overlays of one base say the same twice.
func Join(reports []*Report) *Report {
	if len(reports) == 1 {
		return reports[0]
	}
	out := &Report{}
	seen, at := map[string]int{}, map[string]int{}
	for _, r := range reports {
		out.Objects += r.Objects
		out.Folded += r.Folded
		out.Facts = r.Facts
		out.Unreadable = append(out.Unreadable, r.Unreadable...)
		out.Problems = append(out.Problems, r.Problems...)
		for i := range r.Findings {
			f := r.Findings[i]
			j, ok := seen[f.Fingerprint]
			switch {
			case !ok:
				seen[f.Fingerprint] = len(out.Findings)
				out.Findings = append(out.Findings, f)
			case cmp.Or(cmp.Compare(worst(f.Verdict), worst(out.Findings[j].Verdict)), cmp.Compare(f.Severity, out.Findings[j].Severity)) > 0:
				out.Findings[j] = f
			}
		}
		for i := range r.Tallies {
			t := &r.Tallies[i]
			j, ok := at[t.ID]
			if !ok {
				at[t.ID] = len(out.Tallies)
				out.Tallies = append(out.Tallies, *t)
				continue
			}
			out.Tallies[j].add(t)
		}
	}
	slices.SortStableFunc(out.Findings, func(a, b bulwark.Finding) int { return order(&a, &b) })
	return out
}

func (t *Tally) add(more *Tally) {
	t.Pass += more.Pass
	t.Fail += more.Fail
	t.Unknown += more.Unknown
	t.Excepted += more.Excepted
	t.NotApplicable += more.NotApplicable
	for _, why := range more.Reasons {
		t.reason(why)
	}
}
