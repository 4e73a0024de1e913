package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

func TestCanonicalJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
	}{
		{"white space", " { \"a\" : [ 1 , 2 ] ,\r\n\t\"b\" : { } } ", `{"a":[1,2],"b":{}}`},
		{"names are sorted", `{"b":1,"a":{"z":0,"y":[{"d":1,"c":2}]},"":3}`, `{"":3,"a":{"y":[{"c":2,"d":1}],"z":0},"b":1}`},
		{"sorted by bytes, not by the escapes", `{"\u00e9":1,"z":2,"\u005a":3}`, `{"Z":3,"z":2,"é":1}`},
		{"a longer name comes later", `{"ab":1,"a":2,"a\u0000":3}`, `{"a":2,"a\u0000":3,"ab":1}`},
		{"numbers keep their text", `[0,-0,1.0,1E400,1e-7,12345678901234567890.10]`, `[0,-0,1.0,1E400,1e-7,12345678901234567890.10]`},
		{"shortest escapes", `"\u0041\/\u000a\u0008\u001f\u2028<>&\"\\\u007f"`, "\"A/\\n\\b\\u001f\u2028<>&\\\"\\\\\x7f\""},
		{"pairs", `"\ud83d\ude00"`, `"😀"`},
		{"half a pair", `"\ud83dx\ude00"`, "\"\uFFFDx\uFFFD\""},
		{"half a pair before an escape", `"\ud83d\u0041"`, "\"\uFFFDA\""},
		{"no UTF-8", "{\"\xff\":\"a\xc3(\xe2\x82\"}", "{\"\uFFFD\":\"a\uFFFD(\uFFFD\uFFFD\"}"},
		{"literals", `[true,false,null]`, `[true,false,null]`},
		{"deep", strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := CanonicalJSON([]byte(tt.in))
			if err != nil || string(got) != tt.want {
				t.Fatalf("got %s, %v\nwant %s", got, err, tt.want)
			}
			again, err := CanonicalJSON(got)
			if err != nil || !bytes.Equal(again, got) {
				t.Errorf("a second time: %s, %v", again, err)
			}
		})
	}
}

func TestCanonicalJSONRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, says string
	}{
		{"nothing", "", "no value"},
		{"white space only", " \n", "no value"},
		{"two values", "{} {}", "follows"},
		{"a name twice", `{"a":1,"b":2,"a":1}`, "twice"},
		{"a name twice, side by side", `{"a":1,"a":1}`, "twice"},
		{"a name twice, spelled otherwise", `{"x":{"a":1,"\u0061":1}}`, "twice"},
		{"a name twice after replacement", "{\"\xff\":1,\"\xfe\":2}", "twice"},
		{"too deep", strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), "deeper"},
		{"far too deep", strings.Repeat(`{"a":[`, 100_000), "deeper"},
		{"a comment", "{/**/}", "JSON"},
		{"a comma too many", "[1,]", "no value"},
		{"a comma too many in an object", `{"a":1,}`, "string"},
		{"a leading zero", "[01]", "JSON"},
		{"no digit after the point", "1.", "number"},
		{"a plus", "+1", "JSON"},
		{"a control character", "\"a\nb\"", "control"},
		{"an escape that is none", `"\x"`, "escape"},
		{"half an escape", `"\u12"`, "escape"},
		{"no end", `"abc`, "end"},
		{"not a number", "NaN", "JSON"},
		{"half a word", "tru", "JSON"},
		{"single quotes", "{'a':1}", "JSON"},
		{"a zero byte", "\x00", "JSON"},
		{"a byte order mark", "\xef\xbb\xbf{}", "JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := CanonicalJSON([]byte(tt.in))
			if err == nil {
				t.Fatalf("got %s", got)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error does not say %q: %v", tt.says, err)
			}
		})
	}
}

func TestCursor(t *testing.T) {
	t.Parallel()
	c := NewCursor([]byte(` {"a" : [ "x\n", null ], "b" : -1.5e3 , "c": {"deep": [[]]} } `))
	got := map[string]string{}
	err := c.Object(func(name []byte) error {
		key := string(name)
		switch key {
		case "a":
			return c.Array(func() error {
				if c.Null() {
					got[key] += "null;"
					return nil
				}
				s, err := c.String()
				got[key] += string(s) + ";"
				return err
			})
		case "b":
			n, err := c.Number()
			got[key] = string(n)
			return err
		}
		raw, err := c.Raw()
		got[key] = string(raw)
		return err
	})
	if err != nil || c.End() != nil {
		t.Fatal(err, c.End())
	}
	want := map[string]string{"a": "x\n;null;", "b": "-1.5e3", "c": `{"deep": [[]]}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	c.Reset([]byte(`{"a":1}`))
	if err := c.Array(func() error { return nil }); err == nil || !strings.Contains(err.Error(), "an object where a list should be") {
		t.Errorf("an object read as a list: %v", err)
	}
	if _, err := c.String(); err == nil {
		t.Error("an object read as a string")
	}
	c.Reset([]byte("\"\xff\""))
	if _, err := c.String(); err != nil || !c.Replaced {
		t.Errorf("bytes that are no UTF-8: %v, replaced %t", err, c.Replaced)
	}
}

// TestSkipIsNotDeep: what is passed over may be as deep as it likes.
func TestSkipIsNotDeep(t *testing.T) {
	t.Parallel()
	const n = 1_000_000
	for _, in := range []string{
		strings.Repeat("[", n) + strings.Repeat("]", n),
		strings.Repeat(`{"a":[`, n) + "1" + strings.Repeat("]}", n),
	} {
		if err := NewCursor([]byte(in)).Skip(); err != nil {
			t.Error(err)
		}
		if err := NewCursor([]byte(in[:len(in)-1])).Skip(); err == nil {
			t.Error("one bracket is missing, and that is no error")
		}
	}
}

// FuzzCursor compares with encoding/json, which knows what JSON is and what it means,
// and with jsontext, which knows what stands twice.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5e-3,"x\u00e9\n",true,null],"b":{"c":{}}}`, `{"b":1,"a":2}`, `{"a":1,"a":2}`, `"\ud83d"`, "\"\xff\"", `[]`, ` 1 `, `-`, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c := NewCursor(in)
		err := c.Skip()
		if err == nil {
			err = c.End()
		}
		valid := json.Valid(in)
		if (err == nil) != valid && !tooDeep(in) {
			t.Fatalf("encoding/json says valid=%t, Skip says %v", valid, err)
		}
		out, err := CanonicalJSON(in)
		if err != nil {
			if valid && !tooDeep(in) && jsontext.Value(in).IsValid() {
				t.Fatalf("it is JSON without names that stand twice: %v", err)
			}
			return
		}
		if !valid || !utf8.Valid(out) {
			t.Fatalf("%q was taken as %q", in, out)
		}
		again, err := CanonicalJSON(out)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("a second time: %q, %v; first %q", again, err, out)
		}
		if !jsontext.Value(out).IsValid() {
			t.Fatalf("jsontext refuses %q", out)
		}
		var a, b any
		if err := decode(in, &a); err != nil {
			t.Fatal(err)
		}
		if err := decode(out, &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(b, tree(out)); diff != "" {
			t.Fatalf("tree: %s", diff)
		}
		// encoding/json escapes two separators more than JSON asks for.
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(b); err != nil {
			t.Fatal(err)
		}
		std := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSpace(want.String()))
		if std != string(out) {
			t.Fatalf("encoding/json writes %q, not %q", std, out)
		}
	})
}

func decode(raw []byte, into *any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return dec.Decode(into)
}

// tooDeep reports whether a text may be deeper than one of the two readers goes.
func tooDeep(raw []byte) bool {
	return bytes.Count(raw, []byte{'['})+bytes.Count(raw, []byte{'{'}) > MaxDepth
}

func BenchmarkCanonicalJSON(b *testing.B) {
	pod := []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","namespace":"shop","labels":{"b":"1","a":"2"}},"spec":{"volumes":[{"name":"data","hostPath":{"path":"/var"}}],"containers":[{"name":"web","image":"registry.example/web:1","resources":{},"terminationMessagePath":"/dev/termination-log","securityContext":{"privileged":true}}],"restartPolicy":"Always"}}`)
	b.SetBytes(int64(len(pod)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CanonicalJSON(pod); err != nil {
			b.Fatal(err)
		}
	}
}
