package output

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/framework"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txtar")

func ref(kind, ns, name string) bulwark.ObjectRef {
	return bulwark.ObjectRef{APIVersion: "apps/v1", Kind: kind, Namespace: ns, Name: name}
}

// usual is a small scan as people have it.
func usual() Input {
	privileged := control.Meta{
		ID: "container-privileged", Title: "Container runs privileged", Severity: bulwark.SeverityCritical, Category: "pods",
		Why: "Whoever breaks it owns the node.", Remediation: "Take privileged away.", References: []string{"https://kubernetes.io/docs/"},
	}
	probe := control.Meta{ID: "liveness-probe-missing", Title: "Container has no liveness probe", Severity: bulwark.SeverityLow, Category: "probes", Why: "It hangs.", Remediation: "Set one."}
	secrets := control.Meta{ID: "secrets-listed", Title: "Secrets can be listed", Severity: bulwark.SeverityMedium, Category: "rbac", Why: "They hold keys.", Remediation: "Narrow the role."}
	quiet := control.Meta{ID: "host-pid", Title: "Pod sees all processes of its node", Severity: bulwark.SeverityHigh, Category: "pods", Why: "It sees all.", Remediation: "Take it away."}
	find := func(m control.Meta, v bulwark.Verdict, o bulwark.ObjectRef, field, container, message string, line int) bulwark.Finding {
		return bulwark.Finding{
			Control: m.ID, Title: m.Title, Severity: m.Severity, Verdict: v, Object: o, Field: field, Container: container, Message: message,
			Remediation: m.Remediation, Fingerprint: fmt.Sprintf("%s-%s-%s", m.ID, o.Name, container), Location: bulwark.Location{File: "deploy/web app.yaml", Line: line, Column: 9},
		}
	}
	web := ref("Deployment", "shop", "web")
	f1 := find(privileged, bulwark.VerdictFail, web, "spec.template.spec.containers[0].securityContext.privileged", "api", `container "api" sets privileged: true`, 14)
	f1.Fix = []bulwark.Edit{{Field: f1.Field, Value: false}}
	f2 := find(privileged, bulwark.VerdictFail, web, "spec.template.spec.containers[1].securityContext.privileged", "log", `container "log" sets privileged: true`, 22)
	f3 := find(privileged, bulwark.VerdictExcepted, ref("DaemonSet", "kube-system", "agent"), "spec.template.spec.containers[0].securityContext.privileged", "agent", `container "agent" sets privileged: true`, 3)
	f3.Exception, f3.Reason = "agents", "needs the devices (team-node, until 2027-01-31)"
	f4 := find(probe, bulwark.VerdictFail, web, "spec.template.spec.containers[0].livenessProbe", "api", `container "api" has no livenessProbe`, 12)
	f5 := find(secrets, bulwark.VerdictUnknown, bulwark.ObjectRef{}, "", "", "cannot be judged: no permission to list roles", 0)
	f5.Location, f5.Reason = bulwark.Location{}, "no permission to list roles"
	f6 := find(secrets, bulwark.VerdictFail, bulwark.ObjectRef{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "reader"}, "rules[0]", "", "may list secrets in every namespace", 0)
	f6.Location, f6.Related = bulwark.Location{}, []bulwark.ObjectRef{ref("ServiceAccount", "shop", "web")}
	rep := &posture.Report{
		Findings: []bulwark.Finding{f1, f2, f3, f6, f5, f4}, Objects: 7, Facts: inventory.Facts{Version: "v1.34.1"},
		Tallies: []posture.Tally{
			{Meta: privileged, Fail: 1, Excepted: 1, Pass: 2},
			{Meta: quiet, Pass: 4},
			{Meta: probe, Fail: 1, Pass: 3},
			{Meta: secrets, Fail: 1, Unknown: 1, Reasons: []string{"no permission to list roles"}},
		},
		Unreadable: []inventory.Unreadable{{Group: "rbac.authorization.k8s.io", Kind: "Role", Namespace: "bank", Reason: "no permission to list roles"}},
		Problems:   []inventory.Problem{{Location: bulwark.Location{File: "deploy/broken.yaml", Line: 3}, What: "line 3: mapping values are not allowed"}},
	}
	fw := &framework.Framework{ID: "cis-2.0.1", Title: "CIS Kubernetes Benchmark", Version: "2.0.1", Requirements: []framework.Requirement{
		{ID: "5.2.2", Title: "No privileged containers", Level: 1, Automatable: true, Controls: []framework.Mapping{{ID: "container-privileged", Evidence: framework.Detects, Scope: framework.Full, Why: "w"}}},
		{ID: "5.2.3", Title: "No sharing of processes", Automatable: true, Controls: []framework.Mapping{{ID: "host-pid", Evidence: framework.Detects, Scope: framework.Full, Why: "w"}}},
		{ID: "1.1.1", Title: "Permissions of files"},
	}}
	return Input{
		Tool: Tool{"bulwark", "v1.2.3"}, Time: time.Date(2026, 11, 21, 12, 0, 0, 5, time.UTC), Inputs: []string{"deploy"}, Report: rep, Findings: rep.Findings,
		Frameworks: []framework.Coverage{framework.Assess(fw, rep.Tallies)},
		Exposed: func(o bulwark.ObjectRef) string {
			if o == web {
				return "LoadBalancer web"
			}
			return ""
		},
		Compared: true, Known: 2, Fixed: 1,
	}
}

// evil is in every text of the hostile scan.
const evil = "</script><script>alert(1)</script>]]>\x1b[2J\x07\r\n`| a,b;\"'&<!-- {{x}} #1 @all [x](javascript:y) \u202e\u200b\u2028 é世 \xff$(id)"

func hostile() Input {
	in := usual()
	rep := in.Report
	m := control.Meta{ID: evil, Title: evil, Severity: bulwark.SeverityHigh, Category: evil, Why: evil, Remediation: evil, References: []string{"javascript:alert(1)", evil}}
	o := bulwark.ObjectRef{APIVersion: evil, Kind: evil, Namespace: evil, Name: evil}
	for _, v := range []bulwark.Verdict{bulwark.VerdictFail, bulwark.VerdictUnknown, bulwark.VerdictExcepted} {
		rep.Findings = append(rep.Findings, bulwark.Finding{
			Control: evil, Title: evil, Severity: bulwark.SeverityHigh, Verdict: v, Object: o, Field: evil, Container: evil,
			Location: bulwark.Location{File: evil, Line: 3}, Message: evil, Remediation: evil, Reason: evil, Related: []bulwark.ObjectRef{o},
			Fingerprint: evil, Exception: evil, Fix: []bulwark.Edit{{Field: evil, Value: evil}},
		})
	}
	rep.Tallies = append(rep.Tallies, posture.Tally{Meta: m, Fail: 1, Reasons: []string{evil}})
	rep.Problems = append(rep.Problems, inventory.Problem{Location: bulwark.Location{File: evil}, What: evil})
	rep.Unreadable = append(rep.Unreadable, inventory.Unreadable{Group: evil, Kind: evil, Namespace: evil, Reason: evil})
	in.Inputs, in.Findings, in.Report = []string{evil}, rep.Findings, rep
	in.Frameworks = append(in.Frameworks, framework.Coverage{ID: evil, Title: evil, Version: evil, Results: []framework.Result{{ID: evil, Title: evil, Controls: []framework.Proof{{ID: evil}}}}})
	in.Exposed = func(bulwark.ObjectRef) string { return evil }
	return in
}

func write(t *testing.T, format string, in Input, opt Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, format, New(in), opt); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	t.Parallel()
	a, err := txtar.ParseFile("testdata/usual.txtar")
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := map[string]string{}
	if a != nil {
		for _, f := range a.Files {
			want[f.Name] = string(f.Data)
		}
	}
	out := &txtar.Archive{Comment: []byte("A small scan in every format; go test -update rewrites it.\n")}
	got := map[string]string{"narrow": write(t, "table", usual(), Options{Width: 60})}
	for _, f := range Formats() {
		got[f] = write(t, f, usual(), Options{})
	}
	delete(got, "html") // its style and script are files of their own: TestHTML looks at it
	for _, f := range append(Formats(), "narrow") {
		text, ok := got[f]
		if !ok {
			continue
		}
		out.Files = append(out.Files, txtar.File{Name: f, Data: []byte(text)})
		if diff := cmp.Diff(want[f], text); diff != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", f, diff)
		}
	}
	if len(got) != 9 {
		t.Errorf("looked at %d formats", len(got))
	}
	if *update {
		if err := os.WriteFile("testdata/usual.txtar", txtar.Format(out), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// No text of the objects breaks a format or reaches a terminal.
func TestHostile(t *testing.T) {
	t.Parallel()
	n := 0
	for _, format := range Formats() {
		text := write(t, format, hostile(), Options{})
		if err := wellFormed(format, text); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		for _, bad := range []string{"\x1b", "\x07", "\u202e", "<script>alert"} {
			if format == "json" || format == "sarif" || format == "ocsf" {
				break // JSON keeps texts, escaped; its reader shows them
			}
			if format == "openmetrics" || format == "policyreport" {
				break // so do labels and YAML
			}
			if strings.Contains(text, bad) && (format != "table" || bad[0] != '<') {
				t.Errorf("%s holds %q", format, bad)
			}
		}
		for i, r := range text {
			if unicode.IsControl(r) && r != '\n' && r != '\t' && format != "openmetrics" {
				t.Errorf("%s: control character %q at %d", format, r, i)
				break
			}
		}
		n++
	}
	if n != 9 {
		t.Errorf("looked at %d formats", n)
	}
}

func wellFormed(format, text string) error {
	switch format {
	case "json", "sarif":
		return json.Unmarshal([]byte(text), new(any))
	case "ocsf":
		for line := range strings.Lines(text) {
			if err := json.Unmarshal([]byte(line), new(any)); err != nil {
				return err
			}
		}
		return nil
	case "junit":
		dec := xml.NewDecoder(strings.NewReader(text))
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	case "openmetrics":
		return openMetricsFormed(text)
	case "policyreport":
		for doc := range strings.SplitSeq(strings.TrimPrefix(text, "---\n"), "\n---\n") {
			var r report
			if err := yaml.UnmarshalStrict([]byte(doc), &r); err != nil {
				return err
			}
			if len(r.Results) == 0 || r.Metadata.Name == "" {
				return errors.New("a report without results or name")
			}
		}
	}
	return nil
}

// openMetricsFormed reads the text with Prometheus' own parser, which knows the
// older form: the end mark is a comment to it.
func openMetricsFormed(text string) error {
	if !strings.HasSuffix(text, "\n# EOF\n") {
		return errors.New("no end mark")
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return err
	}
	if len(families) < 6 {
		return fmt.Errorf("%d families", len(families))
	}
	return nil
}

func TestSchema(t *testing.T) {
	t.Parallel()
	s, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("scan.json", s); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("scan.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(name, text string) error {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return schema.Validate(doc)
	}
	bare := Input{Report: &posture.Report{}}
	for name, in := range map[string]Input{"usual": usual(), "nothing": bare} {
		if err := valid(name, write(t, "json", in, Options{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// It is a schema that refuses.
	text := write(t, "json", usual(), Options{})
	for _, change := range [][2]string{{`"verdict": "fail"`, `"verdict": "bad"`}, {`"control": `, `"rule": `}, {`"score": `, `"score": -`}} {
		if valid(change[0], strings.Replace(text, change[0], change[1], 1)) == nil {
			t.Errorf("%s is accepted", change[1])
		}
	}
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	var log struct {
		Runs []struct {
			Tool    sarifTool
			Results []sarifResult
		}
	}
	if err := json.Unmarshal([]byte(write(t, "sarif", usual(), Options{})), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	var got []string
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule %d is not %s", r.RuleIndex, r.RuleID)
		}
		at := "-"
		if p := r.Locations[0].Physical; p != nil {
			at = fmt.Sprintf("%s:%d:%d", p.Artifact.URI, p.Region.StartLine, p.Region.StartColumn)
		}
		got = append(got, fmt.Sprintf("%s %s %s %s %d", r.RuleID, r.Kind, r.Level, at, len(r.Suppressions)))
	}
	want := []string{
		"container-privileged fail error deploy/web%20app.yaml:14:9 0",
		"container-privileged fail error deploy/web%20app.yaml:22:9 0",
		"container-privileged fail error deploy/web%20app.yaml:3:9 1",
		"secrets-listed fail warning - 0",
		"secrets-listed open none - 0",
		"liveness-probe-missing fail note deploy/web%20app.yaml:12:9 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for file, want := range map[string]string{
		"a.yaml": "a.yaml", "./a b/c#d?.yaml": "a%20b/c%23d%3F.yaml", "/abs/x.yaml": "file:///abs/x.yaml", "a:b.yaml": "a:b.yaml", "../up.yaml": "../up.yaml", "50%.yaml": "50%25.yaml",
	} {
		if got := artifact(file).URI; got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestHTML(t *testing.T) {
	t.Parallel()
	text := write(t, "html", usual(), Options{})
	for _, want := range []string{
		"default-src &#39;none&#39;", `data-sev="critical"`, `data-ns="shop"`, `data-frameworks=" cis-2.0.1 "`, "exposed: LoadBalancer web",
		"<style>" + htmlStyle + "</style>", "<script>" + htmlScript + "</script>", "No privileged containers", "2 known, 1 fixed",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %.60q", want)
		}
	}
	for _, text := range []string{text, write(t, "html", hostile(), Options{})} {
		if n := strings.Count(text, "<script"); n != 1 {
			t.Errorf("%d scripts", n)
		}
		for _, bad := range []string{" src=", "@import", "url(", "<link", "<iframe", "javascript:alert(1)\"", " onclick"} {
			if strings.Contains(text, bad) {
				t.Errorf("the page holds %q", bad)
			}
		}
	}
	many := usual()
	many.Findings = nil
	for i := range maxRows + 7 {
		f := usual().Findings[0]
		f.Object.Name = fmt.Sprint(i)
		many.Findings = append(many.Findings, f)
		if i == 0 {
			many.Exposed = nil
		}
	}
	if text := write(t, "html", many, Options{}); !strings.Contains(text, "7 more findings are not on this page") {
		t.Error("rows beyond the bound are not counted")
	}
}

func TestMarkdownIsBounded(t *testing.T) {
	t.Parallel()
	in := usual()
	for i := range 3000 {
		f := in.Findings[i%2]
		f.Control = fmt.Sprintf("control-%d", i/10)
		f.Object.Name, f.Message = strings.Repeat(evil, 3)+fmt.Sprint(i), strings.Repeat(evil, 20)
		in.Findings = append(in.Findings, f)
		in.Report.Problems = append(in.Report.Problems, inventory.Problem{What: f.Message})
	}
	text := write(t, "markdown", in, Options{})
	if len(text) > 65536 || !strings.Contains(text, "more: the full list does not fit here") {
		t.Errorf("%d bytes, ends %q", len(text), text[max(0, len(text)-100):])
	}
	if strings.Count(text, "<details>") != strings.Count(text, "</details>") {
		t.Error("a fold is not closed")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	text := write(t, "table", usual(), Options{Width: 80, Color: true})
	if !strings.Contains(text, "\x1b[31m") && !strings.Contains(text, "\x1b[1;31m") {
		t.Error("no colour where it was asked for")
	}
	if text := write(t, "table", usual(), Options{Width: 80}); strings.Contains(text, "\x1b") {
		t.Error("colour where it was not asked for")
	}
	in := usual()
	in.Least = bulwark.SeverityHigh
	if text := write(t, "table", in, Options{}); strings.Contains(text, "liveness") || !strings.Contains(text, "container-privileged") {
		t.Error("the least severity is not heeded")
	}
	if d := New(in); d.Summary.Fail["low"] != 1 || d.Summary.Hidden == 0 || len(d.Findings)+d.Summary.Hidden != len(in.Findings) {
		t.Errorf("what is not shown is not counted: %+v", d.Summary)
	}
	none := Input{Report: &posture.Report{Objects: 3}}
	if text := write(t, "table", none, Options{}); !strings.Contains(text, "nothing fails") || !strings.Contains(text, "no score") {
		t.Errorf("an empty scan says %q", text)
	}
}

func TestFixFirst(t *testing.T) {
	t.Parallel()
	d := New(usual())
	var got []string
	for _, r := range d.FixFirst {
		got = append(got, fmt.Sprintf("%s %d %d %d", r.Control, r.Objects, r.Exposed, r.Points))
	}
	want := []string{"container-privileged 1 1 300", "liveness-probe-missing 1 1 30", "secrets-listed 1 0 30"}
	// Of as many points the worse goes first.
	want[1], want[2] = want[2], want[1]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d.Worst() != bulwark.SeverityCritical {
		t.Errorf("worst is %s", d.Worst())
	}

	// A hundred small things do not come before one that is bad.
	in := usual()
	in.Findings = []bulwark.Finding{{Control: "bad", Severity: bulwark.SeverityHigh, Verdict: bulwark.VerdictFail, Object: bulwark.ObjectRef{Kind: "Pod", Name: "one"}}}
	for i := range 100 {
		in.Findings = append(in.Findings, bulwark.Finding{
			Control: "small", Severity: bulwark.SeverityLow, Verdict: bulwark.VerdictFail, Object: bulwark.ObjectRef{Kind: "Pod", Name: fmt.Sprint(i)},
		})
	}
	if r := New(in).FixFirst; len(r) != 2 || r[0].Control != "bad" || r[1].Objects != 100 {
		t.Errorf("a hundred small things come first: %+v", r)
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("web", "what", "a/b.yaml")
	f.Add(evil, evil, evil)
	f.Fuzz(func(t *testing.T, name, message, file string) {
		in := usual()
		for i := range in.Findings {
			x := &in.Findings[i]
			x.Object.Name, x.Object.Namespace, x.Message, x.Reason, x.Location.File, x.Control = name, file, message, message, file, name
		}
		for _, format := range Formats() {
			if err := wellFormed(format, write(t, format, in, Options{})); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		}
	})
}
