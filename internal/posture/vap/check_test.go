package vap_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
	"bulwark.dev/bulwark/internal/posture/vap"
)

const policies = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicas, annotations: {bulwark.dev/severity: high}}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  matchConditions: [{name: not-batch, expression: '!has(object.metadata.labels) || !("batch" in object.metadata.labels)'}]
  validations: [{expression: 'object.spec.replicas <= int(params.data.most)', messageExpression: '"replicas are " + string(object.spec.replicas)'}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: replicas}
spec:
  policyName: replicas
  validationActions: [Deny]
  paramRef: {name: limits, namespace: rules, parameterNotFoundAction: Deny}
  matchResources: {namespaceSelector: {matchLabels: {tier: prod}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: who}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: 'request.userInfo.username == "ann"'}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: deletion}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [DELETE], resources: [configmaps]}]
  validations: [{expression: 'false'}]
`

const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {tier: prod}}
---
apiVersion: v1
kind: Namespace
metadata: {name: lab, labels: {tier: test}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits, namespace: rules}
data: {most: "3"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: few, namespace: shop}
spec: {replicas: 2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: many, namespace: shop}
spec: {replicas: 5}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: batch, namespace: shop, labels: {batch: x}}
spec: {replicas: 5}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: many, namespace: lab}
spec: {replicas: 5}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: many, namespace: elsewhere}
spec: {replicas: 5}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: odd, namespace: shop}
spec: {replicas: x}
---
apiVersion: apps/v1beta1
kind: Deployment
metadata: {name: old, namespace: shop}
spec: {replicas: 1}
`

func read(t *testing.T, text string) []*inventory.Object {
	t.Helper()
	out, problems := manifest.Decode("test.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return out
}

func judge(t *testing.T, set *vap.Set, snap *inventory.Snapshot) []string {
	t.Helper()
	var out []string
	for _, c := range set.Checks() {
		c.Judge(graph.NewIndex(snap), func(o *inventory.Object, r control.Result) {
			line := fmt.Sprintf("%s [%s] %s: %s %s", c.ID, c.Severity, o, r.Verdict, r.Reason)
			if r.Reason == "" {
				line += r.Message
			}
			out = append(out, line)
		})
	}
	slices.Sort(out)
	return out
}

func TestChecks(t *testing.T) {
	t.Parallel()
	set, err := vap.NewSet(read(t, policies))
	if err != nil {
		t.Fatal(err)
	}
	snap := inventory.NewSnapshot(read(t, objects), inventory.Facts{Live: true}, nil, nil)
	want := []string{
		"vap-replicas [high] Deployment elsewhere/many: unknown the labels of namespace elsewhere are not known",
		"vap-replicas [high] Deployment lab/many: not-applicable no match condition or binding of the policy is for it",
		"vap-replicas [high] Deployment shop/batch: not-applicable no match condition or binding of the policy is for it",
		"vap-replicas [high] Deployment shop/few: pass ",
		"vap-replicas [high] Deployment shop/many: fail replicas are 5",
		"vap-replicas [high] Deployment shop/odd: unknown a field is of a type that the API server does not take",
		"vap-replicas [high] Deployment shop/old: unknown the object is written as apps/v1beta1, and the policy judges it as version v1",
		"vap-who [medium] ConfigMap rules/limits: unknown the policy depends on who asks",
	}
	if diff := cmp.Diff(want, judge(t, set, snap)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Without the parameters: denied in a cluster, not known among files, and not
	// known where they could not be read.
	without := read(t, strings.Replace(objects, "name: limits", "name: other", 1))
	for _, c := range []struct {
		live   bool
		unread []inventory.Unreadable
		want   string
	}{
		{true, nil, "Deployment shop/few: fail the parameters of binding replicas are not there"},
		{false, nil, "Deployment shop/few: unknown the parameters of kind ConfigMap are not among what is scanned"},
		{true, []inventory.Unreadable{{Kind: "ConfigMap", Reason: "no right"}}, "Deployment shop/few: unknown parameters of kind ConfigMap could not be read: no right"},
	} {
		got := strings.Join(judge(t, set, inventory.NewSnapshot(without, inventory.Facts{Live: c.live}, c.unread, nil)), "\n")
		if !strings.Contains(got, c.want) {
			t.Errorf("got\n%s\nwant %s", got, c.want)
		}
	}
}

func TestNewSet(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"test.yaml:":               strings.Replace(policies, "object.spec.replicas <=", "object.spec.replicas <= <=", 1),
		`binds policy "none"`:      strings.Replace(policies, "policyName: replicas", "policyName: none", 1),
		"bulwark.dev/severity":     strings.Replace(policies, "severity: high", "severity: huge", 1),
		"read ValidatingAdmission": strings.Replace(policies, "validationActions: [Deny]", "validationActions: {}", 1),
	} {
		if _, err := vap.NewSet(read(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	folder := fstest.MapFS{
		"team/replicas.yaml": {Data: []byte(policies)},
		"team/own.yaml":      {Data: []byte("id: own\nexamples: {pass: [{kind: ValidatingAdmissionPolicy}]}\n")},
		"notes.txt":          {Data: []byte("kind: ValidatingAdmissionPolicy")},
	}
	set, rest, err := vap.Load(folder)
	if err != nil || len(set.Checks()) != 3 {
		t.Fatalf("%v %v", set, err)
	}
	var left []string
	if err := fs.WalkDir(rest, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"notes.txt", "team/own.yaml"}, left); diff != "" {
		t.Errorf("the rest (-want +got):\n%s", diff)
	}
	folder["team/replicas.yaml"].Data = []byte(policies + "---\nkind: [\n")
	if _, _, err := vap.Load(folder); err == nil || !strings.Contains(err.Error(), "team/replicas.yaml:") {
		t.Errorf("a broken document: %v", err)
	}
}
