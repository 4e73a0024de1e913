package nodes

import (
	"slices"
	"strings"
	"testing"
)

// FuzzSplit proves that cutting loses nothing but document ends and blanks.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "a", "---", "---\n", "a\n---\nb\n...\nc", "--- a\n---b\n ---\n", "...\n...\n", "a\r\n---\r\nb"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.SplitAfter(string(text), "\n")
		for _, c := range Split(text) {
			if c.First < 1 || c.First > len(lines) {
				t.Fatalf("chunk begins on line %d of %d", c.First, len(lines))
			}
			if !strings.HasPrefix(strings.Join(lines[c.First-1:], ""), string(c.Text)) {
				t.Fatalf("chunk %q does not stand on line %d", c.Text, c.First)
			}
		}
		var want, got []string
		for _, l := range lines {
			if !marker([]byte(l), "...") && strings.TrimSpace(l) != "" && strings.TrimSpace(l) != "---" {
				want = append(want, l)
			}
		}
		for _, c := range Split(text) {
			for l := range strings.SplitAfterSeq(string(c.Text), "\n") {
				if strings.TrimSpace(l) != "" && strings.TrimSpace(l) != "---" {
					got = append(got, l)
				}
			}
		}
		if !slices.Equal(want, got) {
			t.Fatalf("lines %q became %q", want, got)
		}
	})
}
