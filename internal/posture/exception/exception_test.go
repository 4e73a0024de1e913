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

const head = "apiVersion: bulwark.dev/v1alpha1\nkind: PostureException\nmetadata: {name: %s}\nspec:\n"

// today is when the tests run.
func today() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func spec(name, body string) string { return fmt.Sprintf(head, name) + body }

const answer = "  owner: team-a\n  reason: the old agent needs it\n  expires: 2027-01-31\n"

func TestParse(t *testing.T) {
	t.Parallel()
	objects := "  objects: [{kind: Deployment, name: web}]\n  controls: [container-privileged]\n"
	tests := []struct {
		name, text, want string // want: part of the error, "" = reads
	}{
		{"whole", spec("a", objects+answer), ""},
		{"moment", spec("a", objects+strings.Replace(answer, "2027-01-31", `"2027-01-31T10:00:00+02:00"`, 1)), ""},
		{"two", spec("a", objects+answer) + "---\n" + spec("b", objects+answer), ""},
		{"nothing", "# only a comment\n", "no PostureException"},
		{"no owner", spec("a", objects+strings.Replace(answer, "team-a", `" "`, 1)), "owner"},
		{"no reason", spec("a", objects+strings.Replace(answer, "  reason: the old agent needs it\n", "", 1)), "reason"},
		{"no expiry", spec("a", objects+strings.Replace(answer, "  expires: 2027-01-31\n", "", 1)), "expires"},
		{"no day", spec("a", objects+strings.Replace(answer, "2027-01-31", "2027-02-30", 1)), "expires"},
		{"words", spec("a", objects+strings.Replace(answer, "2027-01-31", "never", 1)), "expires"},
		{"no controls", spec("a", "  objects: [{kind: Deployment}]\n"+answer), "spec.controls"},
		{"no objects", spec("a", "  controls: [a]\n"+answer), "spec.objects"},
		{"misspelt", spec("a", objects+answer+"  ower: x\n"), "ower"},
		{"misspelt selector", spec("a", "  controls: [a]\n  objects: [{knd: Pod}]\n"+answer), "knd"},
		{"other kind", strings.Replace(spec("a", objects+answer), "PostureException", "Pod", 1), "not a PostureException"},
		{"other version", strings.Replace(spec("a", objects+answer), "v1alpha1", "v9", 1), "not a PostureException"},
		{"no name", strings.Replace(spec("a", objects+answer), "{name: a}", "{}", 1), "metadata.name"},
		{"no yaml", "\t:", "document 1"},
		{"list", "[1]", "not a PostureException"},
		{"second is broken", spec("a", objects+answer) + "---\nkind: PostureException\n", "PostureException"},
		{"bomb", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n", "not a PostureException"},
	}
	for _, tt := range tests {
		_, err := Parse("f.yaml", []byte(tt.text))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "f.yaml")):
			t.Errorf("%s: error %v, want one with %q and the file", tt.name, err, tt.want)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"web", "web", true},
		{"web", "webs", false},
		{"web*", "web", true},
		{"web-*", "web-1", true},
		{"*-db", "a-db", true},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "aXcYb", false},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"**", "x", true},
		{"spec.containers[*].image", "spec.containers[12].image", true},
		{"spec.containers[*].image", "spec.containers[12].name", false},
		{"spec.containers[*].image", "spec.containers[1].env[2].image", false}, // one index
		{"spec.containers[*].*", "spec.containers[1].env[2].image", true},
		{"a[*][*]", "a[1][22]", true},
		{"a[*]", "a[]", false},
		{"a[*]", "a[\"b.c\"]", true},
		{"*[*].x", "a[1].b[2].x", true},
		{"a[*", "a[1]", true},
		{strings.Repeat("a*", 50) + "b", strings.Repeat("a", 5000), false}, // no blow-up
	}
	for _, tt := range tests {
		if got := match(tt.pattern, tt.text); got != tt.want {
			t.Errorf("match(%.30q, %.30q) = %t", tt.pattern, tt.text, got)
		}
	}
}

func object(t *testing.T, text string) *inventory.Object {
	t.Helper()
	o, err := inventory.New([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var web = bulwark.ObjectRef{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web"}

func finding(id, field, container string, v bulwark.Verdict) bulwark.Finding {
	return bulwark.Finding{Control: id, Object: web, Field: field, Container: container, Verdict: v, Severity: bulwark.SeverityHigh, Fingerprint: id + field + container}
}

// report has one control with two failing fields and one with a failing object.
func report() *posture.Report {
	return &posture.Report{
		Findings: []bulwark.Finding{
			finding("privileged", "spec.containers[0].x", "api", bulwark.VerdictFail),
			finding("privileged", "spec.containers[1].x", "log", bulwark.VerdictFail),
			finding("probe", "", "", bulwark.VerdictFail),
			finding("blind", "", "", bulwark.VerdictUnknown),
		},
		Tallies: []posture.Tally{
			{Meta: control.Meta{ID: "blind"}, Unknown: 1},
			{Meta: control.Meta{ID: "privileged"}, Fail: 1, Pass: 4},
			{Meta: control.Meta{ID: "probe"}, Fail: 1},
		},
	}
}

// told gives what stands in a report after the exceptions, by control and field.
func told(rep *posture.Report) []string {
	var out []string
	for _, f := range rep.Findings {
		if f.Verdict == bulwark.VerdictExcepted || strings.HasPrefix(f.Control, "exception-") {
			out = append(out, strings.TrimSpace(f.Control+" "+f.Field+" "+f.Exception))
		}
	}
	return out
}

func TestApply(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"team": "a"}
	tests := []struct {
		name, body string
		want       []string
		fail       int // of control privileged, afterwards
	}{
		{"one field", "  controls: [privileged]\n  objects: [{kind: Deployment, namespace: shop, name: web}]\n  fields: ['spec.containers[1].*']\n" + answer, []string{"privileged spec.containers[1].x e"}, 1},
		{"one container", "  controls: [privileged]\n  objects: [{name: web}]\n  containers: [api]\n" + answer, []string{"privileged spec.containers[0].x e"}, 1},
		{"all of one object", "  controls: [privileged, probe]\n  objects: [{name: 'w*'}]\n" + answer, []string{"privileged spec.containers[0].x e", "privileged spec.containers[1].x e", "probe  e"}, 0},
		{"by label", "  controls: [probe]\n  objects: [{labels: {team: a}}]\n" + answer, []string{"probe  e"}, 1},
		{"by another label", "  controls: [probe]\n  objects: [{labels: {team: b}}]\n" + answer, []string{"exception-unused"}, 1},
		{"a namespace", "  controls: [probe]\n  objects: [{namespace: shop}]\n" + answer, []string{"probe  e"}, 1},
		{"another namespace", "  controls: [probe]\n  objects: [{namespace: bank}]\n" + answer, []string{"exception-unused"}, 1},
		{"unknown is not excepted", "  controls: [blind]\n  objects: [{name: web}]\n" + answer, nil, 1},
		{"expired", "  controls: [probe]\n  objects: [{name: web}]\n" + strings.Replace(answer, "2027-01-31", "2026-11-20", 1), []string{"exception-expired"}, 1},
		{"last day", "  controls: [probe]\n  objects: [{name: web}]\n" + strings.Replace(answer, "2027-01-31", "2026-11-21", 1), []string{"probe  e"}, 1},
		{"every object", "  controls: [probe]\n  objects: [{}]\n" + answer, []string{"exception-too-broad"}, 1},
		{"every name", "  controls: [probe]\n  objects: [{name: '*', namespace: '**'}]\n" + answer, []string{"exception-too-broad"}, 1},
		{"every Deployment", "  controls: [probe]\n  objects: [{kind: Deployment}]\n" + answer, []string{"exception-too-broad"}, 1},
		{"every control", "  controls: ['*']\n  objects: [{name: web}]\n" + answer, []string{"exception-too-broad"}, 1},
		{"hidden among others", "  controls: [probe]\n  objects: [{name: web}, {kind: Pod}]\n" + answer, []string{"exception-too-broad"}, 1},
		{"no such control", "  controls: [prob]\n  objects: [{name: web}]\n" + answer, []string{"exception-unused"}, 1},
		{"did not run", "  controls: [asleep]\n  objects: [{name: web}]\n" + answer, nil, 1},
		{"not exceptable", "  controls: [never]\n  objects: [{name: web}]\n" + answer, []string{"exception-unused"}, 1},
		{"itself", "  controls: [exception-too-broad]\n  objects: [{name: '*x'}]\n" + answer, []string{"exception-unused"}, 1},
		{"last moment", "  controls: [probe]\n  objects: [{name: web}]\n" + strings.Replace(answer, "2027-01-31", "2026-11-21T12:00:00Z", 1), []string{"exception-expired"}, 1},
		{"moment elsewhere", "  controls: [probe]\n  objects: [{name: web}]\n" + strings.Replace(answer, "2027-01-31", "2026-11-21T12:30:00+01:00", 1), []string{"exception-expired"}, 1},
		{"kind in other letters", "  controls: [probe]\n  objects: [{kind: deployment, name: web}]\n" + answer, []string{"exception-unused"}, 1},
	}
	for _, tt := range tests {
		e, err := Parse("f.yaml", []byte(spec("e", tt.body)))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		rep := report()
		Apply(rep, func(bulwark.ObjectRef) map[string]string { return labels }, e, nil, Options{
			Now: today(), Never: []string{"never"}, Known: func(id string) bool { return id != "prob" },
		})
		if diff := cmp.Diff(tt.want, told(rep)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
		for _, tl := range rep.Tallies {
			if tl.ID == "privileged" && (tl.Fail != tt.fail || tl.Excepted != 1-tt.fail || tl.Pass != 4) {
				t.Errorf("%s: tally %+v, want %d failing", tt.name, tl, tt.fail)
			}
		}
	}
}

// An exception of one namespace covers nothing of another.
func TestNamespaced(t *testing.T) {
	t.Parallel()
	text := strings.Replace(spec("e", "  controls: [probe]\n  objects: [{name: web}]\n"+answer), "{name: e}", "{name: e, namespace: bank}", 1)
	e, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rep := report()
	Apply(rep, func(bulwark.ObjectRef) map[string]string { return nil }, e, nil, Options{Now: today()})
	if diff := cmp.Diff([]string{"exception-unused"}, told(rep)); diff != "" {
		t.Error(diff)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	annotated := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"shop","name":"web","annotations":{
		"bulwark.dev/except.privileged":"team-a; until 2027-01-31; needs ; the device",
		"bulwark.dev/except.probe":"team-a, forever",
		"bulwark.dev/except.":"team-a; until 2027-01-31; x",
		"bulwark.dev/except.number":7,
		"bulwark.dev/except.owner":"; until 2027-01-31; x",
		"bulwark.dev/except.until":"team-a; 2027-01-31; x"}}}`
	inCluster := `{"apiVersion":"bulwark.dev/v1alpha1","kind":"PostureException","metadata":{"namespace":"bank","name":"e","uid":"1","managedFields":[]},
		"spec":{"controls":["probe"],"objects":[{"name":"*"}],"owner":"a","reason":"b","expires":"2027-01-01"}}`
	broken := `{"apiVersion":"bulwark.dev/v1alpha1","kind":"PostureException","metadata":{"namespace":"bank","name":"f"},"spec":{}}`
	mention := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"bulwark.dev/except.x"}}`
	snap := inventory.NewSnapshot([]*inventory.Object{object(t, annotated), object(t, inCluster), object(t, broken), object(t, mention)}, inventory.Facts{}, nil, nil)
	found, invalid := Find(snap)
	var names, wrong []string
	for _, e := range found {
		names = append(names, e.Name()+": "+strings.Join(e.Spec.Controls, " "))
	}
	for _, i := range invalid {
		wrong = append(wrong, i.Object.String()+" "+i.Field)
	}
	if diff := cmp.Diff([]string{"bank/e: probe", "annotation of Deployment shop/web: privileged"}, names); diff != "" {
		t.Error(diff)
	}
	const at = "Deployment shop/web metadata.annotations"
	want := []string{
		"PostureException bank/f ", at + `["bulwark.dev/except."]`, at + `["bulwark.dev/except.number"]`,
		at + `["bulwark.dev/except.owner"]`, at + `["bulwark.dev/except.probe"]`, at + `["bulwark.dev/except.until"]`,
	}
	if diff := cmp.Diff(want, wrong); diff != "" {
		t.Error(diff)
	}
	rep := report()
	Apply(rep, func(bulwark.ObjectRef) map[string]string { return nil }, found, invalid, Options{Now: today()})
	n := map[string]int{}
	for _, f := range told(rep) {
		name, _, _ := strings.Cut(f, " ")
		n[name]++
	}
	// That of the namespace bank covers nothing in the namespace shop.
	if diff := cmp.Diff(map[string]int{"privileged": 2, "exception-invalid": 6, "exception-unused": 1}, n); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(spec("a", "  objects: [{kind: Deployment, name: web}]\n  controls: [x]\n"+answer))
	f.Add("---\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Parse("f", []byte(text))
		for _, e := range all {
			if err == nil && (e.Spec.Owner == "" || e.Spec.Reason == "" || e.expires.IsZero()) {
				t.Errorf("reads without owner, reason or expiry: %q", text)
			}
		}
	})
}

func FuzzAnnotation(f *testing.F) {
	f.Add("team-a; until 2027-01-31; why")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := annotation("x", text)
		if err == nil && (e.Spec.Owner == "" || e.Spec.Reason == "" || e.expires.IsZero()) {
			t.Errorf("reads without owner, reason or expiry: %q", text)
		}
	})
}
