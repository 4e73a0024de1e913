package cluster

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// TestHostileTexts reads megabytes that are made to cost more than their size.
// The limit is generous for slow machines; without protection each of them
// takes minutes or all memory.
func TestHostileTexts(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	tests := map[string]struct {
		text string
		json bool
	}{
		"nested lists":       {text: head + "data: " + strings.Repeat("[", 500_000)},
		"nested objects":     {text: head + "data: " + strings.Repeat("{a: ", 200_000)},
		"nested dashes":      {text: strings.Repeat("- ", 400_000)},
		"nested keys":        {text: strings.Repeat("? ", 400_000)},
		"nested JSON":        {text: strings.Repeat("[", 500_000), json: true},
		"one key repeated":   {text: head + "data:\n" + strings.Repeat("  a: b\n", 100_000)},
		"unknown fields":     {text: head + strings.Repeat("metadatum: 1\n", 50_000)},
		"aliases":            {text: head + "data: {a: &a b, c: [" + strings.Repeat("*a,", 200_000) + "]}\n"},
		"anchors":            {text: head + "data:\n" + strings.Repeat("  k: &a b\n", 50_000)},
		"aliases of aliases": {text: head + "x: &a [" + strings.Repeat("&b [", 3000)},
		"a long key":         {text: head + strings.Repeat("k", 1_000_000) + ": 1\n"},
		"a long text":        {text: head + "data: {a: \"" + strings.Repeat("x", 1_000_000) + "\"}\n"},
		"a long line":        {text: head + "data: {" + strings.Repeat("a: b, ", 100_000) + "}\n"},
		"a long JSON key":    {text: `{"apiVersion":"v1","kind":"ConfigMap","` + strings.Repeat("k", 1_000_000) + `":1}`, json: true},
		"a long JSON kind":   {text: `{"apiVersion":"bulwark.dev/v1alpha1","kind":"` + strings.Repeat("k", 1_000_000) + `"}`, json: true},
		"a long JSON enum":   {text: `{"apiVersion":"v1","kind":"Service","metadata":{"name":"` + strings.Repeat("k", 1_000_000) + `"},"spec":{"type":"` + strings.Repeat("k", 1_000_000) + `"}}`, json: true},
		"escape sequences":   {text: `{"apiVersion":"v1","kind":"\u001b[2J","metadata":{"name":"\u001b[2J\n"}}{"apiVersion":"v1","kind":"ConfigMap","\u001b[31m\n":5}{"apiVersion":"bulwark.dev/v1","kind":"\u001b[2J"}`, json: true},
		"blank lines":        {text: strings.Repeat("\n", 2_000_000)},
		"many comments":      {text: head + strings.Repeat("# c\n", 200_000)},
		"many documents":     {text: strings.Repeat("---\n", 300_000) + head},
		"open quotes":        {text: head + "data: {a: '" + strings.Repeat("''\n", 200_000)},
		"open quote, long":   {text: head + "data: {a: \"" + strings.Repeat("\\\n", 300_000)},
		"long number":        {text: head + "data: {a: " + strings.Repeat("9", 1_000_000) + "}\n"},
		"colons":             {text: head + "data: {a: " + strings.Repeat("1:", 300_000) + "}\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			chunks := []nodes.Chunk{{Text: []byte(tt.text)}}
			if !tt.json {
				chunks = nodes.Split([]byte(tt.text))
			}
			for _, c := range chunks {
				doc := decodeDocument(c.Text, tt.json)
				if len(doc.problems) > maxProblems {
					t.Errorf("%d problems", len(doc.problems))
				}
				for _, p := range doc.problems {
					if len(p.String()) > 4096 || strings.ContainsFunc(p.String(), unicode.IsControl) {
						t.Fatalf("a problem is not fit for a terminal: %d bytes", len(p.String()))
					}
				}
			}
			// What takes exponential time never gets here: the test's own limit ends it.
			t.Logf("took %v", time.Since(start))
		})
	}
}
