package app

import (
	"slices"
	"testing"
)

// Every control that a framework names exists; those that no framework names are
// listed, for people to see.
func TestFrameworksNameControls(t *testing.T) {
	t.Parallel()
	set, err := (&scanControls{}).load()
	if err != nil {
		t.Fatal(err)
	}
	used, named := map[string]bool{}, 0
	for id := range set.all {
		used[id] = false
	}
	for _, f := range set.frameworks {
		for _, id := range f.Controls() {
			named++
			if _, ok := used[id]; !ok {
				t.Errorf("%s names control %q, which does not exist", f.ID, id)
			}
			used[id] = true
		}
	}
	var unused []string
	for id, is := range used {
		if !is {
			unused = append(unused, id)
		}
	}
	slices.Sort(unused)
	t.Logf("%d frameworks name %d controls in all; %d of %d controls are named by none: %v", len(set.frameworks), named, len(unused), len(used), unused)
	if len(set.frameworks) < 12 || len(used) < 120 {
		t.Errorf("%d frameworks and %d controls: some are missing", len(set.frameworks), len(used))
	}
}
