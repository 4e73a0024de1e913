package content

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// TestMemo: what is remembered is what would be said. All examples of all controls,
// and the same with parts exchanged, are judged by every control with a memory full
// of the others and by one without any.
func TestMemo(t *testing.T) {
	t.Parallel()
	controls, _ := Load(catalog.Controls()) // TestExamples reports what cannot be read
	var subjects []*control.Subject
	var objects []map[string]any
	for _, c := range controls {
		objects = append(objects, c.Examples.Pass...)
		objects = append(objects, c.Examples.Skip...)
		for _, e := range c.Examples.Fail {
			objects = append(objects, e.Object)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range len(objects) / 4 {
		o := clone(objects[random.IntN(len(objects))])
		graft(random, o, objects[random.IntN(len(objects))])
		m, ok := o.(map[string]any)
		if ok {
			objects = append(objects, m)
		}
	}
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		object, err := inventory.New(text, nil)
		if err != nil {
			continue // a graft took its name away
		}
		s, err := control.NewSubject(object)
		if err != nil {
			t.Fatal(err)
		}
		subjects = append(subjects, s)
	}
	ran, remembered := 0, 0
	for _, c := range controls {
		plain := *c
		plain.memo = nil
		for _, s := range subjects {
			if !c.Applies(s) {
				continue
			}
			ran++
			want := fmt.Sprint(plain.Judge(s))
			for range 2 {
				if got := fmt.Sprint(c.Judge(s)); got != want {
					t.Errorf("%s on %s: (-without memory +with it)\n%s", c.ID, s.Object, cmp.Diff(want, got))
				}
			}
		}
		for i := range c.memo.slots() {
			if c.memo.slots()[i].Load() != nil {
				remembered++
			}
		}
	}
	t.Logf("%d judgements of %d objects, %d outcomes remembered", ran, len(subjects), remembered)
	if len(controls) > 100 && (ran < 50_000 || remembered < 1000) {
		t.Error("too little was tried")
	}
}

// graft puts values of other where both have a field.
func graft(random *rand.Rand, into, other any) {
	a, ok := into.(map[string]any)
	b, both := other.(map[string]any)
	if la, list := into.([]any); list {
		if lb, ok := other.([]any); ok && len(la) > 0 && len(lb) > 0 {
			graft(random, la[random.IntN(len(la))], lb[random.IntN(len(lb))])
		}
		return
	}
	if !ok || !both {
		return
	}
	for k, v := range b {
		if k == "kind" || k == "apiVersion" {
			continue
		}
		if _, there := a[k]; there && random.IntN(3) > 0 {
			graft(random, a[k], v)
		} else if random.IntN(3) == 0 {
			a[k] = clone(v)
		}
	}
}
