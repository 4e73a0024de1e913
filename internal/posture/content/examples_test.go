package content_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
)

// TestExamples runs every example of every control of the catalog. One of them:
// go test ./internal/posture/content -run 'TestExamples/container-privileged'.
func TestExamples(t *testing.T) {
	t.Parallel()
	controls, err := content.Load(catalog.Controls())
	if err != nil {
		t.Errorf("controls that cannot be read:\n%v", err)
	}
	var ran, pass, fail, skip, fixed int
	for _, c := range controls {
		t.Run(c.ID, func(t *testing.T) {
			ran++
			for i, o := range c.Examples.Pass {
				pass++
				if got := judge(t, c, o); len(got) != 1 || got[0].Verdict != bulwark.VerdictPass {
					t.Errorf("examples.pass[%d] does not pass: %s", i, show(got))
				}
			}
			for i, o := range c.Examples.Skip {
				skip++
				if got := judge(t, c, o); len(got) != 1 || got[0].Verdict != bulwark.VerdictNotApplicable {
					t.Errorf("examples.skip[%d] is not not-applicable: %s", i, show(got))
				}
			}
			for i, e := range c.Examples.Fail {
				fail++
				got := judge(t, c, e.Object)
				var fields []string
				var edits []bulwark.Edit
				for _, r := range got {
					edits = append(edits, r.Fix...)
					if r.Verdict != bulwark.VerdictFail {
						t.Errorf("examples.fail[%d] does not fail: %s", i, show(got))
						continue
					}
					if r.Message == c.Title {
						t.Errorf("examples.fail[%d]: the message of %s cannot be made", i, r.Field)
					}
					fields = append(fields, r.Field)
				}
				slices.Sort(fields)
				want := slices.Sorted(slices.Values(e.Want))
				if diff := cmp.Diff(want, fields); diff != "" {
					t.Errorf("examples.fail[%d]: fields (-want +got):\n%s", i, diff)
				}
				if len(c.Fix) > 0 {
					fixed++
					repair(t, c, i, e.Object, edits)
				}
			}
		})
	}
	t.Logf("%d controls: %d examples pass, %d fail, %d are not applicable, %d are repaired", len(controls), pass, fail, skip, fixed)
	want := len(controls)
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		want = max(ran, 1) // somebody asks for a few, as the README of the controls says
	}
	if len(controls) > 0 && (ran < want || pass < want || fail < want) {
		t.Errorf("of %d controls %d ran, and only %d examples pass and %d fail", want, ran, pass, fail)
	}
}

// repair applies the fix: the example passes then, and nothing else has changed.
func repair(t *testing.T, c *content.Control, i int, object map[string]any, edits []bulwark.Edit) {
	t.Helper()
	before, after := subject(t, object).Content, subject(t, object).Content
	if err := content.Apply(after, edits); err != nil {
		t.Errorf("examples.fail[%d]: the fix cannot be applied: %v", i, err)
		return
	}
	if got := judge(t, c, after); len(got) != 1 || got[0].Verdict != bulwark.VerdictPass {
		t.Errorf("examples.fail[%d] with its fix does not pass: %s", i, show(got))
	}
	for _, path := range content.Changed(before, after) {
		if !slices.ContainsFunc(edits, func(e bulwark.Edit) bool { return content.Within(path, e.Field) }) {
			t.Errorf("examples.fail[%d]: the fix changes %s too", i, path)
		}
	}
}

func judge(t *testing.T, c *content.Control, object map[string]any) []control.Result {
	t.Helper()
	s := subject(t, object)
	if !c.Applies(s) {
		t.Errorf("the control is not for an example of kind %s", s.Object.Kind)
	}
	return c.Judge(s)
}

func subject(t *testing.T, object map[string]any) *control.Subject {
	t.Helper()
	s, err := control.SubjectOf(object)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// subjectOrNil is for objects that nobody vouches for.
func subjectOrNil(object map[string]any) *control.Subject {
	s, err := control.SubjectOf(object)
	if err != nil {
		return nil
	}
	return s
}

func show(results []control.Result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "\n  %s %s (container %q): %s %s", r.Verdict, r.Field, r.Container, r.Message, r.Reason)
	}
	return b.String()
}

// A control of the catalog says the same whether it was compiled at once or when
// the first object needed it, and one that does not compile says unknown.
func TestShipped(t *testing.T) {
	t.Parallel()
	now, err := content.Load(catalog.Controls())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range now {
		text, err := fs.ReadFile(catalog.Controls(), c.File)
		if err != nil {
			t.Fatal(err)
		}
		later, err := content.Shipped(c.File, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range c.Examples.Fail {
			n++
			if diff := cmp.Diff(c.Judge(subject(t, x.Object)), later.Judge(subject(t, x.Object))); diff != "" {
				t.Errorf("%s:\n%s", c.ID, diff)
			}
		}
		if err := later.Compile(); err != nil || len(later.Examples.Fail) != 0 {
			t.Errorf("%s: %v, %d examples", c.ID, err, len(later.Examples.Fail))
		}
	}
	if n < len(now) {
		t.Errorf("%d examples of %d controls", n, len(now))
	}
	first := now[0]
	text, err := fs.ReadFile(catalog.Controls(), first.File)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := content.Shipped(first.File, bytes.Replace(text, []byte("\ncheck: "), []byte("\ncheck: nothing && "), 1))
	if err != nil {
		t.Fatal(err)
	}
	if broken.Compile() == nil {
		t.Error("it compiles")
	}
	out := broken.Judge(subject(t, first.Examples.Pass[0]))
	if len(out) != 1 || out[0].Verdict != bulwark.VerdictUnknown {
		t.Errorf("it says %+v", out)
	}
}
