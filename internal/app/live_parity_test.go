package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/live"
	"bulwark.dev/bulwark/internal/cluster/live/livetest"
	"bulwark.dev/bulwark/internal/gateway/compile"
)

// TestLiveParity: the same objects compile to the same table and the same
// report, whether they come from files or through an API server, which applies
// its own defaults, not ours.
func TestLiveParity(t *testing.T) {
	crds := readCRDs(t)
	ran, rules, connections := 0, 0, 0
	for name, files := range parityCases(t) {
		t.Run(name, func(t *testing.T) {
			dir, objects := t.TempDir(), acceptable(t, files)
			if len(objects) == 0 {
				return
			}
			for i, o := range objects {
				writeYAML(t, filepath.Join(dir, fmt.Sprintf("%03d.yaml", i)), o)
			}
			fromFiles, err := cluster.LoadFiles([]string{dir})
			if err != nil {
				t.Fatal(err)
			}
			server := livetest.Start(t)
			server.Stream(ran%2 == 0)
			for _, o := range objects {
				crds.complete(o)
				server.Apply(o)
			}
			fromServer := serverSnapshot(t, server)
			if fromServer.Len() != fromFiles.Len() {
				t.Errorf("%d objects from the server, %d from files", fromServer.Len(), fromFiles.Len())
			}
			opt := compile.Options{Unprotected: strings.Contains(name, "unprotected")}
			want, wantReport := compile.Compile(input(fromFiles), opt)
			got, gotReport := compile.Compile(input(fromServer), opt)
			if diff := cmp.Diff(want, got, secrets(), everyField()); diff != "" {
				t.Errorf("-files +server:\n%s", diff)
			}
			if diff := cmp.Diff(wantReport.Lines(), gotReport.Lines()); diff != "" {
				t.Errorf("-files +server:\n%s", diff)
			}
			ran++
			rules += len(want.Rules)
			for _, l := range want.Listeners {
				connections += len(l.Streams)
			}
		})
	}
	if ran < 40 || rules < 75 || connections < 3 {
		t.Errorf("%d cases with %d rules and %d streams are too few to prove anything", ran, rules, connections)
	}
}

// secrets compares what secrets hold and shows none of it.
func secrets() cmp.Option {
	return cmp.Comparer(func(a, b bulwark.Secret) bool { return bytes.Equal(a.Reveal(), b.Reveal()) })
}

func everyField() cmp.Option { return cmp.Exporter(func(reflect.Type) bool { return true }) }

// parityCases gives the examples, the guide's files and what compile is tested
// with.
func parityCases(t *testing.T) map[string][][]byte {
	t.Helper()
	cases := map[string][][]byte{}
	for _, file := range glob(t, "../../examples/*/*.yaml") {
		name := "examples/" + filepath.Base(filepath.Dir(file))
		cases[name] = append(cases[name], readFile(t, file))
	}
	for _, page := range glob(t, "../../docs/guide/*.md") {
		for i, part := range strings.Split(string(readFile(t, page)), "```yaml\n") {
			block, _, _ := strings.Cut(part, "```")
			if i > 0 && strings.Contains(block, "apiVersion:") {
				cases[fmt.Sprint("guide/", filepath.Base(page), "-", i)] = [][]byte{[]byte(block)}
			}
		}
	}
	fill := fixtures(t)
	cases["streams"] = [][]byte{fill([]byte(streams))}
	for _, file := range glob(t, "../gateway/compile/testdata/*.txtar") {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := "compile/" + strings.TrimSuffix(filepath.Base(file), ".txtar")
		for _, f := range archive.Files {
			switch {
			case strings.HasSuffix(f.Name, ".yaml"):
				cases[name] = append(cases[name], fill(f.Data))
			case f.Name == "include":
				for include := range strings.FieldsSeq(string(f.Data)) {
					cases[name] = append(cases[name], fill(readFile(t, "../gateway/compile/testdata/"+include+".yaml")))
				}
			}
		}
	}
	return cases
}

// streams is what the examples do not show.
const streams = `
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  gatewayClassName: bulwark
  allowedListeners: {namespaces: {from: All}}
  listeners:
  - {name: pass, port: 443, protocol: TLS, hostname: "*.pass.example", tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: All}}}
  - {name: end, port: 443, protocol: TLS, hostname: "*.end.example", tls: {mode: Terminate, certificateRefs: [{name: edge-tls}]}, allowedRoutes: {namespaces: {from: All}}}
---
kind: Secret
metadata: {name: edge-tls, namespace: infra}
type: kubernetes.io/tls
data: {tls.crt: "${base64:server.crt}", tls.key: "${base64:server.key}"}
---
kind: ListenerSet
metadata: {name: more, namespace: shop}
spec:
  parentRef: {name: edge, namespace: infra}
  listeners: [{name: db, port: 5432, protocol: TLS, tls: {mode: Passthrough}}]
---
kind: TLSRoute
metadata: {name: both, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: infra}, {kind: ListenerSet, name: more}]
  hostnames: [a.pass.example, "*.end.example"]
  rules: [{backendRefs: [{name: db, port: 5432}, {name: db, port: 5433, weight: 0}]}]
---
kind: Service
metadata: {name: db, namespace: shop}
spec: {ports: [{name: sql, port: 5432}, {name: other, port: 5433}]}
---
kind: EndpointSlice
metadata: {name: db, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 15432}, {name: other, port: 15433}]
endpoints: [{addresses: [10.0.0.9]}]
`

var placeholder = regexp.MustCompile(`\$\{(base64|json):([^}]+)\}`)

// fixtures gives what fills the places of files in compile's cases: one key
// pair for all certificates and keys, and for the rest any text.
func fixtures(t *testing.T) func([]byte) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"*.example"},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return func(text []byte) []byte {
		return placeholder.ReplaceAllFunc(text, func(match []byte) []byte {
			parts := placeholder.FindSubmatch(match)
			content := parts[2]
			switch filepath.Ext(string(content)) {
			case ".crt":
				content = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
			case ".key":
				content = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
			}
			if string(parts[1]) == "base64" {
				return []byte(base64.StdEncoding.EncodeToString(content))
			}
			return strconv.AppendQuote(nil, string(content))
		})
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return files
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rawObjects reads YAML as kubectl does.
func rawObjects(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var out []map[string]any
	for doc := range strings.SplitSeq("\n"+string(text), "\n---") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if items, ok := o["items"].([]any); ok && o["kind"] == "List" {
			for _, i := range items {
				if item, ok := i.(map[string]any); ok {
					out = append(out, item)
				}
			}
			continue
		}
		if len(o) > 0 {
			out = append(out, o)
		}
	}
	return out
}

// acceptable gives the objects that an API server would store; some that compile
// is tested with are not.
func acceptable(t *testing.T, files [][]byte) []map[string]any {
	t.Helper()
	var out []map[string]any
	dir := t.TempDir()
	for _, text := range files {
		for _, o := range rawObjects(t, text) {
			for _, k := range cluster.Kinds() {
				if k.Name != o["kind"] {
					continue
				}
				setDefault(o, "apiVersion", strings.TrimPrefix(k.Group+"/"+k.Versions[0], "/"))
				file := filepath.Join(dir, "object.yaml")
				writeYAML(t, file, o)
				if _, err := cluster.LoadFiles([]string{file}); err == nil {
					out = append(out, o)
				}
			}
		}
	}
	return out
}

func writeYAML(t *testing.T, file string, o map[string]any) {
	t.Helper()
	text, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func serverSnapshot(t *testing.T, server *livetest.Server) *cluster.Snapshot {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var first *cluster.Snapshot
	cfg := live.Config{REST: server.Config(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now, Debounce: time.Millisecond}
	if err := live.Watch(ctx, cfg, func(s *cluster.Snapshot) {
		first = s
		cancel()
	}); err != nil || first == nil {
		t.Fatalf("no snapshot: %v", err)
	}
	if len(first.Unreadable)+len(first.Absent) > 0 {
		t.Fatalf("unreadable %v, absent %v", first.Unreadable, first.Absent)
	}
	return first
}

// schema is as much of a CRD's schema as an API server needs to apply defaults.
type schema struct {
	Default    any                `json:"default"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
	Additional *schema            `json:"additionalProperties"`
}

// defaulter applies what an API server applies when it stores an object.
type defaulter map[string]*schema // by kind

// readCRDs reads the CRDs of Gateway API, and ours.
func readCRDs(t *testing.T) defaulter {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	d := defaulter{}
	files := glob(t, filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/gateway.networking.k8s.io_*.yaml"))
	for _, file := range append(files, glob(t, "../../deploy/crds/*.yaml")...) {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						Schema *schema `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(readFile(t, file), &crd); err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			if v.Name == "v1" || v.Name == "v1alpha1" {
				d[crd.Spec.Names.Kind] = v.Schema.Schema
			}
		}
	}
	return d
}

func (d defaulter) complete(o map[string]any) {
	meta := member(o, "metadata")
	kind, _ := o["kind"].(string)
	if meta["namespace"] == nil && kind != "Namespace" && kind != "GatewayClass" {
		meta["namespace"] = "default"
	}
	if s := d[kind]; s != nil {
		s.complete(o)
		return
	}
	switch kind {
	case "Service":
		spec := member(o, "spec")
		for k, v := range map[string]any{"type": "ClusterIP", "sessionAffinity": "None", "clusterIP": "10.96.0.7", "internalTrafficPolicy": "Cluster", "ipFamilies": []any{"IPv4"}} {
			if spec[k] == nil && (spec["type"] != "ExternalName" || k == "sessionAffinity") {
				spec[k] = v
			}
		}
		for _, p := range members(spec, "ports") {
			setDefault(p, "protocol", "TCP")
			setDefault(p, "targetPort", p["port"])
		}
		o["status"] = map[string]any{"loadBalancer": map[string]any{}}
	case "EndpointSlice":
		for _, p := range members(o, "ports") {
			setDefault(p, "protocol", "TCP")
			setDefault(p, "name", "")
		}
	case "Secret":
		setDefault(o, "type", "Opaque")
		for k, v := range member(o, "stringData") {
			member(o, "data")[k] = base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(v)))
		}
		delete(o, "stringData")
	case "Namespace":
		member(meta, "labels")["kubernetes.io/metadata.name"] = meta["name"]
		o["spec"], o["status"] = map[string]any{"finalizers": []any{"kubernetes"}}, map[string]any{"phase": "Active"}
	}
}

func setDefault(o map[string]any, name string, v any) {
	if o[name] == nil {
		o[name] = v
	}
}

func member(o map[string]any, name string) map[string]any {
	m, ok := o[name].(map[string]any)
	if !ok {
		m = map[string]any{}
		o[name] = m
	}
	return m
}

func members(o map[string]any, name string) []map[string]any {
	var out []map[string]any
	list, _ := o[name].([]any)
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func (s *schema) complete(v any) {
	if s == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, p := range s.Properties {
			if v[name] == nil && p.Default != nil {
				v[name] = clone(p.Default)
			}
			p.complete(v[name])
		}
		for name, item := range v {
			if s.Properties[name] == nil {
				s.Additional.complete(item)
			}
		}
	case []any:
		for _, item := range v {
			s.Items.complete(item)
		}
	}
}

// clone copies a default, which is completed in turn.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for k, item := range out {
			out[k] = clone(item)
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, clone(item))
		}
		return out
	default:
		return v
	}
}
