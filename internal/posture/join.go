package posture

import (
	"slices"

	"bulwark.dev/bulwark"
)

// Join makes one report of those of several snapshots by the same controls. Of
// findings with one fingerprint the first stays: two overlays of one base say the
// same twice.
func Join(reports []*Report) *Report {
	if len(reports) == 1 {
		return reports[0]
	}
	out := &Report{}
	seen, at := map[string]bool{}, map[string]int{}
	for _, r := range reports {
		out.Objects += r.Objects
		out.Folded += r.Folded
		out.Facts = r.Facts
		out.Unreadable = append(out.Unreadable, r.Unreadable...)
		out.Problems = append(out.Problems, r.Problems...)
		for i := range r.Findings {
			if f := r.Findings[i]; !seen[f.Fingerprint] {
				seen[f.Fingerprint] = true
				out.Findings = append(out.Findings, f)
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
