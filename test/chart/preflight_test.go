package chart

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
)

// cluster answers the templates' lookups from a list of objects.
type cluster struct{ client *fake.FakeDynamicClient }

func newCluster(names ...string) cluster {
	scheme := runtime.NewScheme()
	objects := []runtime.Object{object("v1", "Namespace", "kube-system")}
	for _, n := range names {
		objects = append(objects, object("apiextensions.k8s.io/v1", "CustomResourceDefinition", n+".gateway.networking.k8s.io"))
	}
	return cluster{fake.NewSimpleDynamicClientWithCustomListKinds(scheme, map[schema.GroupVersionResource]string{
		namespaces: "NamespaceList", crds: "CustomResourceDefinitionList",
	}, objects...)}
}

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	crds       = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

func object(version, kind, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(version)
	o.SetKind(kind)
	o.SetName(name)
	o.SetUID("1")
	o.SetCreationTimestamp(metav1.Time{})
	return o
}

// GetClientFor is for engine.ClientProvider.
func (c cluster) GetClientFor(_, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	if kind == "Namespace" {
		return c.client.Resource(namespaces), false, nil
	}
	return c.client.Resource(crds), false, nil
}

// A cluster that lacks Gateway API is told what to apply before anything is
// installed; without a cluster at hand nothing is asked.
func TestPreflight(t *testing.T) {
	all := []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"}
	with := func(c cluster, set ...string) error {
		o := options(t, set...)
		o.Cluster = c
		_, err := Render(o)
		return err
	}
	if err := with(newCluster(all...)); err != nil {
		t.Errorf("a good cluster is refused: %v", err)
	}
	for i, missing := range all {
		rest := append(append([]string{}, all[:i]...), all[i+1:]...)
		err := with(newCluster(rest...))
		if err == nil || !strings.Contains(err.Error(), "CRDs ("+missing+")") || !strings.Contains(err.Error(), "kubectl apply --server-side -f https://") {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	if err := with(newCluster(), "preflight=false"); err != nil {
		t.Errorf("preflight=false still looks: %v", err)
	}
}
