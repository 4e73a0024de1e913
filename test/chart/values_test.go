package chart

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// value is one value of the chart as values.yaml has it.
type value struct {
	path, fallback, meaning string
}

// values reads values.yaml: a key with a comment above it is a value; a key
// without one holds others.
func values(t *testing.T, dir string) []value {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var out []value
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		for i := 0; i < len(n.Content); i += 2 {
			key, v := n.Content[i], n.Content[i+1]
			at := strings.TrimPrefix(path+"."+key.Value, ".")
			comment := key.HeadComment
			if comment == "" {
				if v.Kind != yaml.MappingNode {
					t.Errorf("values.yaml: %s has no comment", at)
				}
				walk(v, at)
				continue
			}
			if j := strings.LastIndex(comment, "\n\n"); j >= 0 {
				comment = comment[j+2:] // what is before an empty line is about the file
			}
			words := strings.Fields(strings.ReplaceAll(comment, "#", " "))
			out = append(out, value{at, oneLine(t, v), strings.Join(words, " ")})
		}
	}
	walk(doc.Content[0], "")
	if least := map[string]int{chartDir: 50, witnessDir: 20}[dir]; least == 0 || len(out) < least {
		t.Fatalf("%s: %d values read; the walk is broken", dir, len(out))
	}
	return out
}

// oneLine writes a value as JSON, which YAML reads too.
func oneLine(t *testing.T, n *yaml.Node) string {
	t.Helper()
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// other says for each value how to set it to something else, with what else it
// takes to be seen.
func other() map[string][]string {
	policy := "[0].ipBlock.cidr=10.0.0.0/8"
	out := map[string][]string{
		"image.repository":                                   {"image.repository=mirror.example/bulwark"},
		"image.tag":                                          {"image.tag=v9"},
		"image.digest":                                       {"image.digest=sha256:" + strings.Repeat("a1", 32)},
		"image.pullPolicy":                                   {"image.pullPolicy=Always"},
		"imagePullSecrets":                                   {"imagePullSecrets[0].name=registry"},
		"controllerName":                                     {"controllerName=example.com/edge"},
		"gatewayClass.create":                                {"gatewayClass.create=false"},
		"gatewayClass.name":                                  {"gatewayClass.name=edge"},
		"unprotected":                                        {"unprotected=allow"},
		"crds.install":                                       {"crds.install=false"},
		"crds.keep":                                          {"crds.keep=false"},
		"provision.enabled":                                  {"provision.enabled=false"},
		"provision.serviceType":                              {"provision.serviceType=NodePort"},
		"rbac.aggregateView":                                 {"rbac.aggregateView=false"},
		"rbac.aggregateEdit":                                 {"rbac.aggregateEdit=true"},
		"log.format":                                         {"log.format=text"},
		"log.level":                                          {"log.level=debug"},
		"controller.replicas":                                {"controller.replicas=3"},
		"gateway.replicas":                                   {"gateway.autoscaling.enabled=false", "gateway.replicas=7"},
		"gateway.autoscaling.enabled":                        {"gateway.autoscaling.enabled=false"},
		"gateway.autoscaling.minReplicas":                    {"gateway.autoscaling.minReplicas=4"},
		"gateway.autoscaling.maxReplicas":                    {"gateway.autoscaling.maxReplicas=40"},
		"gateway.events.record":                              {"gateway.events.record=refused"},
		"gateway.events.sizeLimit":                           {"gateway.events.sizeLimit=4Gi"},
		"gateway.drainSeconds":                               {"gateway.drainSeconds=60"},
		"gateway.preStopSeconds":                             {"gateway.preStopSeconds=10"},
		"gateway.limits.maxConnections":                      {"gateway.limits.maxConnections=1000000"},
		"gateway.limits.headerTimeout":                       {"gateway.limits.headerTimeout=5s"},
		"gateway.limits.idleTimeout":                         {"gateway.limits.idleTimeout=1m30s"},
		"gateway.limits.bodyTimeout":                         {"gateway.limits.bodyTimeout=500ms"},
		"gateway.limits.requestTimeout":                      {"gateway.limits.requestTimeout=2h"},
		"gateway.tracing.otlpEndpoint":                       {"gateway.tracing.otlpEndpoint=http://collector.observability.svc:4318"},
		"gateway.tracing.sample":                             {"gateway.tracing.otlpEndpoint=http://collector:4318", "gateway.tracing.sample=0.5"},
		"admission.enabled":                                  {"admission.certificateSecret=webhook", "admission.enabled=true"},
		"gateway.apiServers":                                 {"networkPolicy.apiServer.cidrs[0]=10.0.0.1/32", "gateway.apiServers={default/kubernetes:443}"},
		"audit.enabled":                                      {"audit.certificateSecret=trail", "audit.tokenSecret=tokens", "audit.enabled=true"},
		"networkPolicy.audit.senders":                        append(audited(), "networkPolicy.audit.senders"+policy),
		"networkPolicy.audit.extraEgress":                    append(audited(), "networkPolicy.audit.extraEgress[0].to"+policy),
		"networkPolicy.enabled":                              {"networkPolicy.enabled=false"},
		"networkPolicy.monitoring":                           {"networkPolicy.monitoring" + policy},
		"networkPolicy.apiServer.cidrs":                      {"networkPolicy.apiServer.cidrs[0]=10.0.0.1/32"},
		"networkPolicy.apiServer.ports":                      {"networkPolicy.apiServer.ports={8443}"},
		"networkPolicy.gateway.clients":                      {"networkPolicy.gateway.clients" + policy},
		"networkPolicy.gateway.allPods":                      {"networkPolicy.gateway.allPods=false"},
		"networkPolicy.gateway.outside.enabled":              {"networkPolicy.gateway.outside.enabled=false"},
		"networkPolicy.gateway.outside.ports":                {"networkPolicy.gateway.outside.ports={443,8443}"},
		"networkPolicy.gateway.outside.except":               {"networkPolicy.gateway.outside.except[0]=10.0.0.1/32"},
		"networkPolicy.gateway.extraEgress":                  {"networkPolicy.gateway.extraEgress[0].to" + policy},
		"podMonitor.enabled":                                 {"podMonitor.enabled=true"},
		"podMonitor.interval":                                {"podMonitor.enabled=true", "podMonitor.interval=15s"},
		"podMonitor.labels":                                  {"podMonitor.enabled=true", "podMonitor.labels.release=prometheus"},
		"networkPolicy.gateway.outside.exceptIPv6":           {"networkPolicy.gateway.outside.exceptIPv6[0]=2001:db8::/32"},
		"gateway.autoscaling.targetCPUUtilizationPercentage": {"gateway.autoscaling.targetCPUUtilizationPercentage=50"},
	}
	for _, part := range []string{"controller", "gateway"} {
		for path, set := range map[string]string{
			"resources": ".requests.cpu=1", "goMemLimit": "=1GiB", "podLabels": ".team=edge", "podAnnotations": ".team=edge",
			"nodeSelector": ".pool=edge", "tolerations": "[0].operator=Exists", "affinity": ".podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes\\.io/hostname",
			"priorityClassName": "=system-cluster-critical", "podDisruptionBudget.enabled": "=false", "podDisruptionBudget.maxUnavailable": "=50%",
		} {
			out[part+"."+path] = []string{part + "." + path + set}
		}
	}
	for path, set := range map[string]string{
		"certificateSecret": "=other", "caBundle": "=YQ==", "webhookAnnotations": ".team=edge", "failurePolicy": "=Ignore", "dryRun": "=false",
		"denyAt": "=critical", "warnAt": "=medium", "unknown": "=allow", "exemptNamespaces": "={kube-system,storage}", "replicas": "=3",
		"resources": ".requests.cpu=1", "goMemLimit": "=1GiB", "nodeSelector": ".pool=edge", "tolerations": "[0].operator=Exists",
		"affinity":          ".podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes\\.io/hostname",
		"priorityClassName": "=system-cluster-critical",
	} {
		out["admission."+path] = []string{"admission.enabled=true", "admission.certificateSecret=webhook", "admission." + path + set}
	}
	for path, set := range map[string]string{
		"certificateSecret": "=other", "tokenSecret": "=other", "apiServers": "={one}", "required": "=false", "spoolMiB": "=10", "size": "=1Ti",
		"storageClass": "=fast", "clusterIP": "=10.96.0.9", "extraArgs": "={--seal-age=3m}", "extraSecret": "=more", "silence": "=5m",
		"expectServers": "={apiserver-0}", "serviceAccountAnnotations": ".team=edge", "retention": ".classes[0].name=all,audit.retention.classes[0].keep=3d",
		"encryption.secret": "=keys", "alerts.severity": "=high",
		"resources": ".requests.cpu=1", "goMemLimit": "=1GiB", "nodeSelector": ".pool=edge", "tolerations": "[0].operator=Exists",
		"affinity":          ".podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes\\.io/hostname",
		"priorityClassName": "=system-cluster-critical",
	} {
		out["audit."+path] = append(audited(), "audit."+path+set)
	}
	maps.Copy(out, otherOfTrail())
	return out
}

// A value that changes nothing, and one that this test does not know, are
// errors; so is one whose change does not decode.
func TestEveryValueCounts(t *testing.T) {
	fallback := render(t, options(t)).YAML()
	changes, ran, bases := other(), 0, map[string]string{"": fallback}
	for _, v := range values(t, chartDir) {
		if v.path == "preflight" {
			continue // TestPreflight: it needs a cluster
		}
		set, ok := changes[v.path]
		if !ok {
			t.Errorf("%s: say in other() how to change it", v.path)
			continue
		}
		delete(changes, v.path)
		if !strings.HasPrefix(v.path, "crds.") {
			set = append([]string{"crds.install=false"}, set...) // they take longest to render
		}
		without := strings.Join(set[:len(set)-1], "\n")
		base, rendered := bases[without]
		if !rendered {
			base = render(t, options(t, set[:len(set)-1]...)).YAML()
			bases[without] = base
		}
		r := render(t, options(t, set...))
		if r.YAML() == base {
			t.Errorf("%s: %v changes nothing", v.path, set)
		}
		decode(t, r)
		ran++
	}
	for path := range changes {
		t.Errorf("values.yaml has no %s", path)
	}
	if ran < 60 {
		t.Errorf("%d values were changed", ran)
	}
}

// The schema knows the values of values.yaml and no others, and every object in
// it that is ours is closed.
func TestSchemaIsClosed(t *testing.T) {
	for _, dir := range []string{chartDir, witnessDir} {
		schemaIsClosed(t, dir)
	}
}

func schemaIsClosed(t *testing.T, dir string) {
	t.Helper()
	type schema struct {
		Properties map[string]*schema `json:"properties"`
		Additional any                `json:"additionalProperties"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var root schema
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, v := range values(t, dir) {
		known[v.path] = true
	}
	var walk func(s *schema, path string)
	walk = func(s *schema, path string) {
		if known[path] || path == "global" {
			delete(known, path)
			return
		}
		if len(s.Properties) == 0 {
			t.Errorf("values.yaml has no %s", path)
		}
		if s.Additional != false {
			t.Errorf("the schema admits anything under %q", path)
		}
		for name, p := range s.Properties {
			walk(p, strings.TrimPrefix(path+"."+name, "."))
		}
	}
	walk(&root, "")
	for path := range known {
		t.Errorf("the schema has no %s", path)
	}
}

const (
	tableBegins = "<!-- values: from values.yaml by go test ./test/chart -update -->\n"
	tableEnds   = "<!-- end of values -->\n"
)

// README.md lists every value of values.yaml.
func TestReadme(t *testing.T) {
	for _, dir := range []string{chartDir, witnessDir} {
		readme(t, dir)
	}
}

func readme(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	_, after, end := strings.Cut(rest, tableEnds)
	if !ok || !end {
		t.Fatal("README.md has no place for the values")
	}
	var b strings.Builder
	b.WriteString("| value | default | meaning |\n|---|---|---|\n")
	for _, v := range values(t, dir) {
		b.WriteString("| `" + v.path + "` | `" + v.fallback + "` | " + strings.ReplaceAll(v.meaning, "|", "\\|") + " |\n")
	}
	want := before + tableBegins + b.String() + tableEnds + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("README.md is old; go test -update rewrites it (-want +got):\n%s", diff)
	}
}

// The notes say what is dangerous about the values that were chosen.
func TestNotes(t *testing.T) {
	cases := []struct {
		set  []string
		want string
		not  bool
	}{
		{nil, "answer 403", false},
		{nil, "WARNING", true},
		{[]string{"unprotected=allow"}, "WARNING: routes that no SecurityPolicy covers are open", false},
		{[]string{"networkPolicy.enabled=false"}, "WARNING: no NetworkPolicies", false},
		{[]string{"provision.enabled=false"}, "No Services are made", false},
		{nil, "named by tag", false},
		{[]string{"image.digest=sha256:" + strings.Repeat("0", 64)}, "named by tag", true},
		{[]string{"gatewayClass.name=edge"}, "gatewayClassName: edge", false},
	}
	for _, c := range cases {
		if got := render(t, options(t, c.set...)).Notes; strings.Contains(got, c.want) == c.not {
			t.Errorf("%v: %q in the notes should be %v:\n%s", c.set, c.want, !c.not, got)
		}
	}
	if !slices.ContainsFunc(values(t, chartDir), func(v value) bool { return v.path == "unprotected" && v.fallback == `"refuse"` }) {
		t.Error("the chart does not refuse by default")
	}
}
