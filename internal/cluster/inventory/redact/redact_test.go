package redact_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
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

// No value comes through a place where another text may stand.
func TestHidingPlaces(t *testing.T) {
	t.Parallel()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("public")}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2-in-the-key-of-the-server")}))
	applied := func(secret string) string {
		text, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": "a", "annotations": map[string]string{"kubectl.kubernetes.io/last-applied-configuration": secret}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	pack := func(s string) string {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write([]byte(s))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(out.Bytes())
	}
	quoted := func(s string) string {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const secret = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"p":"aHVudGVyMi1wbGFpbg=="}}`
	lines := "first hunter2 line\nsecond hunter2 line\n"
	// What each has of a value, as it may stand in the output.
	tests := map[string]struct{ text, leak, want string }{
		"key behind a broken certificate": {`{"data":{"tls.crt":"` + encode("-----BEGIN CERTIFICATE-----\n~\n"+key) + `"}}`, encode(key)[40:60], redact.Value},
		"text between certificates":       {`{"stringData":{"tls.crt":` + quoted("-----BEGIN CERTIFICATE-----\n~hunter2~\n"+certificate) + `}}`, "hunter2", redact.Plain},
		"text behind a certificate":       {`{"stringData":{"tls.crt":` + quoted(certificate+"hunter2") + `}}`, "hunter2", redact.Plain},
		"header of a certificate":         {`{"stringData":{"tls.crt":` + quoted(strings.Replace(certificate, "\n", "\nNote: hunter2\n\n", 1)) + `}}`, "hunter2", redact.Plain},
		"metadata.data":                   {`{"metadata":{"name":"a","data":{"password":"hunter2"},"stringData":"hunter2"}}`, "hunter2", `"name":"a"`},
		"managedFields":                   {`{"metadata":{"name":"a","managedFields":[{"manager":"hunter2"}]}}`, "hunter2", `"name":"a"`},
		"copy with another value":         {applied(secret), "aHVudGVyMi1wbGFpbg", `\"data\":{\"p\":`},
		"copy of a copy":                  {applied(applied(secret)), "aHVudGVyMi1wbGFpbg", `p\\`},
		"copies without end":              {applied(applied(applied(applied(applied(secret))))), "aHVudGVyMi1wbGFpbg", redact.Plain},
		"copy in clear":                   {applied(`{"kind":"Secret","stringData":{"p":"hunter2"}}`), "hunter2", `\"p\":`},
		"copy that is cut":                {applied(secret[:len(secret)-2]), "aHVudGVyMi1wbGFpbg", redact.Plain},
		"copy quoted twice":               {`{"metadata":{"annotations":{"a":` + quoted(quoted(secret)) + `}}}`, "aHVudGVyMi1wbGFpbg", redact.Plain},
		"copy in YAML":                    {`{"metadata":{"annotations":{"a":"kind: Secret\ndata:\n  p: aHVudGVyMi1wbGFpbg==\n"}}}`, "aHVudGVyMi1wbGFpbg", redact.Plain},
		"packed copy":                     {`{"metadata":{"annotations":{"objectset.rio.cattle.io/applied":"` + pack(secret) + `"}}}`, pack(secret)[:20], redact.Plain},
		"copy in base64":                  {`{"metadata":{"annotations":{"a":"` + encode(secret) + `"}}}`, encode(secret)[:20], redact.Plain},
		"value in base64":                 {`{"metadata":{"annotations":{"a":"` + encode("the password is hunter2") + `"}},"stringData":{"p":"hunter2"}}`, encode("the password is hunter2")[:20], redact.Plain},
		"line of a value":                 {`{"metadata":{"annotations":{"a":` + quoted(quoted(lines)) + `}},"stringData":{"p":` + quoted(lines) + `}}`, "hunter2", redact.Plain},
		"value in a copy's annotation":    {`{"metadata":{"annotations":{"a":` + quoted(`{"data":{},"metadata":{"annotations":{"b":"is hunter2"}}}`) + `}},"stringData":{"p":"hunter2"}}`, "hunter2", redact.Plain},
		"twice":                           {`{"data":{"p":"aHVudGVyMg=="},"data":{"q":"aHVudGVyMg=="},"Data":{"r":"aHVudGVyMg=="}}`, "aHVudGVyMg", `"q"`},
	}
	for name, tt := range tests {
		if !strings.Contains(tt.text, tt.leak) {
			t.Errorf("%s: nothing is hidden in %s", name, tt.text)
		}
		out, err := redact.Secret([]byte(tt.text))
		if err != nil || strings.Contains(string(out), tt.leak) || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: got %s, %v; want %q and not %q", name, out, err, tt.want, tt.leak)
		}
	}
}

// A name that is also a value does not hide that there is a copy, for which there is
// a control.
func TestCopyStaysOne(t *testing.T) {
	t.Parallel()
	const given = `{"metadata":{"name":"admin","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"admin\":\"YWRtaW4=\"},\"kind\":\"Secret\",\"metadata\":{\"name\":\"admin\"}}"}},"data":{"admin":"YWRtaW4="}}`
	want := `{"data":{"admin":"` + redact.Value + `"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"admin\":\"` + redact.Value + `\"},\"kind\":\"Secret\",\"metadata\":{\"name\":\"admin\"}}"},"name":"admin"}}`
	out, err := redact.Secret([]byte(given))
	if err != nil || string(out) != want {
		t.Errorf("got %s, %v, want %s", out, err, want)
	}
}

// Many values and long annotations are not compared for ever: what is too much work
// is taken out.
func TestManyValues(t *testing.T) {
	t.Parallel()
	data := map[string]string{}
	for i := range 50_000 {
		data[fmt.Sprint(i)] = fmt.Sprintf("value-%d", i)
	}
	text, err := json.Marshal(map[string]any{"stringData": data, "metadata": map[string]any{"annotations": map[string]string{"long": strings.Repeat("x-", 100_000), "short": "team a"}}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := redact.Secret(text)
	if err != nil || strings.Contains(string(out), "x-x-x-") {
		t.Errorf("%.200s, %v", out, err)
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
