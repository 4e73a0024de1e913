package posture_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/posturetest"
)

// TestIncremental: after any edits the report is the one that judging everything
// gives.
func TestIncremental(t *testing.T) {
	t.Parallel()
	e := engine(t, true)
	random := rand.New(rand.NewPCG(4, 2))
	pool := posturetest.Cluster(500, 5)
	snap := inventory.NewSnapshot(pool[:250], inventory.Facts{}, nil, nil)
	inc, err := e.Incremental(t.Context(), snap)
	if err != nil {
		t.Fatal(err)
	}
	edits, objects, joint := 0, 0, 0
	for round := range 15 {
		var put []*inventory.Object
		var take []bulwark.ObjectRef
		for range 1 + random.IntN(4) {
			edits++
			o := pool[random.IntN(len(pool))]
			switch random.IntN(4) {
			case 0:
				take = append(take, o.ObjectRef)
			case 1:
				put = append(put, o)
			default:
				put = append(put, edited(t, random, o))
			}
		}
		did, err := inc.Update(t.Context(), put, take)
		if err != nil {
			t.Fatal(err)
		}
		objects, joint = objects+did.Objects, joint+did.Joint
		got, err := inc.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want, err := e.Judge(t.Context(), inventory.NewSnapshot(inc.Snapshot().Objects(), inventory.Facts{}, nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text(t, want), text(t, got)); diff != "" {
			t.Fatalf("round %d: (-all judged +incremental)\n%s", round, diff[:min(len(diff), 4000)])
		}
	}
	t.Logf("%d edits, %d objects and %d joint checks judged again", edits, objects, joint)
	if objects < edits/2 || objects > edits*40 {
		t.Errorf("%d edits judged %d objects again", edits, objects)
	}
}

// edited gives an object with another image, replica count, owner or UID.
func edited(t *testing.T, random *rand.Rand, o *inventory.Object) *inventory.Object {
	t.Helper()
	js := string(o.Raw())
	switch random.IntN(5) {
	case 0:
		js = strings.ReplaceAll(js, ":latest", ":v9")
	case 1:
		js = strings.ReplaceAll(js, `"replicas":`, `"replicas":0,"was":`)
	case 2:
		js = strings.ReplaceAll(js, `"ownerReferences"`, `"formerOwners"`)
	case 3:
		js = strings.ReplaceAll(js, `"uid":"`, `"uid":"x`)
	case 4:
		js = strings.ReplaceAll(js, `"privileged":true`, `"privileged":false`)
	}
	out, err := inventory.New([]byte(js), nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func text(t *testing.T, r *posture.Report) []string {
	t.Helper()
	js, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(js), "\n")
}
