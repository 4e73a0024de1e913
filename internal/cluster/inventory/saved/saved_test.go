package saved_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
	"bulwark.dev/bulwark/internal/cluster/inventory/saved"
)

func objects(tb testing.TB, texts ...string) []*inventory.Object {
	tb.Helper()
	var out []*inventory.Object
	for _, text := range texts {
		o, err := inventory.New([]byte(text), nil)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func small(tb testing.TB) *inventory.Snapshot {
	tb.Helper()
	return inventory.NewSnapshot(
		objects(tb, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}}`,
			"{\"apiVersion\":\"v1\",\n  \"kind\":\"Pod\", \"metadata\":{\"name\":\"a\\nb\"}, \"spec\":{\"x\":12345678901234567}}\n"),
		inventory.Facts{Live: true, Version: "v1.36.3", Managed: "eks"},
		[]inventory.Unreadable{{Kind: "Secret", Except: []string{"shop"}, Reason: "no permission"}},
		[]inventory.Problem{{Location: bulwark.Location{File: "a.yaml", Line: 3}, What: "is not YAML"}},
	)
}

func write(tb testing.TB, s *inventory.Snapshot) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := saved.Write(&out, s); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func pack(tb testing.TB, text []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// contents gives the decoded objects by their names.
func contents(tb testing.TB, s *inventory.Snapshot) map[string]any {
	tb.Helper()
	out := map[string]any{}
	for _, o := range s.Objects() {
		content, err := o.Content()
		if err != nil {
			tb.Fatal(err)
		}
		out[o.String()] = content
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := small(t)
	text := write(t, s)
	if n := bytes.Count(text, []byte("\n")); n != 4 {
		t.Errorf("%d lines:\n%s", n, text)
	}
	for name, in := range map[string]io.Reader{
		"plain": bytes.NewReader(text), "packed": bytes.NewReader(pack(t, text)), "slow": iotest.OneByteReader(bytes.NewReader(text)),
		"marked": io.MultiReader(strings.NewReader("\xef\xbb\xbf"), bytes.NewReader(text)),
	} {
		got, err := saved.Read(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(contents(t, s), contents(t, got)); diff != "" {
			t.Errorf("%s: objects (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff([]any{s.Facts, s.Unreadable, s.Problems}, []any{got.Facts, got.Unreadable, got.Problems}); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
		if again := write(t, got); !bytes.Equal(again, text) {
			t.Errorf("%s: written again it is\n%s", name, again)
		}
	}
	if !saved.Is(text[:100]) || !saved.Is(pack(t, text)) {
		t.Error("Is does not know what Write wrote")
	}
}

// TestDamage: whatever is cut off or changed is noticed.
func TestDamage(t *testing.T) {
	t.Parallel()
	text := write(t, small(t))
	cut, changed := 0, 0
	for n := range text {
		if _, err := saved.Read(bytes.NewReader(text[:n])); err == nil {
			t.Errorf("cut to %d bytes it is read", n)
		} else if n > 20 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
		cut++
		other := bytes.Clone(text)
		other[n] ^= 1
		if got, err := saved.Read(bytes.NewReader(other)); err == nil {
			t.Errorf("with byte %d changed it is read: %v", n, got.Objects())
		}
		changed++
	}
	packed := pack(t, text)
	for n := range packed {
		if _, err := saved.Read(bytes.NewReader(packed[:n])); err == nil {
			t.Errorf("packed and cut to %d bytes it is read", n)
		}
	}
	if cut < 300 || changed < 300 {
		t.Errorf("tried %d and %d", cut, changed)
	}
}

// TestEveryBit: a file with any bit of it turned round, or packed and then so, is
// refused or read as if it were not.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	s := small(t)
	want := []any{contents(t, s), s.Facts, s.Unreadable, s.Problems}
	text := write(t, s)
	for name, file := range map[string][]byte{"plain": text, "packed": pack(t, text)} {
		same, refused := 0, 0
		for n := range file {
			for bit := range 8 {
				other := bytes.Clone(file)
				other[n] ^= 1 << bit
				got, err := saved.Read(bytes.NewReader(other))
				if err != nil {
					refused++
					continue
				}
				same++
				if diff := cmp.Diff(want, []any{contents(t, got), got.Facts, got.Unreadable, got.Problems}); diff != "" {
					t.Errorf("%s with bit %d of byte %d turned is something else (-want +got):\n%s", name, bit, n, diff)
				}
			}
		}
		t.Logf("%s: %d bytes, %d changes refused, %d harmless", name, len(file), refused, same)
		if refused < 7*len(file) {
			t.Errorf("%s: only %d of %d changes are refused", name, refused, 8*len(file))
		}
	}
}

// TestPages: a list that is not all of it, or is followed by another, is refused: what
// is left out would count as not there.
func TestPages(t *testing.T) {
	t.Parallel()
	const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"shop","uid":"1"}}`
	list := func(metadata string) string {
		return `{"apiVersion":"v1","items":[` + pod + `],"kind":"List","metadata":` + metadata + `}`
	}
	for text, want := range map[string]string{
		list(`{"continue":"eyJ2Ij","remainingItemCount":7}`): "one page of several",
		list(`{}`) + list(`{}`):                              "text after the end of the list",
		list(`{}`) + "\n" + pod:                              "text after the end of the list",
		list(`{}`) + " x":                                    "invalid character",
		list(`7`):                                            "at byte",
	} {
		if _, err := saved.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{list(`{}`) + " \n\n", list(`{"continue":""}`), list(`null`)} {
		if s, err := saved.Read(strings.NewReader(text)); err != nil || len(s.Objects()) != 1 {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// bomb is a file that unpacks to a thousand times its size, made as it is read.
func bomb(text string, n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		z := gzip.NewWriter(w)
		_, err := io.WriteString(z, text)
		block := bytes.Repeat([]byte(" "), 1<<20)
		for range n {
			if err == nil {
				_, err = z.Write(block)
			}
		}
		_ = w.CloseWithError(errors.Join(err, z.Close(), io.EOF))
	}()
	return r
}

// TestBombs: what is made to fill the memory is refused before it does.
func TestBombs(t *testing.T) {
	t.Parallel()
	object := `{"apiVersion":"v1","kind":"A","metadata":{"uid":"1"}}`
	// Files in gzip may be put one behind the other.
	repeated := func(head, text string) io.Reader {
		return bytes.NewReader(append(pack(t, []byte(head)), bytes.Repeat(pack(t, []byte(object+strings.Repeat(" ", 1<<20)+text)), 40)...))
	}
	for name, tt := range map[string]struct {
		in   io.Reader
		want string
	}{
		"a line in gzip":   {bomb(`{"bulwark":"snapshot",`, 22), "the limit"},
		"lines in gzip":    {repeated(`{"bulwark":"snapshot","version":1}`+"\n", "\n"), "packed as no snapshot is"},
		"space in gzip":    {bomb(`{"apiVersion":"v1","items":[`, 22), "the limit"},
		"list in gzip":     {repeated(`{"apiVersion":"v1","items":[`, ","), "packed as no snapshot is"},
		"one item":         {io.MultiReader(strings.NewReader(`{"items":[{"a":"`), endless{}), "the limit"},
		"a kind":           {io.MultiReader(strings.NewReader(`{"kind":"`), endless{}), "the limit"},
		"space everywhere": {endless{}, "the limit"},
	} {
		if _, err := saved.Read(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// TestTooLong: what could not be read again is not written.
func TestTooLong(t *testing.T) {
	t.Parallel()
	long := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"` + strings.Repeat("x", saved.MaxObject) + `"}}`
	err := saved.Write(io.Discard, inventory.NewSnapshot(objects(t, long), inventory.Facts{}, nil, nil))
	if err == nil || !strings.Contains(err.Error(), "ConfigMap a") {
		t.Errorf("%v", err)
	}
	err = saved.Write(io.Discard, inventory.NewSnapshot(nil, inventory.Facts{}, nil, []inventory.Problem{{What: strings.Repeat("x", saved.MaxObject)}}))
	if err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("%v", err)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	text := string(write(t, small(t)))
	tests := map[string]struct{ text, want string }{
		"empty":          {"", "the file is empty"},
		"text":           {"hello", "read a list of objects"},
		"array":          {"[]", "expected an object"},
		"other object":   {`{"apiVersion":"v1","kind":"Pod"}`, "no saved snapshot and no list"},
		"other version":  {`{"bulwark":"snapshot","version":2}` + "\n", "of version 2, this program reads"},
		"other form":     {`{"bulwark":"report","version":1}` + "\n", "a \"report\""},
		"after the end":  {text + "{}\n", "text after its end"},
		"twice the line": {strings.Replace(text, "}\n{", "}\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n{", 1), "has 3 objects and should have 2"},
		"no object":      {strings.Replace(text, "}\n{", "}\n7\n{", 1), "line 2 is damaged"},
		"items no list":  {`{"items":7,"kind":"List"}`, "items is no list"},
		"cut list":       {`{"kind":"List","items":[{"apiVersion":"v1","kind":"Pod"}`, "cut short"},
		"wrong list":     {`{"kind":"List","items":[{"apiVersion":"v1" "kind":"Pod"}`, "at byte"},
		"long line":      {`{"bulwark":"` + strings.Repeat("x", saved.MaxObject+8<<20), "the limit"},
		"no gzip":        {"\x1f\x8bxxxxxxxxxxxxxx", "unpack"},
	}
	for name, tt := range tests {
		_, err := saved.Read(strings.NewReader(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %.500v, want %q", name, err, tt.want)
		}
	}
	broken := errors.New("broken wire")
	if _, err := saved.Read(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("broken reader: %v", err)
	}
	if _, err := saved.Read(io.MultiReader(strings.NewReader(text[:200]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("broken later: %v", err)
	}
	if err := saved.Write(failing{}, small(t)); err == nil {
		t.Error("a writer that fails is no error")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestKubectlList(t *testing.T) {
	t.Parallel()
	const list = `{
    "apiVersion": "v1",
    "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop", "uid": "1"}},
        {"apiVersion": "v1"},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "b", "namespace": "shop"}}
    ],
    "kind": "List", "metadata": {"resourceVersion": ""}
}`
	s, err := saved.Read(strings.NewReader(list))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Objects()) != 2 || len(s.Problems) != 1 || s.Problems[0].What != "item 2: an object has no apiVersion or no kind" {
		t.Errorf("%v, %v", s.Objects(), s.Problems)
	}
	if string(s.Objects()[1].Raw()) != `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"shop","uid":"1"}}` {
		t.Errorf("raw is %s", s.Objects()[1].Raw())
	}
	if !s.Facts.Live || s.Unread("", "Pod", "") != "" || s.Unread("networking.k8s.io", "NetworkPolicy", "shop") == "" {
		t.Errorf("facts %+v", s.Facts)
	}
	typed, err := saved.Read(strings.NewReader(`{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a","uid":"1"}}]}`))
	if err != nil || len(typed.Kind("", "Pod")) != 1 {
		t.Errorf("a list of Pods: %v, %v", typed, err)
	}
	for _, byHand := range []string{strings.Replace(list, "uid", "id", 1), `{"kind":"List","items":[]}`} {
		if _, err := saved.Read(strings.NewReader(byHand)); !errors.Is(err, saved.ErrManifests) {
			t.Errorf("a list by hand: %v", err)
		}
	}
	for text, want := range map[string]bool{
		list: true, list[:60]: true, `{"apiVersion":"v1","items":[`: true, `{"apiVersion":"v1","kind":"Pod"}`: false, "": false, "a: b": false, "[": false,
		`{"bulwark":"x"`: true, "\xef\xbb\xbf" + list: true, `{"items":[]}`: false,
	} {
		if saved.Is([]byte(text)) != want {
			t.Errorf("Is(%.40q) = %v", text, !want)
		}
	}
}

// TestSecretsStayHome: no value of a Secret is in the file.
func TestSecretsStayHome(t *testing.T) {
	t.Parallel()
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("public")}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}))
	secret := map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "extra": "hunter2",
		"metadata": map[string]any{"name": "a", "generation": 12345678901234567, "labels": map[string]any{"a": "b"}, "annotations": map[string]any{
			"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"p":"x"}}`, "copy": "it is hunter2-plain", "other": "text",
		}},
		"data": map[string]any{
			"password": b64("hunter2-plain"), "empty": "", "tls.crt": b64(certificate + certificate), "tls.key": b64(key), "both": b64(certificate + key),
			"headers": b64("-----BEGIN CERTIFICATE-----\nhunter2: x\n\nAAAA\n-----END CERTIFICATE-----\n"), "number": 7, "null": nil,
		},
		"stringData": map[string]any{"plain": "hunter2-other"},
	}
	text, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	out := write(t, inventory.NewSnapshot(objects(t, string(text),
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"},"data":"hunter2","stringData":["hunter2"]}`,
		`{"apiVersion":"v1","kind":"secret","metadata":{"name":"d"},"stringData":{"a":"hunter2"}}`,
		`{"apiVersion":"core/v1","kind":"Secret","metadata":{"name":"e"},"stringData":{"a":"hunter2"}}`,
		`{"apiVersion":"x.example/v1","kind":"Secret","metadata":{"name":"c"},"data":{"a":"kept"}}`), inventory.Facts{}, nil, nil))
	for _, leak := range []string{"hunter2", b64("hunter2-plain"), b64(key), b64(key)[8:30]} {
		if bytes.Contains(out, []byte(leak)) {
			t.Errorf("%q is in\n%s", leak, out)
		}
	}
	for _, kept := range []string{`"password":"` + redact.Value + `"`, `"empty":""`, b64(certificate + certificate), `"a":"kept"`, `"other":"text"`, "kubernetes.io/tls", "12345678901234567"} {
		if !bytes.Contains(out, []byte(kept)) {
			t.Errorf("%q is not in\n%s", kept, out)
		}
	}
	if _, err := saved.Read(bytes.NewReader(out)); err != nil {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(write(f, small(f)))
	f.Add(pack(f, write(f, small(f))))
	f.Add([]byte(`{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},7,{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := saved.Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, err := saved.Read(bytes.NewReader(write(t, s)))
		if err != nil {
			t.Fatalf("what was read and written is not read again: %v", err)
		}
		if len(again.Objects()) != len(s.Objects()) {
			t.Fatalf("%d objects became %d", len(s.Objects()), len(again.Objects()))
		}
	})
}

// large gives the text of n Pods of about three kilobytes each.
func large(tb testing.TB, n int) []byte {
	tb.Helper()
	var all []*inventory.Object
	env := strings.Repeat(`{"name":"SETTING","value":"some value of a usual length"},`, 45)
	for i := range n {
		all = append(all, objects(tb, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-%d","namespace":"shop-%d","uid":"uid-%d","labels":{"app":"web","tier":"front","pod":"%d"}},`+
			`"spec":{"containers":[{"name":"app","image":"shop.example/web:1","env":[%s{"name":"LAST","value":"x"}]}]}}`, i, i%50, i, i, env))...)
	}
	return write(tb, inventory.NewSnapshot(all, inventory.Facts{Live: true}, nil, nil))
}

func BenchmarkRead(b *testing.B) {
	text := large(b, 2000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := saved.Read(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	s, err := saved.Read(bytes.NewReader(large(b, 2000)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := saved.Write(io.Discard, s); err != nil {
			b.Fatal(err)
		}
	}
}
