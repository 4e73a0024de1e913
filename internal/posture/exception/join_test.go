package exception

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
)

// place is where a fake origin says that everything of its object stands.
type at string

func (a at) Locate(string) bulwark.Location { return bulwark.Location{File: string(a), Line: 1} }

func objectAt(t *testing.T, file, text string) *inventory.Object {
	t.Helper()
	o, err := inventory.New([]byte(text), at(file))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// failing gives a report in which control probe fails on each object.
func failing(objects ...*inventory.Object) *posture.Report {
	rep := &posture.Report{Tallies: []posture.Tally{{Meta: control.Meta{ID: "probe"}, Fail: len(objects)}}}
	for i, o := range objects {
		rep.Findings = append(rep.Findings, bulwark.Finding{
			Control: "probe", Object: o.ObjectRef, Verdict: bulwark.VerdictFail, Severity: bulwark.SeverityHigh,
			Location: o.Locate(""), Fingerprint: fmt.Sprintf("%s#%d", o, i),
		})
	}
	return rep
}

// verdicts lists what a report says after the exceptions.
func verdicts(rep *posture.Report) []string {
	var out []string
	for _, f := range rep.Findings {
		out = append(out, fmt.Sprintf("%s %s: %s", f.Control, f.Object, f.Verdict))
	}
	return out
}

func snapshot(objects ...*inventory.Object) *inventory.Snapshot {
	return inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil)
}

func scanned(namespace, spec string) string {
	return `{"apiVersion":"bulwark.dev/v1alpha1","kind":"PostureException","metadata":{"name":"e"` + namespace + `},"spec":{"controls":["probe"],
		"objects":[` + spec + `],"owner":"a","reason":"b","expires":"2027-01-01"}}`
}

func deployment(namespace, more string) string {
	if namespace != "" {
		namespace = `"namespace":"` + namespace + `",`
	}
	return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{` + namespace + `"name":"web"` + more + `}}`
}

const annotatedProbe = `,"annotations":{"bulwark.dev/except.probe":"team-a; until 2027-01-31; why"}`

// Among what is judged, an exception covers its own namespace; without one, what has
// none. It never covers all of them.
func TestScannedNamespace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, exception, object, want string }{
		{"without one, object with one", scanned("", `{"name":"web"}`), deployment("shop", ""), "fail"},
		{"without one, object without one", scanned("", `{"name":"web"}`), deployment("", ""), "excepted"},
		{"same", scanned(`,"namespace":"shop"`, `{"name":"web"}`), deployment("shop", ""), "excepted"},
		{"everything of the same", scanned(`,"namespace":"shop"`, `{}`), deployment("shop", ""), "excepted"},
		{"another that the selector names", scanned(`,"namespace":"bank"`, `{"name":"web","namespace":"shop"}`), deployment("shop", ""), "fail"},
		{"another, everything", scanned(`,"namespace":"bank"`, `{"namespace":"*"}`), deployment("shop", ""), "fail"},
		{"object of the cluster", scanned(`,"namespace":"shop"`, `{"name":"web"}`), strings.Replace(deployment("", ""), "Deployment", "ClusterRole", 1), "fail"},
	} {
		o := object(t, tt.object)
		snap := snapshot(object(t, tt.exception), o)
		rep := Join([]Part{Of(snap, failing(o))}, nil, Options{Now: today()})
		if got := rep.Findings[0].Verdict.String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// "Any namespace" is no word about objects that have none.
func TestNamespaceOfNone(t *testing.T) {
	t.Parallel()
	given, err := Parse("f.yaml", []byte(spec("e", "  controls: [probe]\n  objects: [{namespace: '*', name: web}]\n"+answer)))
	if err != nil {
		t.Fatal(err)
	}
	wide, inside := object(t, strings.Replace(deployment("", ""), "Deployment", "ClusterRole", 1)), object(t, deployment("shop", ""))
	rep := Join([]Part{Of(snapshot(wide, inside), failing(wide, inside))}, given, Options{Now: today()})
	want := []string{"probe ClusterRole web: fail", "probe Deployment shop/web: excepted"}
	if diff := cmp.Diff(want, verdicts(rep)); diff != "" {
		t.Error(diff)
	}
}

// What one overlay excepts fails in another that does not, though both have objects
// of the same names.
func TestPartsAreApart(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{"annotation": annotatedProbe, "label": `,"labels":{"team":"a"}`} {
		for _, order := range []string{"development first", "production first"} {
			given, err := Parse("f.yaml", []byte(spec("e", "  controls: [probe]\n  objects: [{labels: {team: a}}]\n"+answer)))
			if err != nil {
				t.Fatal(err)
			}
			dev, prod := objectAt(t, "base.yaml", deployment("shop", more)), objectAt(t, "base.yaml", deployment("shop", ""))
			parts := []Part{Of(snapshot(dev), failing(dev)), Of(snapshot(prod), failing(prod))}
			if order == "production first" {
				parts[0], parts[1] = parts[1], parts[0]
			}
			rep := Join(parts, given, Options{Now: today()})
			if rep.Findings[0].Verdict != bulwark.VerdictFail {
				t.Errorf("%s, %s: %v", name, order, verdicts(rep))
			}
			if tl := rep.Tallies[len(rep.Tallies)-1]; tl.ID != "probe" || tl.Fail != 1 || tl.Excepted != 1 {
				t.Errorf("%s, %s: %+v", name, order, tl)
			}
			for _, f := range rep.Findings[1:] {
				if f.Control != idUnused || name == "label" {
					t.Errorf("%s, %s: %s", name, order, f.Message)
				}
			}
		}
	}
}

// The same exception in two overlays is told of once, and used if it is in one.
func TestPartsShareExceptions(t *testing.T) {
	t.Parallel()
	text := scanned(`,"namespace":"shop"`, `{"name":"web"}`)
	web := object(t, deployment("shop", ""))
	used := Join([]Part{Of(snapshot(object(t, text), web), failing(web)), Of(snapshot(object(t, text)), failing())}, nil, Options{Now: today()})
	if diff := cmp.Diff([]string{"probe Deployment shop/web: excepted"}, verdicts(used)); diff != "" {
		t.Error(diff)
	}
	idle := Join([]Part{Of(snapshot(object(t, text)), failing()), Of(snapshot(object(t, text)), failing())}, nil, Options{Now: today()})
	if diff := cmp.Diff([]string{"exception-unused PostureException shop/e: fail"}, verdicts(idle)); diff != "" {
		t.Error(diff)
	}
}

// A finding that stands for several pods of one owner is excepted when all of them
// are.
func TestSharedFinding(t *testing.T) {
	t.Parallel()
	pod := func(name, more string) *inventory.Object {
		return object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"`+name+`"`+more+`}}`)
	}
	for _, tt := range []struct {
		name         string
		first, other *inventory.Object
		given        string
		want         string
	}{
		{"annotation of one", pod("web-1", annotatedProbe), pod("web-2", ""), "", "fail"},
		{"annotation of both", pod("web-1", annotatedProbe), pod("web-2", annotatedProbe), "", "excepted"},
		{"name of one", pod("web-1", ""), pod("web-2", ""), "{name: web-1}", "fail"},
		{"name of both", pod("web-1", ""), pod("web-2", ""), "{name: web-*}", "excepted"},
		{"label of one", pod("web-1", `,"labels":{"a":"b"}`), pod("web-2", ""), "{labels: {a: b}}", "fail"},
	} {
		rep := failing(tt.first)
		rep.Shared = map[string][]bulwark.ObjectRef{rep.Findings[0].Fingerprint: {tt.other.ObjectRef}}
		var given []*PostureException
		if tt.given != "" {
			var err error
			if given, err = Parse("f.yaml", []byte(spec("e", "  controls: [probe]\n  objects: ["+tt.given+"]\n"+answer))); err != nil {
				t.Fatal(err)
			}
		}
		out := Join([]Part{Of(snapshot(tt.first, tt.other), rep)}, given, Options{Now: today()})
		if diff := cmp.Diff([]string{"probe Pod shop/web-1: " + tt.want}, verdicts(out)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// A Deployment hands its annotations to its ReplicaSets: nobody can take them away
// there, so they are not told of, and cover all the same.
func TestCopiedAnnotation(t *testing.T) {
	t.Parallel()
	deploy := object(t, deployment("shop", `,"uid":"d"`+annotatedProbe))
	set := func(name, more string) *inventory.Object {
		return object(t, `{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"namespace":"shop","name":"`+name+`",
			"ownerReferences":[{"uid":"d","controller":true}]`+more+`}}`)
	}
	same, own := set("web-1", annotatedProbe), set("web-2", strings.Replace(annotatedProbe, "team-a", "team-b", 1))
	for _, tt := range []struct {
		now  time.Time
		want []string
	}{
		{today(), []string{"probe Deployment shop/web: excepted", "exception-unused ReplicaSet shop/web-2: fail"}},
		{today().AddDate(1, 0, 0), []string{"probe Deployment shop/web: fail", "exception-expired Deployment shop/web: fail", "exception-expired ReplicaSet shop/web-2: fail"}},
	} {
		rep := Join([]Part{Of(snapshot(deploy, same, own), failing(deploy))}, nil, Options{Now: tt.now})
		if diff := cmp.Diff(tt.want, verdicts(rep)); diff != "" {
			t.Error(diff)
		}
	}
	rep := Join([]Part{Of(snapshot(deploy, same), failing(deploy, same))}, nil, Options{Now: today()})
	if diff := cmp.Diff([]string{"probe Deployment shop/web: excepted", "probe ReplicaSet shop/web-1: excepted"}, verdicts(rep)); diff != "" {
		t.Error(diff)
	}
}

// An annotation covers the object that has it, also where several have one name,
// as those that are to get one.
func TestAnnotationOfUnnamed(t *testing.T) {
	t.Parallel()
	job := func(file, more string) *inventory.Object {
		return objectAt(t, file, `{"apiVersion":"batch/v1","kind":"Job","metadata":{"namespace":"shop","generateName":"job-"`+more+`}}`)
	}
	a, b := job("a.yaml", annotatedProbe), job("b.yaml", "")
	rep := Join([]Part{Of(snapshot(a, b), failing(a, b))}, nil, Options{Now: today()})
	if diff := cmp.Diff([]string{"probe Job shop/job-*: excepted", "probe Job shop/job-*: fail"}, verdicts(rep)); diff != "" {
		t.Error(diff)
	}
	broken := strings.Replace(annotatedProbe, "until", "till", 1)
	a, b = job("a.yaml", broken), job("b.yaml", broken)
	rep = Join([]Part{Of(snapshot(a, b), failing())}, nil, Options{Now: today()})
	if len(rep.Findings) != 2 || rep.Findings[0].Fingerprint == rep.Findings[1].Fingerprint {
		t.Errorf("%+v", rep.Findings)
	}
}

// An annotation of a namespace, or of a pod template, is none of what is in it.
func TestAnnotationOfParents(t *testing.T) {
	t.Parallel()
	web := object(t, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"web"},"spec":{"template":{"metadata":{"x":1`+annotatedProbe+`}}}}`)
	ns := object(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"`+annotatedProbe+`}}`)
	rep := Join([]Part{Of(snapshot(web, ns), failing(web))}, nil, Options{Now: today()})
	if diff := cmp.Diff([]string{"probe Deployment shop/web: fail", "exception-unused Namespace shop: fail"}, verdicts(rep)); diff != "" {
		t.Error(diff)
	}
}

// Two exceptions that cover one finding are both of use: neither says that nothing
// fails which it covers.
func TestBothCover(t *testing.T) {
	t.Parallel()
	one := spec("a", "  controls: [probe]\n  objects: [{name: web}]\n"+answer)
	given, err := Parse("f.yaml", []byte(one+"---\n"+strings.Replace(one, "{name: a}", "{name: b}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	web := object(t, deployment("shop", annotatedProbe))
	rep := Join([]Part{Of(snapshot(web), failing(web))}, given, Options{Now: today()})
	if diff := cmp.Diff([]string{"probe Deployment shop/web: excepted"}, verdicts(rep)); diff != "" || rep.Findings[0].Exception != "a" {
		t.Errorf("%s by %q", diff, rep.Findings[0].Exception)
	}
}

// Two of one name are two findings, so that a baseline with the first does not hide
// the second.
func TestSameName(t *testing.T) {
	t.Parallel()
	one := spec("a", "  controls: [probe]\n  objects: [{name: web}]\n"+strings.Replace(answer, "2027", "2020", 1))
	given, err := Parse("f.yaml", []byte(one+"---\n"+one))
	if err != nil {
		t.Fatal(err)
	}
	rep := Join([]Part{{Report: failing()}}, given, Options{Now: today()})
	if len(rep.Findings) != 2 || rep.Findings[0].Fingerprint == rep.Findings[1].Fingerprint {
		t.Errorf("%+v", rep.Findings)
	}
}

// A file of exceptions within the folder that is scanned is not told of twice.
func TestGivenAndScanned(t *testing.T) {
	t.Parallel()
	given, err := Parse("f.yaml", []byte(spec("e", "  controls: [probe]\n  objects: [{name: web}]\n  owner: a\n  reason: b\n  expires: 2027-01-01\n")))
	if err != nil {
		t.Fatal(err)
	}
	web := object(t, deployment("shop", ""))
	rep := Join([]Part{Of(snapshot(object(t, scanned("", `{"name":"web"}`)), web), failing(web))}, given, Options{Now: today()})
	if diff := cmp.Diff([]string{"probe Deployment shop/web: excepted"}, verdicts(rep)); diff != "" {
		t.Error(diff)
	}
}

// Without a clock nothing holds.
func TestNoClock(t *testing.T) {
	t.Parallel()
	web := object(t, deployment("shop", annotatedProbe))
	rep := Join([]Part{Of(snapshot(web), failing(web))}, nil, Options{})
	if diff := cmp.Diff([]string{"probe Deployment shop/web: fail", "exception-expired Deployment shop/web: fail"}, verdicts(rep)); diff != "" {
		t.Error(diff)
	}
}

// JSON may write a character as two escapes, which YAML does not know.
func TestReadJSON(t *testing.T) {
	t.Parallel()
	text := strings.Replace(scanned(`,"namespace":"shop"`, `{"name":"web"}`), `"reason":"b"`, `"reason":"\ud83d\ude00 \/ <b>"`, 1)
	found, invalid := Find(snapshot(object(t, text)))
	if len(found) != 1 || found[0].Spec.Reason != "😀 / <b>" {
		t.Errorf("%+v, %v", found, invalid)
	}
}
