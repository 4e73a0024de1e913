package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bulwark.dev/bulwark/internal/audit"
)

const policyHead = "apiVersion: bulwark.dev/v1alpha1\nkind: RetentionPolicy\n"

func mustPolicy(tb testing.TB, text string) *Policy {
	tb.Helper()
	p, err := Parse("policy.yaml", []byte(policyHead+text))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	t.Parallel()
	p := mustPolicy(t, `maxBytes: 200GiB
classes:
- {name: noise, search: "user=system:*", keep: 36h, maxBytes: 512 MiB}
- name: alerts
  kinds: [alert, action]
  keep: forever
- {name: rest, keep: 12w}
`)
	requests := []audit.Kind{audit.KindAPI, audit.KindGateway, audit.KindAccess}
	want := &Policy{MaxBytes: 200 << 30, Classes: []Class{
		{Name: "noise", Kinds: requests, Search: "user=system:*", Keep: 36 * time.Hour, MaxBytes: 512 << 20},
		{Name: "alerts", Kinds: []audit.Kind{audit.KindAlert, audit.KindAction}},
		{Name: "rest", Kinds: requests, Keep: 84 * 24 * time.Hour},
	}}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Policy{}, Class{})); diff != "" {
		t.Error(diff)
	}
	var texts []string
	for _, c := range p.Classes {
		texts = append(texts, c.KeepText())
	}
	if diff := cmp.Diff([]string{"36h", "forever", "84d"}, texts); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(p.Digest(), "sha256:") || len(p.Digest()) != 71 {
		t.Errorf("digest %q", p.Digest())
	}
}

// TestPolicyErrors: what is wrong is told with its line.
func TestPolicyErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"classes: []\n":            "it has no classes",
		"":                         "it has no classes",
		"classes: {}\n":            "policy.yaml:3: expected a list",
		"clases: []\n":             `policy.yaml:3: a retention policy has no key "clases"`,
		"classes:\n- {name: a}\n":  `policy.yaml:4: class "a" does not say`,
		"classes:\n- {keep: 1d}\n": "policy.yaml:4: a class needs a name",
		"classes:\n- {name: a, keep: 1d, kep: 2d}\n":                          `policy.yaml:4: a class has no key "kep"`,
		"classes:\n- {name: a, keep: 1d, keep: 2d}\n":                         `the key "keep" twice`,
		"classes:\n- {name: a, keep: 0d}\n":                                   `keep is "0d"`,
		"classes:\n- {name: a, keep: -1d}\n":                                  `keep is "-1d"`,
		"classes:\n- {name: a, keep: 90}\n":                                   `keep is "90"`,
		"classes:\n- {name: a, keep: d}\n":                                    `keep is "d"`,
		"classes:\n- {name: a, keep: 1m}\n":                                   `keep is "1m"`,
		"classes:\n- {name: a, keep: 99999999999d}\n":                         "keep is",
		"classes:\n- {name: a, keep: }\n":                                     "expected a time",
		"classes:\n- {name: a b, keep: 1d}\n":                                 `the name "a b"`,
		"classes:\n- {name: a, keep: 1d, kinds: []}\n":                        "expected a list of kinds",
		"classes:\n- {name: a, keep: 1d, kinds: [pod]}\n":                     `kind "pod"`,
		"classes:\n- {name: a, keep: 1d, kinds: [api, api]}\n":                "each once",
		"classes:\n- {name: a, keep: 1d, maxBytes: 1GB}\n":                    `"1GB": expected a number of bytes`,
		"classes:\n- {name: a, keep: 1d, maxBytes: 0}\n":                      "expected a number of bytes",
		"classes:\n- {name: a, keep: 1d, maxBytes: 9223372036854775807KiB}\n": "expected a number of bytes",
		"classes:\n- {name: a, keep: forever, maxBytes: 1GiB}\n":              "could never take",
		"maxBytes: 1GiB\nclasses:\n- {name: a, keep: forever}\n":              "there is none",
		"classes:\n- {name: a, keep: 1d}\n- {name: a, keep: 1d}\n":            `policy.yaml:5: class "a" is there twice`,
		"classes:\n- &x {name: a, keep: 1d}\n- *x\n":                          "expected a class: a mapping",
		"---\nclasses: []\n":                                                  "more than one document",
		"kind: Pod\n":                                                         `twice`,
	} {
		_, err := Parse("policy.yaml", []byte(policyHead+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "it is empty", "# nothing\n": "it is empty", "{": "policy.yaml", "a": "a mapping", "classes:\n- {name: a, keep: 1d}\n": `apiVersion is ""`,
		"apiVersion: v1\nclasses:\n- {name: a, keep: 1d}\n": `apiVersion is "v1"`,
		strings.Repeat("#", maxPolicy+1):                    "more than",
	} {
		if _, err := Parse("policy.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// TestClassifier: the first class that matches has the event, and nobody has an alert
// that nobody named.
func TestClassifier(t *testing.T) {
	t.Parallel()
	p := mustPolicy(t, `classes:
- {name: alice, search: alice, keep: 1d}
- {name: told, kinds: [alert], keep: 2d}
- {name: rest, keep: 3d}
`)
	class, err := p.Classifier(func(search string) (func(*audit.Event) bool, error) {
		return func(e *audit.Event) bool { return e.User.Username == search }, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind       audit.Kind
		user, want string
	}{
		{audit.KindAPI, "alice", "alice"},
		{audit.KindGateway, "bob", "rest"},
		{audit.KindAlert, "alice", "told"},
		{audit.KindAction, "alice", ""},
		{audit.KindSystem, "bob", ""},
	} {
		got := ""
		if c := class(&audit.Event{Kind: tt.kind, User: audit.User{Username: tt.user}}); c != nil {
			got = c.Name
		}
		if got != tt.want {
			t.Errorf("%s of %s is of class %q, want %q", tt.kind, tt.user, got, tt.want)
		}
	}
	_, err = p.Classifier(func(string) (func(*audit.Event) bool, error) { return nil, errors.New("no such field") })
	if err == nil || !strings.Contains(err.Error(), `line 4: class "alice": search: no such field`) {
		t.Error(err)
	}
}

// TestExamplePolicy: the example is read.
func TestExamplePolicy(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "examples", "audit", "retention.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Parse("retention.yaml", text); err != nil || len(p.Classes) < 3 {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(policyHead + "maxBytes: 1GiB\nclasses:\n- {name: a, kinds: [api], search: \"user=a\", keep: 90d, maxBytes: 1MiB}\n- {name: b, keep: forever}\n")
	f.Add(policyHead + "classes: [&a {name: x, keep: 1h}, *a]\n")
	f.Add("{}\n---\n{}")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("p", []byte(text))
		if err != nil {
			return
		}
		if len(p.Classes) == 0 || p.Digest() == "" {
			t.Errorf("an empty policy was read: %q", text)
		}
		for _, c := range p.Classes {
			if c.Keep < 0 || c.Keep%time.Hour != 0 || c.MaxBytes < 0 || len(c.Kinds) == 0 || c.Name == "" {
				t.Errorf("%q: %+v", text, c)
			}
		}
	})
}
