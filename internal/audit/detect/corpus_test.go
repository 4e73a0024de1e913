package detect_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
)

// judge says which of our rules find the behaviour that a file of the corpus
// describes: one of them is enough. Where that is something that happens often, the
// event is repeated with other names, ten seconds apart.
type judge struct {
	rules   []string
	repeats int
}

func judges() map[string]judge {
	one := func(rules ...string) judge { return judge{rules, 1} }
	return map[string]judge{
		"k8s_daemonset_created.yml":           one("daemonset-created"),
		"k8s_exec_into_pod.yml":               one("pod-exec"),
		"k8s_ingress_without_tls.yml":         one("ingress-without-tls-created"),
		"k8s_kubectl_cp_operation.yml":        one("pod-files-copied-out"),
		"k8s_pod_dangerous_capabilities.yml":  one("pod-capabilities-dangerous"),
		"k8s_pod_host_pid.yml":                one("pod-host-pid"),
		"k8s_pod_hostpath_volume.yml":         one("pod-hostpath"),
		"k8s_privileged_pod_created.yml":      one("pod-privileged", "pod-runs-as-root"),
		"k8s_secret_access_denied.yml":        {[]string{"secret-reads-refused-in-a-row"}, 20},
		"k8s_secret_enumeration.yml":          {[]string{"secrets-asked-for-in-a-row"}, 15},
		"k8s_secrets_dump_all_namespaces.yml": one("secrets-list-all-namespaces"),
		"k8s_service_nodeport.yml":            one("service-nodeport-created"),
		"k8s_steal_serviceaccount_token.yml":  one("pod-exec-reads-serviceaccount-token"),
		"k8s_system_role_modified.yml":        one("system-role-changed"),
	}
}

// labelled is one test of the corpus.
type labelled struct {
	Name           string
	ExpectedResult bool
	Log            any
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// corpusTests are the labelled events of a file. Their keys are read as they are
// written.
func corpusTests(t *testing.T, file string) []labelled {
	t.Helper()
	var rule struct {
		Tests []map[string]any `yaml:"Tests"`
	}
	readYAML(t, file, &rule)
	var out []labelled
	for _, test := range rule.Tests {
		name, named := test["Name"].(string)
		want, told := test["ExpectedResult"].(bool)
		if !named || !told || test["Log"] == nil {
			t.Fatalf("%s: a test has no name, no label or no event: %v", file, test)
		}
		out = append(out, labelled{name, want, test["Log"]})
	}
	return out
}

func TestCorpus(t *testing.T) {
	set := loadContent(t)
	known := map[string]bool{}
	for _, r := range set.Rules {
		known[r.Key] = !r.Quiet
	}
	engine, err := detect.NewEngine(set, detect.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var listed []struct{ File, Test, Reason string }
	readYAML(t, filepath.Join("testdata", "corpus-disagreements.yaml"), &listed)
	reasons := map[[2]string]bool{} // whether it was met
	for _, l := range listed {
		if l.Reason == "" {
			t.Errorf("%s: %q is listed without a reason", l.File, l.Test)
		}
		reasons[[2]string{l.File, l.Test}] = false
	}
	files, err := filepath.Glob(filepath.Join("testdata", "corpus", "*.yml"))
	if err != nil || len(files) != len(judges()) {
		t.Fatalf("%d files, expected %d: %v", len(files), len(judges()), err)
	}
	var ran, agreed int
	labels := map[bool]int{}
	for _, file := range files {
		name := filepath.Base(file)
		j, ok := judges()[name]
		if !ok {
			t.Errorf("%s: no rule is said to judge it", name)
		}
		for _, rule := range j.rules {
			if !known[rule] {
				t.Errorf("%s: there is no alerting rule %q", name, rule)
			}
		}
		for _, test := range corpusTests(t, file) {
			ran++
			labels[test.ExpectedResult]++
			got := fires(t, engine, j, test)
			key := [2]string{name, test.Name}
			_, excused := reasons[key]
			switch {
			case got == test.ExpectedResult && excused:
				t.Errorf("%s: %q agrees, but is listed as a disagreement", name, test.Name)
			case got == test.ExpectedResult:
				agreed++
			case excused:
				reasons[key] = true
			default:
				t.Errorf("%s: %q: alerts %v, labelled %v", name, test.Name, got, test.ExpectedResult)
			}
		}
	}
	for key, met := range reasons {
		if !met {
			t.Errorf("%s: %q is listed as a disagreement, and is none", key[0], key[1])
		}
	}
	share := float64(agreed) / float64(max(ran, 1))
	t.Logf("%d labelled events (%d alerting, %d not), %d agree: %.1f %%", ran, labels[true], labels[false], agreed, 100*share)
	if labels[true] < 50 || labels[false] < 40 || share < 0.95 {
		t.Errorf("expected at least 50 alerting and 40 other events and 95 %% agreement")
	}
}

// fires reports whether one of a judge's rules alerts, with all rules running.
func fires(t *testing.T, engine *detect.Engine, j judge, test labelled) bool {
	t.Helper()
	document, err := json.Marshal(test.Log)
	if err != nil {
		t.Fatalf("%q: %v", test.Name, err)
	}
	entries, err := newDecoder(t).Decode(document)
	if err != nil || len(entries) != 1 || entries[0].Event.Kind != audit.KindAPI {
		t.Fatalf("%q: %d events: %v", test.Name, len(entries), err)
	}
	engine.Forget()
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	found := false
	for i := range j.repeats {
		e := *entries[0].Event
		e.Seq, e.StageAt = uint64(i+1), start.Add(time.Duration(i)*10*time.Second)
		if j.repeats > 1 && e.Object.Name != "" {
			e.Object.Name = fmt.Sprintf("%s-%d", e.Object.Name, i)
		}
		for _, a := range engine.Observe(&e) {
			for _, rule := range j.rules {
				found = found || a.Rule == rule
			}
		}
	}
	return found
}
