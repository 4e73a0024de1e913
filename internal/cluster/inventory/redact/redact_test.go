package redact_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("public")}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}))
	in := map[string]any{
		"apiVersion": "v1", "kind": "Secret", "spec": "hunter2",
		"metadata": map[string]any{"name": "a", "annotations": map[string]any{"copy": "is hunter2-plain", "kept": "team a"}},
		"data": map[string]any{
			"password": encode("hunter2-plain"), "list": []string{"hunter2"}, "empty": "", "null": nil,
			"crt": encode(certificate + certificate), "both": encode(certificate + key), "blank": encode("  "),
		},
		"stringData": map[string]any{"ca": certificate, "plain": "hunter2"},
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := redact.Secret(text)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "hunter2") || strings.Contains(string(out), encode("hunter2-plain")) || strings.Contains(string(out), encode(key)) {
		t.Errorf("a value is left: %s", out)
	}
	var got struct {
		Metadata         struct{ Annotations map[string]string }
		Data, StringData map[string]*string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"password": redact.Value, "list": redact.Value, "empty": "", "crt": encode(certificate + certificate), "both": redact.Value, "blank": redact.Value,
	}
	for key, value := range want {
		if v := got.Data[key]; v == nil || *v != value {
			t.Errorf("%s is %v, want %q", key, v, value)
		}
	}
	if got.Data["null"] != nil || *got.StringData["ca"] != certificate || *got.StringData["plain"] != redact.Plain {
		t.Errorf("got %s", out)
	}
	if a := got.Metadata.Annotations; a["copy"] != redact.Plain || a["kept"] != "team a" {
		t.Errorf("annotations are %v", a)
	}
	for _, bad := range []string{"", "null", "[]", `"hunter2"`, "{"} {
		if out, err := redact.Secret([]byte(bad)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q gives %s, %v", bad, out, err)
		}
	}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func FuzzSecret(f *testing.F) {
	f.Add([]byte(`{"data":{"a":"aHVudGVyMg=="},"metadata":{"annotations":{"x":"hunter2"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := redact.Secret(text)
		if err != nil {
			return
		}
		again, err := redact.Secret(out)
		if err != nil || string(again) != string(out) {
			t.Errorf("taken out twice gives\n%s, once\n%s (%v)", again, out, err)
		}
	})
}
