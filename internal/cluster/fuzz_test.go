package cluster

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// FuzzDecode reads any text as policy files are read: it never panics, every
// problem has a line of the text, and what it accepts it accepts again, and
// reads the same, after being printed.
func FuzzDecode(f *testing.F) {
	archives, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	seeds := 0
	for _, a := range archives {
		archive, err := txtar.ParseFile(a)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == "want" {
				continue
			}
			text := unescape(string(file.Data))
			isJSON := strings.HasSuffix(file.Name, ".json")
			f.Add([]byte(text), isJSON)
			seeds++
			for _, c := range nodes.Split([]byte(text)) {
				f.Add(c.Text, isJSON)
			}
		}
	}
	if seeds < 30 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, text []byte, isJSON bool) {
		if _, msg := nodes.CheckText(text); msg != "" {
			return
		}
		chunks := []nodes.Chunk{{First: 1, Text: text}}
		if !isJSON {
			chunks = nodes.Split(text)
		}
		for _, c := range chunks {
			doc := decodeDocument(c.Text, isJSON)
			for _, p := range doc.problems {
				if p.Line < 1 || p.Message == "" {
					t.Errorf("problem %+v has no line or message", p)
				}
			}
			if len(doc.problems) > 0 {
				continue
			}
			for _, o := range doc.objects {
				again(t, o)
				if n := doc.node(o.steps); n == nil || nodes.Line(n, "metadata.name") < 1 {
					t.Errorf("%s is not found again in its own text", refOf(o.obj))
				}
			}
		}
	})
}

// again prints an accepted object and reads it back.
func again(t *testing.T, o decoded) {
	t.Helper()
	text, err := yaml.Marshal(o.obj)
	if err != nil {
		t.Fatalf("print %s: %v", refOf(o.obj), err)
	}
	doc := decodeDocument(text, false)
	if len(doc.problems) > 0 || len(doc.objects) != 1 {
		t.Fatalf("%s was accepted, but not after printing: %v\n%s", refOf(o.obj), doc.problems, text)
	}
	second, err := yaml.Marshal(doc.objects[0].obj)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(second)); diff != "" {
		t.Fatalf("%s reads differently after printing:\n%s", refOf(o.obj), diff)
	}
}

// FuzzDecodeServer reads any text as an object of a server: it never panics, an
// error comes with an *Undecoded or nothing, what was decoded has a place in a
// Snapshot, and reads the same when it is sent on.
func FuzzDecodeServer(f *testing.F) {
	for _, k := range Kinds() {
		for _, v := range k.Versions {
			f.Add(joinVersion(k.Group, v), k.Name, []byte(`{"metadata":{"name":"a","namespace":"b","annotations":{"a":"b"}},"spec":{"rules":[],"targetRefs":[]},"status":{}}`))
		}
	}
	f.Add("bulwark.dev/v1alpha1", "SecurityPolicy", []byte(`{"metadata":{"name":"a"},"spec":{"targetRefs":[],"authentication":{"anyOf":[{"new":{}}]},"lockOut":{"window":"x"}}}`))
	f.Add("v1", "Secret", []byte(`{"metadata":{"name":"a"},"data":{"a":"Yg=="},"stringData":{"a":"c"},"type":"Opaque"}`))
	f.Add("discovery.k8s.io/v1", "EndpointSlice", []byte(`{"metadata":{"name":"a"},"endpoints":[{"addresses":["1.2.3.4"],"targetRef":{"kind":"Pod"}}],"ports":[{}]}`))
	f.Fuzz(func(t *testing.T, apiVersion, kindName string, text []byte) {
		obj, err := Decode(apiVersion, kindName, text)
		if err != nil {
			if u, ok := obj.(*Undecoded); obj != nil && (!ok || u.Err == nil) {
				t.Fatalf("error %v comes with %T", err, obj)
			}
			return
		}
		first := Assemble([]Object{obj}, nil)
		if first.Len() != 1 || len(first.Unreadable) > 0 {
			t.Fatalf("%T has no place: %v", obj, first.Unreadable)
		}
		k := kindOf(obj)
		sent, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(k.apiVersion(), k.name, sent)
		if err != nil {
			t.Fatalf("sent on, it cannot be read: %v", err)
		}
		if second := Assemble([]Object{again}, nil); second.Digest() != first.Digest() {
			t.Fatalf("sent on, it is another object: %s", sent)
		}
	})
}
