package agree

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
)

// testCase is one case of the corpus.
type testCase struct {
	rule, name string
	objects    []*inventory.Object
	expected   []alert
	// settings are the values of the rule's parameters.
	settings map[string]any
}

func (c *testCase) String() string { return c.rule + "/" + c.name }

// alert is one finding that the authors of the corpus expect.
type alert struct {
	FailedPaths []string `json:"failedPaths"`
	Object      struct {
		Objects  []named `json:"k8sApiObjects"`
		External struct {
			named
			Related list `json:"relatedObjects"`
		} `json:"externalObjects"`
	} `json:"alertObject"`
}

// named is how an expected finding names an object: what has no metadata, as a
// subject of RBAC, has the names at its top.
type named struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Metadata  struct {
		Name string `json:"name"`
	} `json:"metadata"`
}

// list is a list of objects; some cases have one object in its place.
type list []named

// UnmarshalJSON reads a list or one object.
func (l *list) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		*l = list{{}}
		return json.Unmarshal(text, &(*l)[0])
	}
	return json.Unmarshal(text, (*[]named)(l))
}

func (n named) key() string {
	if n.Metadata.Name != "" {
		return n.Kind + " " + n.Metadata.Name
	}
	return n.Kind + " " + n.Name
}

// objects gives what the alert is about. Those of RBAC name a subject and, beside
// it, the binding and the role that it rests on. A namespace is left out of the
// names: most alerts do not have it, and no case has two objects that only it tells
// apart.
func (a *alert) objects() []string {
	var out []string
	for _, o := range a.Object.Objects {
		out = append(out, o.key())
	}
	if e := a.Object.External; e.Kind != "" {
		out = append(out, e.key())
		for _, o := range e.Related {
			out = append(out, o.key())
		}
	}
	return out
}

// corpus reads all cases, by rule and name.
func corpus(t *testing.T) []*testCase {
	t.Helper()
	packed, err := os.ReadFile("testdata/regolibrary.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewReader(unzipped)
	cases := map[string]*testCase{}
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(path.Clean(h.Name), "/")
		if h.Typeflag != tar.TypeReg || len(parts) < 3 {
			continue
		}
		text, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		id := parts[0] + "/" + parts[1]
		c := cases[id]
		if c == nil {
			c = &testCase{rule: parts[0], name: parts[1]}
			cases[id] = c
		}
		c.file(t, strings.Join(parts[2:], "/"), text)
	}
	out := make([]*testCase, 0, len(cases))
	for _, c := range cases {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *testCase) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// file adds one file of a case.
func (c *testCase) file(t *testing.T, name string, text []byte) {
	t.Helper()
	switch {
	case name == "expected.json":
		if err := json.Unmarshal(text, &c.expected); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
	case name == "data.json":
		var d struct {
			Inputs map[string]any `json:"postureControlInputs"`
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		c.settings = d.Inputs
	case strings.HasPrefix(name, "input/"):
		objects, _ := manifest.Decode(c.String()+"/"+name, text)
		c.objects = append(c.objects, objects...)
	}
}
