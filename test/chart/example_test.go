package chart

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	k8syaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/examples/shop/idp"
)

const (
	exampleDir = "../../examples/kubernetes"
	filesDir   = "../../examples/shop"
)

// readObjects decodes every document of a folder's YAML files strictly.
func readObjects(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gwv1.Install, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []runtime.Object
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs := k8syaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
		for {
			doc, err := docs.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			o, _, err := decoder.Decode(doc, nil, nil)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			out = append(out, o)
		}
	}
	if len(out) < 10 {
		t.Fatalf("%s holds %d objects", dir, len(out))
	}
	return out
}

// The example's pods are as strict as our own, and only gateways reach the API.
func TestExamplePods(t *testing.T) {
	objects := readObjects(t, exampleDir)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	chartPods := deployments(t, decode(t, render(t, options(t))))
	pods := of[*appsv1.Deployment](objects)
	if len(pods) != 2 {
		t.Fatalf("%d Deployments", len(pods))
	}
	for _, d := range pods {
		pod := d.Spec.Template
		restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		if v := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)); !v.Allowed {
			t.Errorf("%s: %s", d.Name, v.ForbiddenDetail())
		}
		if ptr.Deref(pod.Spec.AutomountServiceAccountToken, true) || !ptr.Deref(pod.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem, false) {
			t.Errorf("%s has a token or a writable root", d.Name)
		}
		if want := chartPods[gateway].Spec.Template.Spec.Containers[0].Image; pod.Spec.Containers[0].Image != want {
			t.Errorf("%s runs %s, the chart %s", d.Name, pod.Spec.Containers[0].Image, want)
		}
		s := named[*corev1.Service](t, objects, d.Name)
		if got := selected(t, objects, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}); !slices.Equal(got, []string{d.Name}) {
			t.Errorf("Service %s selects %v", s.Name, got)
		}
	}
	rule := named[*networkingv1.NetworkPolicy](t, objects, "api").Spec.Ingress
	if len(rule) != 1 || len(rule[0].From) != 1 || !matches(t, rule[0].From[0].PodSelector, chartPods[gateway].Spec.Template.Labels) ||
		matches(t, rule[0].From[0].PodSelector, chartPods[controller].Spec.Template.Labels) {
		t.Errorf("the API is open to others than gateways: %+v", rule)
	}
}

// The policies and routes are those of the example in files, but for where keys
// come from and which addresses are near.
func TestExampleIsTheShop(t *testing.T) {
	cluster, files := readObjects(t, exampleDir), readObjects(t, filesDir)
	policies := of[*v1alpha1.SecurityPolicy](files)
	for _, p := range policies {
		if errs := v1alpha1.Validate(p); len(errs) > 0 {
			t.Errorf("%s: %v", p.Name, errs)
		}
	}
	if len(policies) < 5 {
		t.Fatalf("%d policies", len(policies))
	}
	local := func(list []*v1alpha1.SecurityPolicy) []*v1alpha1.SecurityPolicy {
		for _, p := range list {
			if a := p.Spec.Authentication; a != nil {
				for i := range a.AnyOf {
					if j := a.AnyOf[i].JWT; j != nil {
						j.Issuer, j.JWKS = "", v1alpha1.JWKS{}
					}
				}
			}
			if p.Spec.Network != nil {
				p.Spec.Network.Allow = nil
			}
		}
		return list
	}
	if diff := cmp.Diff(local(policies), local(of[*v1alpha1.SecurityPolicy](cluster))); diff != "" {
		t.Errorf("policies (-files +cluster):\n%s", diff)
	}
	if diff := cmp.Diff(of[*gwv1.HTTPRoute](files), of[*gwv1.HTTPRoute](cluster)); diff != "" {
		t.Errorf("routes (-files +cluster):\n%s", diff)
	}
	if diff := cmp.Diff(of[*corev1.Secret](files), of[*corev1.Secret](cluster)); diff != "" {
		t.Errorf("keys (-files +cluster):\n%s", diff)
	}
}

// The ConfigMap holds the key that the provider makes from its seed, and the
// policies name the issuer that it puts into tokens.
func TestExampleKeys(t *testing.T) {
	objects := readObjects(t, exampleDir)
	args := named[*appsv1.Deployment](t, objects, "idp").Spec.Template.Spec.Containers[0].Args
	flag := func(name string) string {
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
				return v
			}
		}
		t.Fatalf("the provider is not told its %s: %v", name, args)
		return ""
	}
	h, err := idp.NewDemo(flag("issuer"), flag("seed"), rand.Reader, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/jwks", nil))
	var served, stored any
	if err := json.Unmarshal(w.Body.Bytes(), &served); err != nil {
		t.Fatal(err)
	}
	keys := named[*corev1.ConfigMap](t, objects, "idp-keys")
	if err := json.Unmarshal([]byte(keys.Data["jwks.json"]), &stored); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(served, stored); diff != "" {
		t.Errorf("the ConfigMap's key is not the provider's (-provider +ConfigMap):\n%s", diff)
	}
	seen := 0
	for _, p := range of[*v1alpha1.SecurityPolicy](objects) {
		if errs := v1alpha1.Validate(p); len(errs) > 0 {
			t.Errorf("%s: %v", p.Name, errs)
		}
		if p.Spec.Authentication == nil {
			continue
		}
		for _, a := range p.Spec.Authentication.AnyOf {
			if a.JWT == nil {
				continue
			}
			seen++
			if a.JWT.Issuer != flag("issuer") || a.JWT.JWKS.ConfigMapRef == nil || a.JWT.JWKS.ConfigMapRef.Name != keys.Name {
				t.Errorf("%s trusts %s by %+v", p.Name, a.JWT.Issuer, a.JWT.JWKS)
			}
		}
	}
	if seen < 3 {
		t.Errorf("%d policies ask for tokens", seen)
	}
}
