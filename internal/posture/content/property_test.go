package content

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// grammar writes expressions of all forms in which a field can be read, so that one
// which reads.add does not see shows.
type grammar struct {
	*rand.Rand
	roots []string // what is given in the scope
	depth int
}

func (g *grammar) of(all ...string) string { return all[g.IntN(len(all))] }

func (g *grammar) field() string {
	return g.of("name", "image", "securityContext", "ports", "env", "hostNetwork", "hostPID", "restartPolicy", "labels", "annotations", "containers", "volumes", "odd", "a", "b")
}

func (g *grammar) literal() string {
	return g.of("true", "false", "0", "1", "1.0", `""`, `"a"`, `"b"`, "[]", "null", `["a"]`)
}

// value writes an expression of any type.
func (g *grammar) value() string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 4 {
		return g.of(g.roots...)
	}
	switch g.IntN(14) {
	case 0:
		return g.of(g.roots...)
	case 1:
		return g.value() + "[" + `"` + g.field() + `"]`
	case 2:
		return g.value() + `["na" + "me"]`
	case 3:
		return g.value() + "[?" + `"` + g.field() + `"].orValue(` + g.literal() + ")"
	case 4:
		return g.value() + ".?" + g.field() + ".orValue(" + g.literal() + ")"
	case 5:
		return g.value() + ".?" + g.field() + ".?" + g.field() + ".orValue(" + g.literal() + ")"
	case 6:
		return "(" + g.bool() + " ? " + g.value() + " : " + g.value() + ")"
	case 7:
		return "[" + g.value() + ", " + g.value() + "][" + g.of("0", "1") + "]"
	case 8:
		return `{"x": ` + g.value() + `, "y": ` + g.value() + "}." + g.of("x", "y")
	case 9:
		return g.value() + ".?" + g.field() + ".optMap(v, v." + g.field() + ").orValue(" + g.literal() + ")"
	case 10:
		return "variables.containers.filter(c, has(c." + g.field() + ")).map(c, c." + g.field() + ")"
	default:
		return g.value() + "." + g.field()
	}
}

func (g *grammar) bool() string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 4 {
		return "has(" + g.of(g.roots...) + "." + g.field() + ")"
	}
	switch g.IntN(12) {
	case 0:
		return "(" + g.bool() + " && " + g.bool() + ")"
	case 1:
		return "(" + g.bool() + " || " + g.bool() + ")"
	case 2:
		return "!" + g.bool()
	case 3:
		return g.value() + ".exists(e, e == " + g.literal() + " || has(e." + g.field() + "))"
	case 4:
		return g.value() + ".all(k, v, v != " + g.literal() + ")"
	case 5:
		return "(" + g.value() + " in " + g.value() + ")"
	case 6:
		return "has(" + g.of(g.roots...) + "." + g.field() + "." + g.field() + ")"
	case 7:
		return "variables.containers.exists_one(c, c.?" + g.field() + ".orValue(null) == " + g.literal() + ")"
	case 8:
		return "(" + g.value() + " == " + g.value() + ")"
	case 9:
		return "(" + g.value() + " != " + g.literal() + ")"
	default:
		return "has(" + g.of(g.roots...) + "." + g.field() + ")"
	}
}

// json makes a value that objects of all odd forms are made of.
func (g *grammar) json(depth int) any {
	n := g.IntN(14)
	if depth > 3 {
		n %= 9
	}
	switch n {
	case 0:
		return nil
	case 1:
		return true
	case 2:
		return false
	case 3:
		return int64(g.IntN(2))
	case 4:
		return float64(g.IntN(2))
	case 5:
		return ""
	case 6:
		return "a"
	case 7:
		return "b"
	case 8:
		return []any{}
	case 9, 10:
		out := []any{}
		for range g.IntN(3) {
			out = append(out, g.json(depth+1))
		}
		return out
	default:
		return g.object(depth + 1)
	}
}

func (g *grammar) object(depth int) map[string]any {
	out := map[string]any{}
	for range g.IntN(4) {
		out[g.field()] = g.json(depth)
	}
	return out
}

func (g *grammar) subject(t *testing.T) *control.Subject {
	t.Helper()
	spec := g.object(0)
	for _, kind := range []string{"containers", "initContainers"} {
		list := []any{}
		for range g.IntN(3) {
			list = append(list, g.object(0))
		}
		spec[kind] = list
	}
	content := map[string]any{"apiVersion": "apps/v1", "kind": g.of("Deployment", "StatefulSet"), "metadata": map[string]any{"name": "x", "labels": g.json(2)}}
	content["spec"] = map[string]any{"template": map[string]any{"metadata": g.object(1), "spec": spec}}
	if g.IntN(4) == 0 {
		content["metadata"] = g.object(1)
	}
	o, err := inventory.New([]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &control.Subject{Object: o, Content: content, Pods: inventory.PodTemplates(content)}
}

// TestMemoOfAny: whatever an expression looks like, what is remembered is what would
// be said, and so is what is said of a large object.
func TestMemoOfAny(t *testing.T) {
	t.Parallel()
	g := &grammar{Rand: rand.New(rand.NewPCG(7, 7))}
	var subjects []*control.Subject
	for range 100 {
		subjects = append(subjects, g.subject(t))
	}
	scopes := map[string][]string{
		"": nil, "pod": nil, "container": {"container"}, "pod.volumes": {"item"}, "container.ports": {"container", "item"}, "container.env[].a": {"container", "item"},
	}
	each := []string{"", "pod", "container", "pod.volumes", "container.ports", "container.env[].a"}
	compiled, ran, used, verdicts := 0, 0, 0, map[bulwark.Verdict]int{}
	for tries := 0; compiled < 240 && tries < 8000; tries++ {
		scope := each[tries%len(each)]
		g.roots = append([]string{"variables.pod", "variables.podMetadata", "object.metadata", "variables.pod.securityContext", "object", "variables.params"}, scopes[scope]...)
		when := ""
		if g.IntN(3) == 0 {
			when = g.bool()
		}
		c, err := Parse("x.yaml", written(t, scope, when, g.bool(), `"m" + (`+g.bool()+` ? "1" : "2")`))
		if err != nil {
			continue
		}
		compiled++
		plain := *c
		plain.memo = nil
		for _, s := range subjects {
			ran++
			results := plain.Judge(s)
			for _, r := range results {
				verdicts[r.Verdict]++
			}
			want := fmt.Sprint(results)
			if got := fmt.Sprint(carefully(t, &plain, s)); got != want {
				t.Fatalf("each %q, when %s, check %s, message %s: (-as it is +guarded)\n%s", scope, c.When, c.Check, c.Message, cmp.Diff(want, got))
			}
			if got := fmt.Sprint(c.Judge(s)); got != want {
				text, _ := json.Marshal(s.Content)
				t.Fatalf("each %q, when %s, check %s, message %s\non %s:\n(-without memory +with it)\n%s", scope, c.When, c.Check, c.Message, text, cmp.Diff(want, got))
			}
		}
		for i := range c.memo.slots() {
			if c.memo.slots()[i].Load() != nil {
				used++
			}
		}
	}
	t.Logf("%d controls, %d judgements, %d outcomes remembered, verdicts %v", compiled, ran, used, verdicts)
	if compiled < 240 || used < 2000 || verdicts[bulwark.VerdictPass] < 1000 || verdicts[bulwark.VerdictFail] < 1000 || verdicts[bulwark.VerdictUnknown] < 1000 {
		t.Error("too little was tried")
	}
}

// carefully judges as if the object were a large one.
func carefully(t *testing.T, c *Control, s *control.Subject) []control.Result {
	t.Helper()
	code, err := c.code()
	if err != nil {
		t.Fatal(err)
	}
	e := &evaluation{vars: map[string]any{}, c: c, code: code, s: s, ready: prepare(s), guarded: true, left: mostTurns}
	if code.needs&needParams != 0 {
		e.vars["params"] = c.params
	}
	e.object()
	switch {
	case len(e.out) > 0:
		return e.out
	case e.passed || !e.skipped:
		return c.passes
	}
	return c.skips
}

func written(t *testing.T, each, when, check, message string) []byte {
	t.Helper()
	example := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}}
	file := map[string]any{
		"id": "x", "title": "T", "severity": "low", "category": "c", "why": "w", "remediation": "r", "appliesTo": map[string]any{"pods": true},
		"each": each, "check": check, "message": message, "parameters": map[string]any{"name": "a", "labels": []any{"a"}},
		"examples": map[string]any{"pass": []any{example}, "fail": []any{map[string]any{"object": example}}},
	}
	if when != "" {
		file["when"], file["notApplicable"] = when, "no"
	}
	text, err := json.Marshal(file) // which is YAML too
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestHash: two values that are not the same have not the same hash, whatever they
// have in common.
func TestHash(t *testing.T) {
	t.Parallel()
	seen := map[uint64]string{}
	add := func(v any) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		is := fmt.Sprintf("%T %s", v, text)
		if other, ok := seen[hash(v)]; ok && other != is {
			t.Errorf("%s and %s have one hash", is, other)
		}
		seen[hash(v)] = is
	}
	// Every way to set eight switches: those of two that change places above all.
	switches := []string{"privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "runAsNonRoot", "stdin", "tty", "hostPID", "hostIPC"}
	for n := range 6561 {
		m := map[string]any{}
		for _, name := range switches {
			if n%3 > 0 {
				m[name] = n%3 == 1
			}
			n /= 3
		}
		add(m)
		add([]any{m})
	}
	// Lists in lists, and what is nearly nothing.
	values := []any{nil, true, false, int64(0), int64(1), "", "0", "a", []any{}, map[string]any{}}
	for range 2 {
		for _, a := range values {
			for _, b := range values {
				add([]any{a, b})
				add([]any{[]any{a}, b})
				add([]any{a, []any{b}})
				add([]any{[]any{a, b}})
				add(map[string]any{"a": a, "b": b})
				add(map[string]any{"a": map[string]any{"b": b}, "b": a})
			}
		}
		values = append(values, []any{nil}, []any{true}, map[string]any{"a": nil}, []any{[]any{}})
	}
	if hash(int64(1)) == hash(1.0) || hash(int64(0)) == hash(0.0) {
		t.Error("a whole number has the hash of one that is not")
	}
	if hashField(map[string]any{"a": nil}, "a") == hashField(map[string]any{}, "a") {
		t.Error("a field that is null has the hash of one that is not there")
	}
	if len(seen) < 13_000 {
		t.Errorf("only %d values", len(seen))
	}
}

// TestMemoOfSwitches: a container that is privileged is not judged by what was said
// of one that is not, and has something else instead.
func TestMemoOfSwitches(t *testing.T) {
	t.Parallel()
	c, err := Parse("x.yaml", written(t, "container", "", "!container.securityContext.privileged", `"m"`))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range containerFields {
		for _, privileged := range []bool{false, true, false} {
			content := map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": map[string]any{"containers": []any{
				map[string]any{"name": "a", "securityContext": map[string]any{"privileged": privileged, name: !privileged}},
			}}}
			o, err := inventory.New([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}`), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Judge(&control.Subject{Object: o, Content: content, Pods: inventory.PodTemplates(content)})
			if len(got) != 1 || (got[0].Verdict == bulwark.VerdictFail) != privileged {
				t.Errorf("privileged %v with %s %v: %v", privileged, name, !privileged, got)
			}
		}
	}
}

// TestLarge: what one control does on a made-up object has an end, and what fails is
// told however much is unknown.
func TestLarge(t *testing.T) {
	t.Parallel()
	const many = 30_000
	containers := make([]any, many)
	for i := range containers {
		containers[i] = map[string]any{"name": fmt.Sprint("c", i), "image": strings.Repeat("i", 50)}
	}
	containers[many-1] = map[string]any{"name": "bad", "image": "bad"}
	text := strings.Repeat("a", 1<<20)
	subject := func(containers []any, annotation string) *control.Subject {
		content := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"annotations": map[string]any{"a": annotation}}, "spec": map[string]any{"containers": containers}}
		o, err := inventory.New([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		return &control.Subject{Object: o, Content: content, Pods: inventory.PodTemplates(content)}
	}
	for _, tt := range []struct {
		name, each, check string
		subject           *control.Subject
		want              map[bulwark.Verdict]int
	}{
		{"all fail", "container", `container.image == ""`, subject(containers, ""), map[bulwark.Verdict]int{bulwark.VerdictFail: most}},
		{"one fails behind many unknown", "container", `container.image != "bad" && container.none == 1`, subject(containers, ""), map[bulwark.Verdict]int{bulwark.VerdictFail: 1, bulwark.VerdictUnknown: most}},
		{"one fails behind many unknown in a list", "pod.containers", `item.image != "bad" && item.none == 1`, subject(containers, ""), map[bulwark.Verdict]int{bulwark.VerdictFail: 1, bulwark.VerdictUnknown: most}},
		{
			"each against each", "container", `variables.containers.exists(c, c.name == container.name + "x")`, subject(containers, ""),
			map[bulwark.Verdict]int{bulwark.VerdictFail: 17, bulwark.VerdictUnknown: most},
		},
		{"a pattern on a long text for each", "container", `variables.podMetadata.annotations["a"].matches("(a|b)*c$") || container.image != "x"`, subject(containers[:3000], text), nil},
		{"a text for each letter", "pod", `variables.podMetadata.annotations["a"].split("").exists(x, variables.podMetadata.annotations["a"].contains(x + "b"))`, subject(containers[:1], text), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse("x.yaml", written(t, tt.each, "", tt.check, `"m"`))
			if err != nil {
				t.Fatal(err)
			}
			got := map[bulwark.Verdict]int{}
			for _, r := range c.Judge(tt.subject) {
				got[r.Verdict]++
			}
			t.Log(got)
			if tt.want != nil {
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestEndlessQuantity: a quantity that no library can compute with is unknown.
func TestEndlessQuantity(t *testing.T) {
	t.Parallel()
	for _, check := range []string{
		`quantity(container.a).isGreaterThan(quantity("1"))`, `quantity(container.a).add(quantity("1m")).isLessThan(quantity("1"))`, `isQuantity(container.a)`, `quantity(container.a).asInteger() > 1`,
	} {
		c, err := Parse("x.yaml", written(t, "container", "", check, `"m"`))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"1e999999999", "12345678901234567890e999999999", "12345678901234567890e-999999999"} {
			content := map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": map[string]any{"containers": []any{map[string]any{"name": "a", "a": text}}}}
			o, err := inventory.New([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}`), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := c.Judge(&control.Subject{Object: o, Content: content, Pods: inventory.PodTemplates(content)})
			if len(got) != 1 || got[0].Verdict != bulwark.VerdictUnknown {
				t.Errorf("%s of %s: %v", check, text, got)
			}
		}
	}
}

// TestFlagsOfMany: flags are read in one pass.
func TestFlagsOfMany(t *testing.T) {
	t.Parallel()
	args := make([]any, 300_000)
	for i := range args {
		args[i] = fmt.Sprintf("--flag-%d=%d", i%200_000, i)
	}
	got := flags(map[string]any{"command": []any{"kube-apiserver", "--feature-gates=A=true", "--feature-gates=B=true", "-v", "2"}, "args": args})
	if len(got) != 200_005 || got[1] != "--feature-gates=A=true" || got[2] != "--feature-gates=B=true" || got[len(got)-1] != "--flag-99999=299999" {
		t.Errorf("%d flags: %v … %v", len(got), got[:5], got[len(got)-1])
	}
}
