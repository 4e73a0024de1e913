package splice_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// entry is a field or an element of a text that was made at random, with the bytes
// that belong to it.
type entry struct {
	path fieldpath.Path
	// from is where its line begins, or its key if that stands behind a dash; value
	// is where what comes after the colon or the dash begins, to where it ends.
	from, value, to int
	// plain and plainTo are the value alone, where it is written on one line.
	plain, plainTo int
	parent         int // index of the entry around, -1 for none
	siblings       int
	behindDash     bool
	kind           string
}

// text is made at random, in the ways in which people write YAML.
type text struct {
	r       *rand.Rand
	out     []byte
	eol     string
	unit    int
	entries []entry
}

func (g *text) pick(from ...string) string { return from[g.r.IntN(len(from))] }

func (g *text) write(parts ...string) {
	for _, p := range parts {
		g.out = append(g.out, strings.ReplaceAll(p, "\n", g.eol)...)
	}
}

func (g *text) noise(indent int) {
	switch g.r.IntN(6) {
	case 0:
		g.write(strings.Repeat(" ", indent), "# about: [this, {that}] - it's\n")
	case 1:
		g.write("\n")
	}
}

func (g *text) endLine() { g.write(g.pick("", "", "  # why: \"so\"", " #"), "\n") }

// mapping writes fields; dash says that the first stands behind a dash.
func (g *text) mapping(path fieldpath.Path, indent, depth, parent int, dash bool) {
	keys := []string{"name", "a.b/c", "quoted key", "ключ", "x-1", "it's"}
	g.r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	n := 1 + g.r.IntN(4)
	for i, key := range keys[:n] {
		behind := dash && i == 0
		if !behind {
			g.noise(indent)
		}
		from := len(g.out)
		if !behind {
			g.write(strings.Repeat(" ", indent))
		}
		quoted, _ := json.Marshal(key)
		switch {
		case strings.ContainsAny(key, " '"), g.r.IntN(5) == 0:
			g.write(string(quoted))
		default:
			g.write(key)
		}
		g.write(":")
		at := len(g.entries)
		g.entries = append(g.entries, entry{path: path.Key(key), from: from, value: len(g.out), parent: parent, siblings: n, behindDash: behind})
		g.field(path.Key(key), indent, depth, at)
		g.entries[at].to = len(g.out)
	}
}

func (g *text) field(path fieldpath.Path, indent, depth, at int) {
	inner := strings.Repeat(" ", indent+g.unit)
	kind := g.r.IntN(9)
	if depth == 0 {
		kind %= 5
	}
	switch kind {
	case 0, 1:
		g.write(g.pick(" ", " ", "   "))
		g.scalar(at)
		g.endLine()
	case 2:
		g.entries[at].kind = "null"
		g.endLine()
	case 3:
		g.entries[at].kind = "block text"
		g.write(g.pick(" |", " |-", " >", " >-"), g.pick("", " # c"), "\n", inner, "line # no comment\n", inner, "  more: {\n\n", inner, "end\n")
	case 4:
		g.entries[at].kind = "flow"
		g.write(" ")
		g.entries[at].plain = len(g.out)
		g.write(g.pick("{k: v, l: [1, 'x, y']}", "[a, {b: c}]", "{}", "[]", "{\n"+inner+"k: v, # one\n"+inner+"l: 2\n"+inner+"}", `{"k": "v"}`))
		g.entries[at].plainTo = len(g.out)
		g.endLine()
	case 5, 6:
		g.entries[at].kind = "map"
		g.endLine()
		g.mapping(path, indent+g.unit, depth-1, at, false)
	default:
		g.entries[at].kind = "list"
		g.endLine()
		if g.r.IntN(2) == 0 {
			indent += g.unit
		}
		g.list(path, indent, depth-1, at)
	}
}

func (g *text) scalar(at int) {
	g.entries[at].kind, g.entries[at].plain = "scalar", len(g.out)
	g.write(g.pick("word", "12", "true", "no", "1.5", "010", "'it''s # one'", `"a \"b\" # two"`, "http://x/#y", "~", "2027-01-31", "ü", "two words", "''"))
	g.entries[at].plainTo = len(g.out)
}

func (g *text) list(path fieldpath.Path, indent, depth, parent int) {
	n := 1 + g.r.IntN(3)
	maps := depth > 0 && g.r.IntN(2) == 0
	for i := range n {
		g.noise(indent)
		at := len(g.entries)
		g.entries = append(g.entries, entry{path: path.At(i), from: len(g.out), parent: parent, siblings: n})
		g.write(strings.Repeat(" ", indent), "- ")
		g.entries[at].value = len(g.out)
		if maps {
			g.entries[at].kind = "map"
			g.mapping(path.At(i), indent+2, depth-1, at, true)
		} else {
			g.scalar(at)
			g.endLine()
		}
		g.entries[at].to = len(g.out)
	}
}

func random(seed uint64) *text {
	g := &text{r: rand.New(rand.NewPCG(seed, 1)), eol: "\n", unit: 2}
	if g.r.IntN(4) == 0 {
		g.eol = "\r\n"
	}
	if g.r.IntN(4) == 0 {
		g.unit = 4
	}
	g.write(g.pick("", "", "# head\n", "---\n", "--- # first\n"))
	g.mapping(nil, 0, 3, -1, false)
	if g.r.IntN(4) == 0 {
		g.out = bytes.TrimSuffix(g.out, []byte(g.eol))
		for i := range g.entries {
			g.entries[i].to = min(g.entries[i].to, len(g.out))
		}
	}
	return g
}

// edit gives a change, and the bytes that it may touch. only says that it may put
// something in and take nothing away.
func (g *text) edit() (e splice.Edit, from, to int, only bool) {
	at := g.entries[g.r.IntN(len(g.entries))]
	e.Path = at.path
	values := []any{"x", "it's: #", true, 7, "on", "two\nlines", map[string]any{"p": []any{"q"}, "r": map[string]any{"s": 1}}, []any{"ALL"}, map[string]any{}, nil}
	e.Value = values[g.r.IntN(len(values))]
	switch op := g.r.IntN(4); {
	case op == 0:
		e.Remove, e.Value = true, nil
		from, to = at.from, at.to
		switch {
		case at.siblings == 1 && at.parent >= 0:
			from, to = g.entries[at.parent].value, g.entries[at.parent].to
		case at.siblings == 1:
			from, to = 0, len(g.out)
		case at.behindDash: // the next takes its place
			for to < len(g.out) && strings.IndexByte(" \r\n", g.out[to]) >= 0 {
				to++
			}
		case to == len(g.out) && g.out[to-1] != '\n': // the line before ends the text now
			from -= len(g.eol)
		}
	case op == 1 && (at.kind == "map" || at.kind == "list"):
		e.Path = at.path.Key("zz")
		if at.kind == "list" {
			n := 0
			for _, o := range g.entries {
				if len(o.path) == len(at.path)+1 && o.path.Under(at.path) {
					n++
				}
			}
			e.Path = at.path.At(n)
		}
		from, to, only = at.from, at.to, true
	case op == 1 && at.kind == "null":
		e.Path = at.path.Key("zz")
		from, to, only = at.value, at.to, true
	case at.kind == "scalar" && (e.Path[len(e.Path)-1].Index >= 0 || scalar(e.Value)):
		from, to = at.plain, at.plainTo
	default:
		from, to = at.value, at.to
	}
	return e, from, to, only
}

func scalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// TestOnlyTheField makes texts and changes at random. What comes out must be read by
// kubectl's library as the edit says, and every byte outside of the field must stay
// where it was.
func TestOnlyTheField(t *testing.T) {
	t.Parallel()
	done, refused := map[string]int{}, 0
	for seed := range uint64(2000) {
		g := random(seed)
		before := content(t, g.out)
		e, from, to, only := g.edit()
		what := fmt.Sprintf("seed %d: %s = %v, remove %t", seed, e.Path, e.Value, e.Remove)
		want, err := splice.Changed(before, normal(t, e))
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, g.out)
		}
		out, err := splice.Apply(g.out, []splice.Edit{e})
		if err != nil {
			refused++
			continue
		}
		if diff := cmp.Diff(want, content(t, out)); diff != "" {
			t.Fatalf("%s: %s\n%s\n->\n%s", what, diff, g.out, out)
		}
		rest := len(g.out) - to
		if !bytes.HasPrefix(out, g.out[:from]) || !bytes.HasSuffix(out, g.out[to:]) || len(out) < from+rest {
			t.Fatalf("%s: more than bytes %d to %d changed\n%q\n->\n%q", what, from, to, g.out, out)
		}
		if only && !inserted(g.out, out) {
			t.Fatalf("%s: something is gone\n%q\n->\n%q", what, g.out, out)
		}
		kind := "set"
		if only {
			kind = "add"
		} else if e.Remove {
			kind = "remove"
		}
		done[kind]++
	}
	t.Logf("%v done, %d refused", done, refused)
	if done["set"] < 1000 || done["add"] < 120 || done["remove"] < 350 || refused > 100 {
		t.Errorf("%v done, %d refused: want more of each kind", done, refused)
	}
}

// TestTogether makes changes of several fields at once: it is what one after the
// other makes, and what is possible is said beforehand.
func TestTogether(t *testing.T) {
	t.Parallel()
	done := 0
	for seed := range uint64(800) {
		g := random(seed)
		var parts [][]splice.Edit
		var all []splice.Edit
		taken := map[string]bool{}
		for range 1 + g.r.IntN(4) {
			e, _, _, _ := g.edit()
			// Parts have nothing to do with each other: one for each field of the root.
			if root := e.Path[0].Key; !taken[root] {
				taken[root] = true
				parts, all = append(parts, []splice.Edit{e}), append(all, e)
			}
		}
		want, wantErr := splice.Apply(g.out, all)
		got, err := splice.Together(g.out, parts)
		// What one takes away may have been in the way of another.
		if err != nil && wantErr == nil {
			t.Fatalf("seed %d: %v, one after the other %v\n%s", seed, err, wantErr, g.out)
		}
		for i, possible := range splice.Possible(g.out, all) {
			alone, err := splice.Apply(g.out, all[i:i+1])
			switch same := err == nil && bytes.Equal(alone, g.out); {
			case errors.Is(possible, splice.ErrSame) != same:
				t.Fatalf("seed %d: %v: %v, but it changes nothing: %t", seed, all[i], possible, same)
			case possible != nil && !same && err == nil:
				t.Fatalf("seed %d: %v: %v, but it can be done", seed, all[i], possible)
			}
		}
		if wantErr != nil {
			continue
		}
		done++
		if diff := cmp.Diff(content(t, want), content(t, got)); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
	if done < 500 {
		t.Errorf("only %d done", done)
	}
}

// content reads a text as kubectl does, which is another library than that of the
// package, with another version of YAML.
func content(t *testing.T, text []byte) any {
	t.Helper()
	raw, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func normal(t *testing.T, e splice.Edit) splice.Edit {
	t.Helper()
	v, err := splice.Normal(e.Value)
	if err != nil {
		t.Fatal(err)
	}
	e.Value = v
	return e
}

// inserted reports whether out is text with one piece put in, and nothing else.
func inserted(text, out []byte) bool {
	if len(out) < len(text) {
		return false
	}
	n := 0
	for n < len(text) && text[n] == out[n] {
		n++
	}
	return bytes.HasSuffix(out, text[n:])
}
