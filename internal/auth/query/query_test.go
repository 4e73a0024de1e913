package query

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEach(t *testing.T) {
	tests := map[string]struct {
		want []string
		bad  bool
	}{
		"":               {},
		"a=1&b=2":        {want: []string{"a=1", "b=2"}},
		"a&b=&=c&&":      {want: []string{"a=", "b=", "=c"}},
		"a+b=c+d":        {want: []string{"a b=c d"}},
		"%61=%3D%26":     {want: []string{"a==&"}},
		"a=b=c":          {want: []string{"a=b=c"}},
		"a=1;b=2":        {bad: true},
		"a=%zz":          {bad: true},
		"%=1":            {bad: true},
		"a=1&b=%2":       {want: []string{"a=1"}, bad: true},
		"a=%3B":          {want: []string{"a=;"}},
		"a=%00":          {want: []string{"a=\x00"}},
		"a=1&a=2&%61=3":  {want: []string{"a=1", "a=2", "a=3"}},
		"a[]=1&a%5B%5D=": {want: []string{"a[]=1", "a[]="}},
	}
	for raw, tt := range tests {
		var got []string
		err := Each(raw, func(n, v string) { got = append(got, n+"="+v) })
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.bad {
			t.Errorf("%q: %v (-want +got)\n%s", raw, err, diff)
		}
	}
	if err := Each(strings.Repeat("a&", maxPairs+1), func(string, string) {}); err == nil {
		t.Error("too many parameters: no error")
	}
}

func TestWithout(t *testing.T) {
	for raw, want := range map[string]string{
		"key=1":               "",
		"a=1&key=2&b=%2f":     "a=1&b=%2f",
		"k%65y=1&b":           "b",
		"keys=1&xkey=2&key=3": "keys=1&xkey=2",
		"key=1&key=2&KEY=3":   "KEY=3",
		"a=%zz&key=1":         "a=%zz",
		"a=1&&b=2":            "a=1&&b=2",
		"":                    "",
	} {
		if got := Without(raw, "key"); got != want {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
	}
}

// FuzzQuery holds the three to each other: what is counted is what Each saw, and
// after Without nothing is left of it.
func FuzzQuery(f *testing.F) {
	f.Add("a=1&key=2", "key")
	f.Add("k%65y=1;x", "key")
	f.Add("&&=&", "")
	f.Fuzz(func(t *testing.T, raw, name string) {
		seen := 0
		errEach := Each(raw, func(n, _ string) {
			if n == name {
				seen++
			}
		})
		_, count, err := Get(raw, name)
		if (err == nil) != (errEach == nil) || count != seen {
			t.Fatalf("Get: %d, %v; Each: %d, %v", count, err, seen, errEach)
		}
		if err != nil {
			return
		}
		if _, left, err := Get(Without(raw, name), name); left != 0 || err != nil {
			t.Fatalf("%d left in %q, %v", left, Without(raw, name), err)
		}
	})
}
