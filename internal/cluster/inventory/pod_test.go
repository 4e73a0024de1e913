package inventory_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// read gives an object's content without defaults.
func read(tb testing.TB, text string) map[string]any {
	tb.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	o, err := inventory.New(raw, nil)
	if err != nil {
		tb.Fatal(err)
	}
	content, err := inventory.Decode(o)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func TestPodTemplates(t *testing.T) {
	t.Parallel()
	const (
		containers = "containers: [{name: a, image: x}]"
		podSpec    = "{metadata: {labels: {a: b}}, spec: {" + containers + "}}"
	)
	workload := func(apiVersion, kind string) string {
		return "{apiVersion: " + apiVersion + ", kind: " + kind + ", metadata: {name: a}, spec: {template: " + podSpec + "}}"
	}
	tests := map[string]struct {
		text string
		want []string // path, path of the metadata, containers
	}{
		"Pod":                      {"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {" + containers + "}}", []string{"spec metadata spec.containers[0]"}},
		"Pod without metadata":     {"{apiVersion: v1, kind: Pod, spec: {hostNetwork: true}}", []string{"spec "}},
		"Pod without spec":         {"{apiVersion: v1, kind: Pod}", nil},
		"Pod with a spec of text":  {"{apiVersion: v1, kind: Pod, spec: x}", nil},
		"PodTemplate":              {"{apiVersion: v1, kind: PodTemplate, template: " + podSpec + "}", []string{"template.spec template.metadata template.spec.containers[0]"}},
		"Deployment":               {workload("apps/v1", "Deployment"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"Deployment, no container": {"{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {hostPID: true}}}}", []string{"spec.template.spec "}},
		"old Deployment":           {workload("extensions/v1beta1", "Deployment"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"ReplicaSet":               {workload("apps/v1", "ReplicaSet"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"StatefulSet":              {workload("apps/v1", "StatefulSet"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"DaemonSet":                {workload("apps/v1", "DaemonSet"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"Job":                      {workload("batch/v1", "Job"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"ReplicationController":    {workload("v1", "ReplicationController"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"CronJob": {
			"{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: " + podSpec + "}}}}",
			[]string{"spec.jobTemplate.spec.template.spec spec.jobTemplate.spec.template.metadata spec.jobTemplate.spec.template.spec.containers[0]"},
		},
		"all kinds of container": {
			"{apiVersion: v1, kind: Pod, spec: {ephemeralContainers: [{name: e}], containers: [7, {name: c}], initContainers: [{name: i, restartPolicy: Always}]}}",
			[]string{"spec  spec.initContainers[0] spec.containers[1] spec.ephemeralContainers[0]"},
		},
		"Rollout":         {workload("argoproj.io/v1alpha1", "Rollout"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"CloneSet":        {workload("apps.kruise.io/v1alpha1", "CloneSet"), []string{"spec.template.spec spec.template.metadata spec.template.spec.containers[0]"}},
		"Knative Service": {"{apiVersion: serving.knative.dev/v1, kind: Service, spec: {template: {spec: {containers: [{image: x}]}}}}", []string{"spec.template.spec  spec.template.spec.containers[0]"}},
		"Knative Revision": {
			"{apiVersion: serving.knative.dev/v1, kind: Revision, metadata: {name: a}, spec: {containers: [{image: x}]}, status: {spec: {" + containers + "}}}",
			[]string{"spec  spec.containers[0]"},
		},
		"JobSet": {
			"{apiVersion: jobset.x-k8s.io/v1alpha2, kind: JobSet, spec: {replicatedJobs: [{template: {spec: {template: " + podSpec + "}}}]}}",
			[]string{"spec.replicatedJobs[0].template.spec.template.spec spec.replicatedJobs[0].template.spec.template.metadata spec.replicatedJobs[0].template.spec.template.spec.containers[0]"},
		},
		"roles of a training job": {
			"{apiVersion: kubeflow.org/v1, kind: PyTorchJob, spec: {pytorchReplicaSpecs: {Worker: {template: " + podSpec + "}, a.b: {template: " + podSpec + "}}}}",
			[]string{
				"spec.pytorchReplicaSpecs.Worker.template.spec spec.pytorchReplicaSpecs.Worker.template.metadata spec.pytorchReplicaSpecs.Worker.template.spec.containers[0]",
				`spec.pytorchReplicaSpecs["a.b"].template.spec spec.pytorchReplicaSpecs["a.b"].template.metadata spec.pytorchReplicaSpecs["a.b"].template.spec.containers[0]`,
			},
		},
		"embedded objects": {
			"{apiVersion: template.openshift.io/v1, kind: Template, objects: [{kind: Pod, metadata: {name: a}, spec: {" + containers + "}}]}",
			[]string{"objects[0].spec objects[0].metadata objects[0].spec.containers[0]"},
		},
		"an own name for the specification": {
			"{apiVersion: x.example/v1, kind: X, podTemplate: {" + containers + "}}", []string{"podTemplate  podTemplate.containers[0]"},
		},
		"named otherwise, and without a name": {"{apiVersion: x.example/v1, kind: X, podTemplate: {containers: [{image: x}]}}", nil},
		"containers of another shape":         {"{apiVersion: x.example/v1, kind: X, spec: {containers: [{name: a, size: 1}]}}", nil},
		"containers of two shapes":            {"{apiVersion: x.example/v1, kind: X, spec: {containers: [{name: a, image: x}, 7]}}", nil},
		"no list of containers":               {"{apiVersion: x.example/v1, kind: X, spec: {containers: {name: a, image: x}}}", nil},
		"a definition": {
			"{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, spec: {example: {spec: {" + containers + "}}}}", nil,
		},
		"a built-in kind": {"{apiVersion: v1, kind: ConfigMap, data: {spec: {" + containers + "}}}", nil},
		"too deep":        {"{apiVersion: x.example/v1, kind: X, a: " + strings.Repeat("{a: ", 30) + podSpec + strings.Repeat("}", 31), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, tmpl := range inventory.PodTemplates(read(t, tt.text)) {
				line := tmpl.Path + " " + tmpl.MetadataPath
				for _, c := range tmpl.Containers() {
					line += " " + c.Path
				}
				if (tmpl.Metadata == nil) != (tmpl.MetadataPath == "") || tmpl.Spec == nil {
					t.Errorf("%s: metadata %v at %q", tmpl.Path, tmpl.Metadata, tmpl.MetadataPath)
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPodTemplatesAreParts: what is changed there is changed in the content.
func TestPodTemplatesAreParts(t *testing.T) {
	t.Parallel()
	content := read(t, "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {template: {spec: {containers: [{name: a, image: x}]}}}}")
	inventory.PodTemplates(content)[0].Containers()[0].Spec["image"] = "y"
	if text := fmt.Sprint(content); !strings.Contains(text, "image:y") {
		t.Error(text)
	}
}

// TestPodTemplatesEnds: the search by shape takes time that grows with the object,
// and ends.
func TestPodTemplatesEnds(t *testing.T) {
	t.Parallel()
	many := make([]any, 500_000)
	for i := range many {
		many[i] = map[string]any{"spec": map[string]any{"containers": []any{7}}}
	}
	if got := inventory.PodTemplates(map[string]any{"apiVersion": "x.example/v1", "kind": "X", "spec": many}); len(got) != 0 {
		t.Errorf("found %d", len(got))
	}
}
