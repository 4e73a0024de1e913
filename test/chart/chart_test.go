package chart

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files and the chart's README")

const (
	chartDir   = "../../deploy/helm/bulwark"
	gateway    = "bulwark-gateway"
	controller = "bulwark-controller"
	ns         = "edge-system"
)

func options(t *testing.T, set ...string) Options {
	t.Helper()
	return Options{Dir: chartDir, Release: "bulwark", Namespace: ns, KubeVersion: "v1.36.3", Set: set}
}

func render(t *testing.T, o Options) *Release {
	t.Helper()
	r, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// podMonitor is the part of the Prometheus Operator's kind that the chart uses.
type podMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector            metav1.LabelSelector `json:"selector"`
		PodTargetLabels     []string             `json:"podTargetLabels"`
		PodMetricsEndpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

func (p *podMonitor) DeepCopyObject() runtime.Object { c := *p; return &c }

// decode reads every object of r as the API server would: a field that its kind
// does not have is an error.
func decode(t *testing.T, r *Release) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextv1.AddToScheme, gwv1.Install} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var out []runtime.Object
	for _, m := range r.Objects {
		if m.Kind == "PodMonitor" {
			p := &podMonitor{}
			if err := yaml.UnmarshalStrict([]byte(m.Text), p); err != nil {
				t.Fatalf("%s: %v", m.Source, err)
			}
			out = append(out, p)
			continue
		}
		o, _, err := decoder.Decode([]byte(m.Text), nil, nil)
		if err != nil {
			t.Fatalf("%s %s: %v", m.Source, m.Kind, err)
		}
		out = append(out, o)
	}
	return out
}

// of gives the objects of type T.
func of[T runtime.Object](objects []runtime.Object) []T {
	var out []T
	for _, o := range objects {
		if v, ok := o.(T); ok {
			out = append(out, v)
		}
	}
	return out
}

// named gives the one object of type T with a name.
func named[T interface {
	runtime.Object
	metav1.Object
}](t *testing.T, objects []runtime.Object, name string,
) T {
	t.Helper()
	all := of[T](objects)
	i := slices.IndexFunc(all, func(o T) bool { return o.GetName() == name })
	if i < 0 {
		t.Fatalf("no %T %q among %d", *new(T), name, len(all))
	}
	return all[i]
}

// everything are values that turn on all that is optional.
func everything() []string {
	return []string{
		"podMonitor.enabled=true", "rbac.aggregateEdit=true", "imagePullSecrets[0].name=registry",
		"gateway.priorityClassName=system-cluster-critical", "controller.podLabels.team=edge",
		"gateway.tracing.otlpEndpoint=http://collector.observability.svc:4318", "gateway.limits.maxConnections=20000",
		"networkPolicy.apiServer.cidrs[0]=10.0.0.1/32",
		"image.digest=sha256:" + strings.Repeat("0123456789abcdef", 4),
	}
}

// nothing are values that turn off all that can be.
func nothing() []string {
	return []string{
		"crds.install=false", "gatewayClass.create=false", "provision.enabled=false", "rbac.aggregateView=false",
		"gateway.autoscaling.enabled=false", "gateway.podDisruptionBudget.enabled=false",
		"controller.podDisruptionBudget.enabled=false", "networkPolicy.enabled=false", "gateway.preStopSeconds=0",
	}
}

// renderings are the values that the properties below are proved for.
func renderings() map[string][]string {
	return map[string][]string{"default": nil, "everything": everything(), "nothing": nothing()}
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 3 {
		t.Fatalf("%d golden files, want 3 or more", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) == 0 || a.Files[0].Name != "values.yaml" {
				t.Fatal("the first part must be values.yaml")
			}
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, a.Files[0].Data, 0o600); err != nil {
				t.Fatal(err)
			}
			o := options(t)
			o.Values = []string{values}
			r := render(t, o)
			got := []txtar.File{a.Files[0], {Name: "NOTES.txt", Data: []byte(r.Notes)}, {Name: "objects.yaml", Data: []byte(withoutCRDs(r).YAML())}}
			if *update {
				if err := os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: a.Comment, Files: got}), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(a)), string(txtar.Format(&txtar.Archive{Comment: a.Comment, Files: got}))); diff != "" {
				t.Errorf("rendering changed (-want +got); go test -update rewrites it:\n%s", diff)
			}
		})
	}
}

// withoutCRDs leaves out what is generated elsewhere.
func withoutCRDs(r *Release) *Release {
	c := *r
	c.Objects = slices.DeleteFunc(slices.Clone(r.Objects), func(m Manifest) bool { return m.Kind == "CustomResourceDefinition" })
	return &c
}

func TestSameInputSameOutput(t *testing.T) {
	for name, set := range renderings() {
		first := render(t, options(t, set...)).YAML()
		for range 5 {
			if again := render(t, options(t, set...)).YAML(); again != first {
				t.Fatalf("%s: rendered differently:\n%s", name, cmp.Diff(first, again))
			}
		}
	}
}

func TestEveryObjectDecodes(t *testing.T) {
	for name, set := range renderings() {
		objects := decode(t, render(t, options(t, set...)))
		if len(objects) < 10 {
			t.Errorf("%s: only %d objects", name, len(objects))
		}
		for _, o := range objects {
			m, ok := o.(metav1.Object)
			if !ok {
				t.Fatalf("%T has no metadata", o)
			}
			if got := m.GetLabels()["app.kubernetes.io/name"]; got != "bulwark" && !isCRD(o) {
				t.Errorf("%s: %T %s lacks the common labels", name, o, m.GetName())
			}
			if m.GetNamespace() != ns && m.GetNamespace() != "" {
				t.Errorf("%s: %T %s goes to namespace %q", name, o, m.GetName(), m.GetNamespace())
			}
		}
	}
}

func isCRD(o runtime.Object) bool {
	_, ok := o.(*apiextv1.CustomResourceDefinition)
	return ok
}

// The order is the one in which kubectl apply succeeds at once.
func TestInstallOrder(t *testing.T) {
	position := map[string]int{}
	for i, m := range render(t, options(t)).Objects {
		position[m.Kind] = i
	}
	for _, pair := range [][2]string{
		{"ServiceAccount", "Deployment"},
		{"CustomResourceDefinition", "Deployment"},
		{"NetworkPolicy", "Deployment"},
		{"RoleBinding", "Deployment"},
		{"ClusterRoleBinding", "Deployment"},
		{"Deployment", "GatewayClass"},
	} {
		if a, b := position[pair[0]], position[pair[1]]; a >= b {
			t.Errorf("%s (%d) does not come before %s (%d)", pair[0], a, pair[1], b)
		}
	}
}

// What is in the chart is what make gen wrote, kept on uninstall unless asked
// for otherwise, and really a template: Helm never upgrades a crds folder.
func TestCRDs(t *testing.T) {
	if _, err := os.Stat(filepath.Join(chartDir, "crds")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the chart has a crds folder, which Helm does not upgrade: %v", err)
	}
	names := func(dir string) map[string]string {
		out := map[string]string{}
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(f)] = string(text)
		}
		return out
	}
	generated := names("../../deploy/crds")
	if diff := cmp.Diff(generated, names(filepath.Join(chartDir, "files", "crds"))); diff != "" || len(generated) == 0 {
		t.Fatalf("deploy/crds and the chart's copy differ, run make gen (-deploy +chart):\n%s", diff)
	}
	for _, keep := range []bool{true, false} {
		crds := of[*apiextv1.CustomResourceDefinition](decode(t, render(t, options(t, fmt.Sprintf("crds.keep=%v", keep)))))
		if len(crds) != len(generated) {
			t.Errorf("%d CRDs rendered, %d generated", len(crds), len(generated))
		}
		for _, c := range crds {
			want := map[bool]string{true: "keep", false: ""}[keep]
			if got := c.Annotations["helm.sh/resource-policy"]; got != want {
				t.Errorf("crds.keep=%v: %s has resource policy %q, want %q", keep, c.Name, got, want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	cases := []struct{ set, want string }{
		{"gatway.replicas=3", "additional properties 'gatway' not allowed"},
		{"gateway.replicaCount=3", "additional properties 'replicaCount' not allowed"},
		{"gateway.events.path=/x", "additional properties 'path' not allowed"},
		{"gateway.resources.limts.memory=1Gi", "additional properties 'limts' not allowed"},
		{"gateway.resources.limits.memroy=1Gi", "additional properties 'memroy' not allowed"},
		{"unprotected=yes", "/unprotected"},
		{"unprotected=", "/unprotected"},
		{"image.digest=latest", "/image/digest"},
		{"image.repository=bulwark@sha256:1", "/image/repository"},
		{"gateway.limits.headerTimeout=10", "/gateway/limits/headerTimeout"},
		{"gateway.drainSeconds=-1", "/gateway/drainSeconds"},
		{"gateway.replicas=0", "/gateway/replicas"},
		{"controllerName=bulwark", "/controllerName"},
		{"provision.serviceType=ExternalName", "/provision/serviceType"},
		{"networkPolicy.apiServer.ports[0]=0", "/networkPolicy/apiServer/ports/0"},
		{`gateway.podLabels.app\.kubernetes\.io/component=controller`, "invalid propertyName 'app.kubernetes.io/component'"},
		{`controller.podAnnotations.kubectl\.kubernetes\.io/default-container=x`, "invalid propertyName 'kubectl.kubernetes.io"},
		{"log.level=trace", "/log/level"},
	}
	for _, c := range cases {
		t.Run(c.set, func(t *testing.T) {
			_, err := Render(options(t, c.set))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
	old := options(t)
	old.KubeVersion = "v1.30.9"
	if _, err := Render(old); err == nil || !strings.Contains(err.Error(), "needs Kubernetes") {
		t.Errorf("an old cluster gave %v", err)
	}
}

// Nobody gets a value past the templates into another field: what ends up in
// YAML without quotes is bounded by the schema.
func TestNoInjection(t *testing.T) {
	for _, set := range []string{
		"gatewayClass.name=x\n  annotations: {}", "controllerName=a/b\nspec: {}", "gateway.goMemLimit=1MiB\n",
		"gateway.events.sizeLimit=1Gi\n", "image.tag=a b", "image.repository=a b", "podMonitor.interval=30s\n",
		"gateway.tracing.otlpEndpoint=http://a\n- --unprotected=allow", "gateway.priorityClassName=a: b",
	} {
		if _, err := Render(options(t, set)); err == nil {
			t.Errorf("%q was rendered", set)
		}
	}
}

func deployments(t *testing.T, objects []runtime.Object) map[string]*appsv1.Deployment {
	t.Helper()
	out := map[string]*appsv1.Deployment{}
	for _, d := range of[*appsv1.Deployment](objects) {
		out[d.Name] = d
	}
	if len(out) != 2 || out[gateway] == nil || out[controller] == nil {
		t.Fatalf("Deployments are %v", out)
	}
	return out
}

func TestFind(t *testing.T) {
	dir, err := Find("render")
	if err != nil {
		t.Fatal(err)
	}
	want, err := filepath.Abs(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	if dir != want {
		t.Errorf("found %s, want %s", dir, want)
	}
	if _, err := Find(t.TempDir()); err == nil {
		t.Error("found a chart where there is none")
	}
}
