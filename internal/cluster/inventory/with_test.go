package inventory_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// TestWithRandom: a changed snapshot is the one that its objects make, and the first one
// stays as it was.
func TestWithRandom(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	now := map[string]*inventory.Object{}
	made := func() *inventory.Object {
		o, err := inventory.New(fmt.Appendf(nil, `{"apiVersion":"v1","kind":%q,"metadata":{"name":"n%d","namespace":"s%d"}}`,
			[]string{"Pod", "Secret", "ConfigMap"}[random.IntN(3)], random.IntN(6), random.IntN(3)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	names := func(s *inventory.Snapshot) []string {
		out := []string{}
		for _, o := range s.Objects() {
			if s.Find("", o.Kind, o.Namespace, o.Name) != o {
				t.Errorf("%s is not found", o)
			}
			out = append(out, o.String())
		}
		for _, kind := range []string{"Pod", "Secret", "ConfigMap"} {
			for _, o := range s.Kind("", kind) {
				out = append(out, kind+": "+o.String())
			}
		}
		return out
	}
	snap := inventory.NewSnapshot(nil, inventory.Facts{Live: true}, nil, nil)
	for range 300 {
		var put []*inventory.Object
		var take []bulwark.ObjectRef
		for range random.IntN(4) {
			take = append(take, made().ObjectRef)
			delete(now, take[len(take)-1].String())
		}
		for range random.IntN(4) {
			put = append(put, made())
			now[put[len(put)-1].String()] = put[len(put)-1]
		}
		was := names(snap)
		next := snap.With(put, take)
		if diff := cmp.Diff(was, names(snap)); diff != "" {
			t.Fatalf("the snapshot itself changed (-before +after):\n%s", diff)
		}
		var all []*inventory.Object
		for _, o := range now {
			all = append(all, o)
		}
		if diff := cmp.Diff(names(inventory.NewSnapshot(all, inventory.Facts{}, nil, nil)), names(next)); diff != "" {
			t.Fatalf("with %v without %v (-want +got):\n%s", put, take, diff)
		}
		snap = next
	}
}
