package fetch

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
)

var secrets = resource{version: "v1", kind: "Secret", name: "secrets", namespaced: true} //nolint:gochecknoglobals // read only

func TestSecretValues(t *testing.T) {
	t.Parallel()
	// s3cr3t-value
	const given = `{"metadata":{"name":"a","namespace":"b","annotations":{
		"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"key\":\"czNjcjN0LXZhbHVl\"}}",
		"copied":"password is s3cr3t-value","kept":"team a"},"labels":{"a":"b"}},
		"type":"Opaque","data":{"key":"czNjcjN0LXZhbHVl","empty":"","null":null},"stringData":{"s":"other-value"},"immutable":true}`
	text, err := clean([]byte(given), secrets, false)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "s3cr3t-value") || strings.Contains(string(text), "czNjcjN0") || strings.Contains(string(text), "other-value") {
		t.Errorf("a value is left: %s", text)
	}
	var got any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
		"data":       map[string]any{"key": redact.Value, "empty": "", "null": nil},
		"stringData": map[string]any{"s": redact.Plain},
		"metadata": map[string]any{
			"name": "a", "namespace": "b", "labels": map[string]any{"a": "b"},
			"annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"key":"` + redact.Value + `"}}`, "copied": redact.Plain, "kept": "team a"},
		},
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if text, err = clean([]byte(given), secrets, true); err != nil || !strings.Contains(string(text), "czNjcjN0LXZhbHVl") {
		t.Errorf("asked for, the values are not there: %v %s", err, text)
	}
}

// A Secret in a form that it cannot have is refused or loses what is odd, and
// neither the refusal nor what is left has a part of it.
func TestOddSecrets(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"metadata":{"name":"a"},"data":"hunter2"}`, `{"metadata":{"name":"a"},"data":["hunter2"]}`,
		`{"metadata":{"name":"a"},"data":{"a":{"b":"hunter2"}}}`, `{"metadata":{"name":"a"},"stringData":{"a":["hunter2"]}}`,
		`{"metadata":{"name":"a","annotations":{"a":{"b":"hunter2"}}}}`, `{"metadata":{"name":"a","annotations":"hunter2"}}`,
		`{"metadata":"hunter2"}`, `{"hunter2":`, `"hunter2"`, `{"kind":{"data":"hunter2"},"metadata":{"name":"a"}}`, `{"metadata":{"name":"a","data":"hunter2"}}`,
	} {
		out, err := clean([]byte(text), secrets, false)
		if strings.Contains(fmt.Sprint(err), "hunter2") || strings.Contains(string(out), "hunter2") {
			t.Errorf("%s became %s, error %v", text, out, err)
		}
	}
	// The field that counts is the one that is read later.
	out, err := clean([]byte(`{"metadata":{"name":"a"},"data":{"a":"aHVudGVyMg=="},"data":{"b":"aHVudGVyMg=="},"Data":{"c":"aHVudGVyMg=="}}`), secrets, false)
	if err == nil && strings.Contains(string(out), "aHVudGVyMg==") {
		t.Errorf("a value is left: %s", out)
	}
}

func FuzzPage(f *testing.F) {
	for _, s := range []string{
		`{"kind":"SecretList","metadata":{"continue":"x"},"items":[{"metadata":{"name":"a","namespace":"b"},"data":{"a":"aHVudGVyMg=="}}]}`,
		`{"items":null}`, `{"items":[{}]}`, `[]`, `{"items":[`, `{"kind":"Status"}`, `{"items":[{"metadata":null}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		opt := Options{}.withDefaults()
		p := &page{reader: &reader{opt: &opt}, kind: secrets}
		if err := p.read(strings.NewReader(body)); err != nil {
			return
		}
		for _, o := range p.objects {
			if o.Kind != "Secret" || o.Name == "" || o.Namespace == "" {
				t.Errorf("%s", o.Raw())
			}
			var s struct {
				Data map[string]string `json:"data"`
			}
			if err := json.Unmarshal(o.Raw(), &s); err != nil {
				t.Fatal(err)
			}
			for k, v := range s.Data {
				if v != "" && v != redact.Value {
					t.Errorf("the value of %q is left: %q", k, v)
				}
			}
		}
	})
}
