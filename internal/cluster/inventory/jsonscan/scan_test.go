package jsonscan_test

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"bulwark.dev/bulwark/internal/cluster/inventory/jsonscan"
)

var texts = []string{
	`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `-1.5e+10`, `1E5`, `9223372036854775807`, `9223372036854775808`, `1e999`, `-1e999`, `5e-400`,
	`"a"`, `"\u00e4\n\t\"\\\/\b\f\r"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ud83d\u0041"`, `"\udead\ud83d\ude00"`, `"ä€😀"`, "\"\xff\xfe\"", "\"a\xc3\"",
	`{"a":1,"b":[1,2,{"c":null}],"a":{"d":[]}}`, ` { "a" : [ 1 , 2 ] } `, `{"a\u0062":1}`, `[[[[1]]],{"x":{}}]`,
	``, ` `, `{`, `[`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `[1,]`, `[,1]`, `{a:1}`, `'a'`, `01`, `1.`, `.5`, `+1`, `-`, `1e`, `1e+`,
	`tru`, `nul`, `truee`, `"`, `"\`, `"\u12"`, `"\x"`, "\"\n\"", "\"\x00\"", `{} {}`, `1 2`, `{"a":1}}`, `]`, `{"a":01}`, `{"a":tru}`, "\ufeff{}", `NaN`,
}

// TestDecode holds Decode to the API server's decoder.
func TestDecode(t *testing.T) {
	t.Parallel()
	good, bad := 0, 0
	for _, text := range append(texts, strings.Repeat("[", 9_999)+strings.Repeat("]", 9_999), strings.Repeat("[", 10_001)+strings.Repeat("]", 10_001)) {
		if compare(t, []byte(text)) {
			good++
		} else {
			bad++
		}
	}
	if good < 20 || bad < 30 {
		t.Errorf("compared %d good and %d bad texts", good, bad)
	}
}

// compare reports whether text is good, to both.
func compare(t *testing.T, text []byte) bool {
	t.Helper()
	var want any
	wantErr := utiljson.Unmarshal(text, &want)
	got, err := jsonscan.Decode(text)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("Decode(%.200q): error %v, want %v", text, err, wantErr)
	}
	if err == nil {
		// Not cmp, whose time grows fast with the depth.
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("Decode(%.200q) = %.200v, want %.200v", text, got, want)
		}
	}
	pieces(t, text)
	return err == nil
}

// pieces holds Fields, Elements and Next to encoding/json.
func pieces(t *testing.T, text []byte) {
	t.Helper()
	got := map[string]string{}
	err := jsonscan.Fields(text, func(key string, value []byte) error {
		got[key] = string(value)
		return nil
	})
	var raw map[string]json.RawMessage
	wantErr := json.Unmarshal(text, &raw)
	if isObject := wantErr == nil && raw != nil; isObject != (err == nil) {
		t.Fatalf("Fields(%.200q): error %v, want %v", text, err, wantErr)
	}
	if err == nil {
		want := map[string]string{}
		for k, v := range raw {
			want[k] = string(v)
		}
		if !maps.Equal(want, got) { // cmp is asked only then, as it is slow
			t.Fatalf("Fields(%.200q) (-want +got):\n%s", text, cmp.Diff(want, got))
		}
	}
	var elements []json.RawMessage
	wantErr = json.Unmarshal(text, &elements)
	n := 0
	err = jsonscan.Elements(text, func(i int, value []byte) error {
		if wantErr == nil && (i != n || i >= len(elements) || string(elements[i]) != string(value)) {
			t.Fatalf("Elements(%.200q): element %d is %q", text, i, value)
		}
		n++
		return nil
	})
	if isList := wantErr == nil && elements != nil; isList != (err == nil) || isList && n != len(elements) {
		t.Fatalf("Elements(%.200q): %d, error %v, want %d, %v", text, n, err, len(elements), wantErr)
	}
	var str *string
	wantErr = json.Unmarshal(text, &str)
	if s, ok := jsonscan.String(text); ok != (wantErr == nil && str != nil) || ok && s != *str {
		t.Fatalf("String(%.200q) = %q, %v; want %v", text, s, ok, wantErr)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	for rest := text; ; {
		var want json.RawMessage
		wantErr := dec.Decode(&want)
		var value []byte
		value, rest, err = jsonscan.Next(rest)
		if wantErr != nil || err != nil || value == nil {
			if (wantErr != nil) != (err != nil || value == nil) {
				t.Fatalf("Next of %.200q: %q, error %v; want %q, %v", text, value, err, want, wantErr)
			}
			return
		}
		if string(value) != string(want) {
			t.Fatalf("Next of %.200q: %q, want %q", text, value, want)
		}
	}
}

func TestStops(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	if err := jsonscan.Fields([]byte(`{"a":1,"b":2}`), func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Fields: %v", err)
	}
	if err := jsonscan.Elements([]byte(`[1,2]`), func(int, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Elements: %v", err)
	}
	err := jsonscan.Fields([]byte(`{"a":1,x}`), func(string, []byte) error { return nil })
	if err == nil || err.Error() != "expected a key at byte 7" {
		t.Errorf("Fields: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { compare(t, text) })
}
