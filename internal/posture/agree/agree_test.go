// Package agree compares Bulwark's controls with the test cases of another
// scanner's rules: on which objects they find something. Those cases are an opinion
// and not the truth, so each one that we see differently stands in
// testdata/disagreements.yaml with the reason.
package agree

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
	"bulwark.dev/bulwark/internal/posture/leak"
)

// rule says which of our controls answer for one rule of the corpus; the form is
// told in testdata/rules.yaml.
type rule struct {
	Rule     string            `yaml:"rule"`
	Controls []string          `yaml:"controls"`
	All      bool              `yaml:"all"`
	Kinds    []string          `yaml:"kinds"`
	Settings map[string]string `yaml:"settings"`
	None     string            `yaml:"none"`
}

// disagreement is a case that we see differently, and why.
type disagreement struct {
	Case string   `yaml:"case"`
	They []string `yaml:"they"`
	We   []string `yaml:"we"`
	Why  string   `yaml:"why"`
}

func readYAML[T any](t *testing.T, name string) []T {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	var out []T
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// judges are all our controls by id.
type judges struct {
	single map[string]control.Single
	joint  map[string]graph.Check
}

func controls(t *testing.T) judges {
	t.Helper()
	j := judges{map[string]control.Single{}, map[string]graph.Check{}}
	all, err := content.Load(catalog.Controls())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		j.single[c.ID] = c
	}
	for _, c := range leak.Controls() {
		j.single[c.Meta().ID] = c
	}
	for _, c := range graph.Checks() {
		j.joint[c.ID] = c
	}
	return j
}

// found are the objects that a control fails on, each with the fields.
type found map[string][]string

// run gives what one control finds in a case. Objects of one name are judged each
// for itself by what looks at one object.
func (j judges) run(t *testing.T, id string, c *testCase, r *rule) found {
	t.Helper()
	out := found{}
	note := func(o *inventory.Object, res control.Result) {
		if res.Verdict == bulwark.VerdictFail && o != nil {
			key := o.Kind + " " + o.Name
			out[key] = append(out[key], res.Field)
		}
	}
	if check, ok := j.joint[id]; ok {
		ix := graph.NewIndex(inventory.NewSnapshot(c.objects, inventory.Facts{}, nil, nil))
		ix.Now = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		check.Judge(ix, note)
		return out
	}
	s, ok := j.single[id]
	if !ok {
		t.Fatalf("rule %s: there is no control %q", r.Rule, id)
	}
	if setting, ok := r.Settings[id]; ok {
		s = with(t, s, c.settings[setting])
	}
	for _, o := range c.objects {
		subject, err := control.NewSubject(o)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if !s.Applies(subject) {
			continue
		}
		for _, res := range s.Judge(subject) {
			note(o, res)
		}
	}
	return out
}

// with gives a control with the one list that it takes as a parameter.
func with(t *testing.T, s control.Single, value any) control.Single {
	t.Helper()
	c, ok := s.(*content.Control)
	if !ok || len(c.Parameters) != 1 {
		t.Fatalf("%s does not have one parameter", s.Meta().ID)
	}
	for name := range c.Parameters {
		changed, err := c.With(map[string]any{name: value})
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	return nil
}

// judge gives what the controls of a rule find in a case.
func (j judges) judge(t *testing.T, c *testCase, r *rule) found {
	t.Helper()
	var out found
	for i, id := range r.Controls {
		more := j.run(t, id, c, r)
		if r.All && i > 0 {
			maps.DeleteFunc(out, func(key string, _ []string) bool { _, ok := more[key]; return !ok })
			continue
		}
		if out == nil {
			out = found{}
		}
		for key, fields := range more {
			out[key] = append(out[key], fields...)
		}
	}
	maps.DeleteFunc(out, func(key string, _ []string) bool { return !r.compares(key) })
	return out
}

// compares reports whether objects of the kind are compared.
func (r *rule) compares(key string) bool {
	kind, _, _ := strings.Cut(key, " ")
	return len(r.Kinds) == 0 || slices.Contains(r.Kinds, kind)
}

// want gives what the corpus expects, with the paths.
func (c *testCase) want(r *rule) found {
	out := found{}
	for _, a := range c.expected {
		for _, key := range a.objects() {
			if r.compares(key) && (a.Object.External.Kind == "" || len(r.Kinds) > 0 || key == a.Object.External.key()) {
				out[key] = append(out[key], a.FailedPaths...)
			}
		}
	}
	return out
}

// score counts agreement.
type score struct{ cases, agreed, objects, objectsAgreed, bothFail, bothPass, paths, pathsFound int }

func (s *score) add(o score) {
	s.cases += o.cases
	s.agreed += o.agreed
	s.objects += o.objects
	s.objectsAgreed += o.objectsAgreed
	s.bothFail += o.bothFail
	s.bothPass += o.bothPass
	s.paths += o.paths
	s.pathsFound += o.pathsFound
}

func percent(of, all int) float64 { return 100 * float64(of) / float64(max(all, 1)) }

func (s *score) String() string {
	text := fmt.Sprintf("cases %d/%d, objects %d/%d", s.agreed, s.cases, s.objectsAgreed, s.objects)
	if s.paths > 0 {
		text += fmt.Sprintf(", paths %d/%d", s.pathsFound, s.paths)
	}
	return text
}

// compare scores one case.
func compare(c *testCase, r *rule, want, got found) score {
	s := score{cases: 1}
	names := map[string]bool{}
	for _, o := range c.objects {
		if key := o.Kind + " " + o.Name; r.compares(key) {
			names[key] = true
		}
	}
	for _, f := range []found{want, got} {
		for key := range f {
			names[key] = true
		}
	}
	for key := range names {
		paths, expected := want[key]
		fields, is := got[key]
		s.objects++
		if expected == is {
			s.objectsAgreed++
		}
		if !expected && !is {
			s.bothPass++
		}
		if !expected || !is {
			continue
		}
		s.bothFail++
		for _, p := range paths {
			if strings.HasPrefix(p, "relatedObjects") {
				continue // of a subject that the corpus makes up
			}
			s.paths++
			if slices.ContainsFunc(fields, func(f string) bool { return near(p, f) }) {
				s.pathsFound++
			}
		}
	}
	if s.objects == s.objectsAgreed {
		s.agreed = 1
	}
	return s
}

// keyForm is a key in brackets, quoted or not.
var keyForm = regexp.MustCompile(`\["?([^]"0-9][^]"]*)"?\]`)

// near reports whether two paths are the same, or one is within the other: one
// scanner names the list and the other its element.
func near(a, b string) bool {
	a, b = keyForm.ReplaceAllString(a, ".$1"), keyForm.ReplaceAllString(b, ".$1")
	return a == b || b == "" || strings.HasPrefix(a, b) && strings.ContainsRune(".[", rune(a[len(b)])) ||
		strings.HasPrefix(b, a) && strings.ContainsRune(".[", rune(b[len(a)]))
}

// TestAgreement runs every case of every rule that we cover.
func TestAgreement(t *testing.T) {
	t.Parallel()
	rules := readYAML[rule](t, "testdata/rules.yaml")
	listed := readYAML[disagreement](t, "testdata/disagreements.yaml")
	ours, cases := controls(t), corpus(t)
	known := map[string]*rule{}
	for i, r := range rules {
		if (len(r.Controls) == 0) == (r.None == "") || known[r.Rule] != nil {
			t.Errorf("rules.yaml: %s needs either controls or the reason why there are none, once", r.Rule)
		}
		known[r.Rule] = &rules[i]
	}
	var total score
	scores := map[string]*score{}
	all := map[string]bool{}
	for _, c := range cases {
		all[c.rule] = true
		r := known[c.rule]
		if r == nil {
			t.Errorf("rules.yaml says nothing of %s", c.rule)
			continue
		}
		if r.None != "" {
			continue
		}
		want, got := c.want(r), ours.judge(t, c, r)
		s := compare(c, r, want, got)
		total.add(s)
		if scores[r.Rule] == nil {
			scores[r.Rule] = &score{}
		}
		scores[r.Rule].add(s)
		check(t, c, s, listed, want, got)
	}
	for name := range known {
		if !all[name] {
			t.Errorf("rules.yaml: the corpus has no rule %s", name)
		}
	}
	for _, d := range listed {
		if !slices.ContainsFunc(cases, func(c *testCase) bool { return c.String() == d.Case }) {
			t.Errorf("disagreements.yaml: there is no case %s", d.Case)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(scores)) {
		t.Logf("%-100s %s", name, scores[name])
	}
	t.Logf("%d of %d rules are covered, with %d of %d cases: %s", len(scores), len(all), total.cases, len(cases), &total)
	t.Logf("agreement: cases %.1f %%, objects %.1f %% (%d wrong and %d right on both sides), paths %.1f %%", percent(total.agreed, total.cases),
		percent(total.objectsAgreed, total.objects), total.bothFail, total.bothPass, percent(total.pathsFound, total.paths))
	if len(all) != 108 || len(cases) != 378 {
		t.Errorf("the corpus has %d rules and %d cases, not 108 and 378", len(all), len(cases))
	}
	if total.bothFail < 200 || total.bothPass < 80 {
		t.Errorf("both sides find %d objects wrong and %d right: no proof both ways", total.bothFail, total.bothPass)
	}
	if len(scores) < 80 || len(scores) > len(rules) {
		t.Errorf("%d rules are covered, fewer than 80", len(scores))
	}
	if p := percent(total.agreed, total.cases); p < 95 {
		t.Errorf("we agree on %.1f %% of the cases, fewer than 95 %%", p)
	}
}

// check compares a case with the list of disagreements.
func check(t *testing.T, c *testCase, s score, listed []disagreement, want, got found) {
	t.Helper()
	they, we := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))
	i := slices.IndexFunc(listed, func(d disagreement) bool { return d.Case == c.String() })
	switch {
	case i < 0 && s.agreed == 0:
		t.Errorf("%s: they find %q, we find %q; list it in disagreements.yaml with the reason, or mend the control", c, they, we)
	case i < 0:
	case s.agreed == 1:
		t.Errorf("disagreements.yaml: we agree on %s now: take it off the list", c)
	case !slices.Equal(listed[i].They, they) || !slices.Equal(listed[i].We, we):
		t.Errorf("disagreements.yaml: in %s they find %q and we find %q now", c, they, we)
	case len(strings.Fields(listed[i].Why)) < 5:
		t.Errorf("disagreements.yaml: %s has no reason", c)
	}
}
