package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestReadKnownIsParse: an event that is made in the memory of the one before it has
// nothing of that one, and does not reach into events that were parsed for good.
func TestReadKnownIsParse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := NewParser()
		var e Event
		var kept []*Event
		var texts []string
		for i := range rapid.IntRange(1, 12).Draw(t, "events") {
			made := full()
			if i > 0 || rapid.Bool().Draw(t, "empty") {
				made = draw(t)
			}
			b := AppendCanonical(nil, made)
			if err := p.ReadKnown(b, &e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(b), string(AppendCanonical(nil, &e))); diff != "" {
				t.Fatal(diff)
			}
			own, err := p.ParseKnown(b)
			if err != nil {
				t.Fatal(err)
			}
			kept, texts = append(kept, own), append(texts, string(b))
		}
		for i, own := range kept {
			if diff := cmp.Diff(texts[i], string(AppendCanonical(nil, own))); diff != "" {
				t.Fatalf("event %d was changed: %s", i, diff)
			}
		}
	})
}
