package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFieldLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, `# a comment
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: List
items:
- apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata:
    name: orders
    labels:
      app.kubernetes.io/name: orders
  spec:
    parentRefs: [{name: shop}]
    rules:
    - matches:
      - path:
          value: /a
    - backendRefs:
      - name: orders
        port: 80
`)
	s := mustLoad(t, dir)
	tests := []struct {
		path string
		line int
	}{
		{"", 9},
		{"metadata.name", 12},
		{"metadata.labels[app.kubernetes.io/name]", 14},
		{"spec", 15},
		{"spec.parentRefs[0].name", 16},
		{"spec.parentRefs[0].kind", 16},   // a default: the entry
		{"spec.rules[0].matches[0]", 19},  // an item
		{"spec.rules[0].matches[7]", 18},  // none such: its list
		{"spec.rules[0].filters[0]", 18},  // none such: its rule
		{"spec.rules[1].backendRefs", 21}, // the key, not its first item
		{"spec.rules[1].backendRefs[0].port", 23},
		{"nonsense[", 9},
	}
	for _, tt := range tests {
		gotFile, line := s.FieldLine("HTTPRoute", "default", "orders", tt.path)
		if gotFile != file || line != tt.line {
			t.Errorf("FieldLine(%q) = %s:%d, want line %d", tt.path, gotFile, line, tt.line)
		}
	}
	if f, line := s.Source(s.HTTPRoutes[0]); f != file || line != 9 {
		t.Errorf("Source = %s:%d, want line 9", f, line)
	}
	if f, line := s.FieldLine("HTTPRoute", "default", "nobody", "spec"); f != "" || line != 0 {
		t.Errorf("an unknown object has the place %s:%d", f, line)
	}
	if f, line := s.FieldLine("Pod", "default", "orders", "spec"); f != "" || line != 0 {
		t.Errorf("an unknown kind has the place %s:%d", f, line)
	}
	stranger := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "orders"}}
	if f, line := s.Source(stranger); f != "" || line != 0 {
		t.Errorf("a stranger has the place %s:%d", f, line)
	}
}

func TestSorted(t *testing.T) {
	dir := t.TempDir()
	text := ""
	for _, n := range []string{"b/b", "a/z", "b/a", "a/a"} {
		ns, name, _ := strings.Cut(n, "/")
		text += "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: " + ns + "}\n"
	}
	write(t, filepath.Join(dir, "a.yaml"), text)
	s := mustLoad(t, dir)
	var got []string
	for _, c := range s.ConfigMaps {
		got = append(got, c.Namespace+"/"+c.Name)
	}
	if want := "a/a a/z b/a b/b"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
	if s.Len() != 4 {
		t.Errorf("Len = %d", s.Len())
	}
}

// TestReloadDecodesOnlyChanges proves that objects whose text stays are the
// same ones in the next snapshot, with the place that they have there.
func TestReloadDecodesOnlyChanges(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	keep := "---\n" + namespaceYAML("keep")
	write(t, file, namespaceYAML("old")+keep)
	var l loader
	before, err := l.load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, "# moved down\n\n"+namespaceYAML("new")+keep)
	after, err := l.load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	if before.Namespaces[0] != after.Namespaces[0] {
		t.Error("an unchanged object was decoded again")
	}
	if _, line := after.Source(after.Namespaces[0]); line != 7 {
		t.Errorf("the unchanged object is on line %d, want 7", line)
	}
	if before.Digest() == after.Digest() {
		t.Error("other content has the same digest")
	}
	if len(l.known) != 2 {
		t.Errorf("%d documents are remembered, want the 2 of the last load", len(l.known))
	}
}

// TestSecretsStayOut proves that no problem shows what a Secret holds.
func TestSecretsStayOut(t *testing.T) {
	const secret = "hunter2"
	texts := []string{
		"stringData: {a: [" + secret + "]}",
		"stringData: {a: {" + secret + "x: " + secret + "}}",
		"data: {a: '" + secret + "!'}",
		"data: {a: " + secret + "-}",
		"data: [" + secret + "]",
		"stringData: " + secret,
		"type: [" + secret + "]",
		"immutable: " + secret,
		"stringData: {a: !x " + secret + "}",
		"metadata: {creationTimestamp: " + secret + "}",
	}
	for _, text := range texts {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.yaml"), "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"+text+"\n")
		_, err := LoadFiles([]string{dir})
		if len(problemsOf(t, err)) == 0 || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the secret: %v", text, err)
		}
	}
}

// TestSchemaIsCurrent fails when the Gateway API module changed and nobody ran
// make gen.
func TestSchemaIsCurrent(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(mod), "sigs.k8s.io/gateway-api ")
	version, _, _ := strings.Cut(rest, "\n")
	if !strings.Contains(string(schemaText[:300]), "gateway-api "+version+";") {
		t.Errorf("zz_generated.schema.json is not of gateway-api %s; run make gen", version)
	}
	for _, k := range kinds() {
		if (k.group == "gateway.networking.k8s.io") != (schemas()[k.name] != nil) {
			t.Errorf("kind %s: schema %v", k.name, schemas()[k.name] != nil)
		}
	}
}
