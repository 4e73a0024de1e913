package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/exception"
	"bulwark.dev/bulwark/internal/posture/fix"
	"bulwark.dev/bulwark/internal/posture/output"
)

// The values of --fix.
const (
	fixWrite = "write"
	fixDiff  = "diff"
)

// repair changes the user's files, or prints the patch, for every finding that
// fails, is new and has a fix that was proven. It reports whether files were
// written.
func (s *scan) repair(ctx context.Context, rep *posture.Report) (bool, error) {
	engine, err := posture.New(s.controls.options())
	if err != nil {
		return false, err //nolint:wrapcheck // it says which controls
	}
	wanted := map[string]bool{}
	for _, f := range s.fresh(rep) {
		if f.Verdict == bulwark.VerdictFail && f.Severity >= s.least {
			wanted[f.Fingerprint] = true
		}
	}
	judge := func(snap *inventory.Snapshot) ([]bulwark.Finding, error) {
		rep, err := engine.Judge(ctx, snap)
		if err != nil {
			return nil, err //nolint:wrapcheck // ended from outside
		}
		return rep.Findings, nil
	}
	wrote := false
	for i := range len(s.inputs.snaps) {
		if i >= len(s.inputs.snaps) {
			break // the files that were written make fewer
		}
		snap := s.inputs.snaps[i]
		now, err := engine.Judge(ctx, snap)
		if err != nil {
			return wrote, err //nolint:wrapcheck // ended from outside
		}
		// What is excepted here may fail in another part, and the other way round.
		exception.Cover(exception.Of(snap, now), s.accepted, s.excepting())
		findings := slices.DeleteFunc(now.Findings, func(f bulwark.Finding) bool {
			return !wanted[f.Fingerprint] || f.Verdict == bulwark.VerdictExcepted
		})
		plan, err := fix.New(findings, snap, fix.Options{Judge: judge, Roots: s.f.source.paths})
		if err != nil {
			return wrote, fmt.Errorf("--fix: %w", err)
		}
		s.tellPlan(plan)
		if s.f.fix == fixDiff {
			if err := plan.Diff(s.env.Stdout); err != nil {
				return wrote, fmt.Errorf("--fix: %w", err)
			}
			continue
		}
		if len(plan.Files) == 0 {
			continue
		}
		if err := plan.Write(); err != nil {
			return wrote, fmt.Errorf("--fix: %w", err)
		}
		wrote = true
		// The next part may be made of the files that were just written.
		if s.inputs, err = s.f.source.read(ctx, s.env); err != nil {
			return wrote, err
		}
	}
	return wrote, nil
}

// tellPlan says on standard error what is changed, and why the rest is not.
func (s *scan) tellPlan(p *fix.Plan) {
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintln(s.env.Stderr, "bulwark: "+output.Plain(fmt.Sprintf(format, args...)))
	}
	if len(p.Fixed) > 0 {
		say("fixed: %d, in %d files", len(p.Fixed), len(p.Files))
	}
	reasons := map[string]int{}
	for _, l := range p.Left {
		if len(l.Finding.Fix) > 0 {
			reasons[l.Reason]++
		}
	}
	for i, why := range slices.Sorted(maps.Keys(reasons)) {
		if i == 10 {
			say("… and %d more reasons", len(reasons)-i)
			break
		}
		say("not fixed: %d: %s", reasons[why], why)
	}
	for _, f := range p.Arisen {
		say("new after the change: %s on %s: %s", f.Control, f.Object, f.Message)
	}
}

func (f *scanFlags) checkFix() error {
	switch {
	case f.fix == "":
		return nil
	case f.fix != fixWrite && f.fix != fixDiff:
		return fmt.Errorf("--fix=%s: expected --fix or --fix=diff", f.fix)
	case f.source.live || slices.Contains(f.source.paths, "-"):
		return errors.New("--fix changes files, and a cluster or standard input is none")
	}
	return nil
}
