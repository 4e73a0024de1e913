package posture_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
)

// owned gives an object with a container, and who made it: apiVersion, kind, name and
// UID.
func owned(apiVersion, kind, namespace, name, uid, image string, owner ...string) string {
	meta := fmt.Sprintf("name: %s, namespace: %s, uid: %s", name, namespace, uid)
	if len(owner) == 4 {
		meta += fmt.Sprintf(", ownerReferences: [{apiVersion: %s, kind: %s, name: %s, uid: %s, controller: true}]", owner[0], owner[1], owner[2], owner[3])
	}
	spec := "{hostNetwork: true, containers: [{name: app, image: " + image + "}]}"
	if kind != "Pod" {
		spec = "{replicas: 1, template: {spec: " + spec + "}}"
	}
	return fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {%s}, spec: %s}", apiVersion, kind, meta, spec)
}

// TestOwners: what is not told of an object because its owner has it too is that of
// what the owner made. What only says so is told of.
func TestOwners(t *testing.T) {
	t.Parallel()
	rules := []control.Single{
		rule(t, "container-rule", "high", `{"pods": true}`, "container", `has(container.none)`, `"container " + container.name + " is bad"`),
		rule(t, "pod-rule", "low", `{"pods": true}`, "pod", `!has(variables.pod.hostNetwork)`, `"it is on the host's network"`),
	}
	web := owned("apps/v1", "Deployment", "a", "web", "d", "x/app:1")
	web1 := owned("apps/v1", "ReplicaSet", "a", "web-1", "r", "x/app:1", "apps/v1", "Deployment", "web", "d")
	custom := owned("x.example/v1", "Thing", "a", "thing", "t", "x/app:1")
	for _, tt := range []struct {
		name    string
		objects []string
		told    []string // beside the owner
		folded  int
	}{
		{"made by its owner", []string{web, web1, owned("v1", "Pod", "a", "web-1-x", "p", "x/app:1", "apps/v1", "ReplicaSet", "web-1", "r")}, nil, 4},
		{"pinned and mirrored by admission", []string{
			owned("apps/v1", "ReplicaSet", "a", "web-1", "r", "redis"),
			owned("v1", "Pod", "a", "web-1-x", "p", `"docker.io/library/redis:7@sha256:`+strings.Repeat("a", 64)+`"`, "apps/v1", "ReplicaSet", "web-1", "r"),
		}, nil, 2},
		{"of another image", []string{web, web1, owned("v1", "Pod", "a", "web-1-x", "p", "evil/app:1", "apps/v1", "ReplicaSet", "web-1", "r")}, []string{
			"container-rule Pod a/web-1-x: container app is bad",
		}, 3},
		{"two of one owner, one of another image", []string{
			web1, owned("v1", "Pod", "a", "web-1-x", "p", "evil/app:1", "apps/v1", "ReplicaSet", "web-1", "r"),
			owned("v1", "Pod", "a", "web-1-y", "q", "other/app:1", "apps/v1", "ReplicaSet", "web-1", "r"),
			owned("v1", "Pod", "a", "web-1-z", "z", "evil/app:2", "apps/v1", "ReplicaSet", "web-1", "r"),
		}, []string{
			"container-rule Pod a/web-1-x: container app is bad (and 1 more of the same owner)", "container-rule Pod a/web-1-y: container app is bad",
		}, 4},
		{"in another namespace", []string{web, owned("apps/v1", "ReplicaSet", "b", "web-1", "r", "x/app:1", "apps/v1", "Deployment", "web", "d")}, []string{
			"container-rule ReplicaSet b/web-1: container app is bad", "pod-rule ReplicaSet b/web-1: it is on the host's network",
		}, 0},
		{"of another name", []string{web, owned("apps/v1", "ReplicaSet", "a", "web-1", "r", "x/app:1", "apps/v1", "Deployment", "other", "d")}, []string{
			"container-rule ReplicaSet a/web-1: container app is bad", "pod-rule ReplicaSet a/web-1: it is on the host's network",
		}, 0},
		{"of another kind", []string{web, owned("apps/v1", "ReplicaSet", "a", "web-1", "r", "x/app:1", "x.example/v1", "Deployment", "web", "d")}, []string{
			"container-rule ReplicaSet a/web-1: container app is bad", "pod-rule ReplicaSet a/web-1: it is on the host's network",
		}, 0},
		{"by what makes no pods", []string{web, owned("v1", "Pod", "a", "p", "p", "x/app:1", "apps/v1", "Deployment", "web", "d")}, []string{
			"container-rule Pod a/p: container app is bad", "pod-rule Pod a/p: it is on the host's network",
		}, 0},
		{"of a node, each for itself", []string{
			"{apiVersion: v1, kind: Node, metadata: {name: node, uid: node}}",
			owned("v1", "Pod", "s", "one-n", "u1", "x/one", "v1", "Node", "node", "node"), owned("v1", "Pod", "s", "two-n", "u2", "x/two", "v1", "Node", "node", "node"),
		}, []string{
			"container-rule Pod s/one-n: container app is bad", "container-rule Pod s/two-n: container app is bad",
			"pod-rule Pod s/one-n: it is on the host's network", "pod-rule Pod s/two-n: it is on the host's network",
		}, 0},
		{"of one UID with what it does not name", []string{
			web, owned("apps/v1", "Deployment", "a", "twin", "d", "x/app:1"), owned("apps/v1", "ReplicaSet", "a", "web-1", "r", "evil/app:1", "apps/v1", "Deployment", "web", "d"),
		}, []string{
			"container-rule Deployment a/twin: container app is bad", "container-rule ReplicaSet a/web-1: container app is bad", "pod-rule Deployment a/twin: it is on the host's network",
		}, 1},
		{"by a custom kind, with a name of its own", []string{
			custom, owned("apps/v1", "Deployment", "a", "one", "u1", "x/one", "x.example/v1", "Thing", "thing", "t"), owned("apps/v1", "Deployment", "a", "two", "u2", "x/one", "x.example/v1", "Thing", "thing", "t"),
		}, []string{
			"container-rule Deployment a/one: container app is bad", "container-rule Deployment a/two: container app is bad",
		}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := judge(t, posture.Options{Single: rules}, inventory.NewSnapshot(objects(t, tt.objects...), inventory.Facts{}, nil, nil))
			var told []string
			prints := map[string]bool{}
			for _, f := range r.Findings {
				prints[f.Fingerprint] = true
				if first := tt.objects[0]; !strings.Contains(first, "kind: "+f.Object.Kind+", metadata: {name: "+f.Object.Name+",") {
					told = append(told, f.Control+" "+f.Object.String()+": "+f.Message)
				}
			}
			slices.Sort(told)
			if diff := cmp.Diff(tt.told, told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if r.Folded != tt.folded {
				t.Errorf("folded %d, want %d", r.Folded, tt.folded)
			}
			if len(prints) != len(r.Findings) {
				t.Errorf("%d fingerprints of %d findings", len(prints), len(r.Findings))
			}
		})
	}
}

// TestDeepOwners: what is behind too many owners is told once, as is what is in a
// circle of them.
func TestDeepOwners(t *testing.T) {
	t.Parallel()
	var texts []string
	for i := range 15 {
		text := owned("x.example/v1", "Thing", "a", fmt.Sprintf("t%02d", i), fmt.Sprint("u", i), "x/app")
		if i > 0 {
			text = owned("x.example/v1", "Thing", "a", fmt.Sprintf("t%02d", i), fmt.Sprint("u", i), fmt.Sprint("x/app", i), "x.example/v1", "Thing", fmt.Sprintf("t%02d", i-1), fmt.Sprint("u", i-1))
		}
		texts = append(texts, text)
	}
	texts = append(texts,
		owned("x.example/v1", "Thing", "a", "c1", "c1", "x/c1", "x.example/v1", "Thing", "c2", "c2"), owned("x.example/v1", "Thing", "a", "c2", "c2", "x/c2", "x.example/v1", "Thing", "c1", "c1"),
		owned("v1", "Pod", "a", "p", "p", "x/p", "x.example/v1", "Thing", "c1", "c1"),
	)
	bad := rule(t, "container-rule", "high", `{"pods": true}`, "container", `has(container.none)`, `"container " + container.name + " is bad"`)
	r := judge(t, posture.Options{Single: []control.Single{bad}}, inventory.NewSnapshot(objects(t, texts...), inventory.Facts{}, nil, nil))
	if len(r.Findings) != len(texts) || r.Folded != 0 {
		t.Errorf("%d findings of %d objects, %d folded", len(r.Findings), len(texts), r.Folded)
	}
	if got := r.Tallies[0].Fail; got != len(texts) {
		t.Errorf("%d objects fail, want %d", got, len(texts))
	}
}
