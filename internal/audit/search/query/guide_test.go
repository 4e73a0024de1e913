package query

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// Every query of the guide reads, and the guide names every short name.
func TestGuide(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/guide/audit-search.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := 0
	for i, block := range strings.Split(string(page), "```query\n") {
		if i == 0 {
			continue
		}
		block, _, ok := strings.Cut(block, "```")
		if !ok {
			t.Fatal("a block without end")
		}
		for line := range strings.Lines(block) {
			q := mustParse(t, strings.TrimSpace(line))
			if again := mustParse(t, q.String()).String(); again != q.String() {
				t.Errorf("%s reads back as %s", q, again)
			}
			queries++
		}
	}
	if queries < 30 {
		t.Errorf("the guide has %d queries", queries)
	}
	// What stands in its tables before a comma or bar is a query as well.
	cells := 0
	for line := range strings.Lines(string(page)) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || !strings.ContainsAny(cell, "=;") {
			continue
		}
		cell = strings.NewReplacer("<code>&#124;", "`|", "</code>", "`").Replace(cell)
		for i, code := range strings.Split(cell, "`") {
			if i%2 == 1 && !strings.HasPrefix(strings.TrimPrefix(code, "-"), "field") {
				mustParse(t, code)
				cells++
			}
		}
	}
	if cells < 25 {
		t.Errorf("the guide's tables have %d queries", cells)
	}
	for _, s := range shorts() {
		if !strings.Contains(string(page), "`"+s.name+"`") {
			t.Errorf("the guide does not name %s", s.name)
		}
		if _, ok := lookup(s.name); !ok {
			t.Errorf("%s is no field", s.name)
		}
	}
	for _, name := range fieldNames() {
		if _, ok := lookup(name); !ok {
			t.Errorf("%s is no field", name)
		}
	}
	// The mistake that it shows.
	_, err = Parse("user=alice nane=x", env())
	var problem *Error
	if !errors.As(err, &problem) || !strings.Contains(string(page), problem.Error()+"\n"+problem.Caret()+"\n") {
		t.Errorf("the guide does not show\n%v\n%s", problem, problem.Caret())
	}
}
