package numbers

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func list(n *Set) []uint64 {
	var all []uint64
	for first, last := range n.Ranges() {
		for seq := first; seq <= last; seq++ {
			all = append(all, seq)
		}
	}
	return all
}

// TestNumbers compares the set with a plain one.
func TestNumbers(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		plain := [2]map[uint64]bool{{}, {}}
		sets := [2]*Set{{}, {}}
		base := uint64(1 + random.IntN(5000))
		for i := range sets {
			for range random.IntN(40) {
				first := base + uint64(random.IntN(4000))
				last := first + uint64(random.IntN(1+5*round))
				sets[i].AddRange(first, last)
				for seq := first; seq <= last; seq++ {
					plain[i][seq] = true
				}
			}
		}
		want := func(keep func(seq uint64) bool) []uint64 {
			var all []uint64
			for seq := base; seq < base+6000; seq++ {
				if keep(seq) {
					all = append(all, seq)
				}
			}
			return all
		}
		union := &Set{}
		union.AddAll(sets[0])
		union.AddAll(sets[1])
		for name, diff := range map[string]string{
			"one":     cmp.Diff(want(func(seq uint64) bool { return plain[0][seq] }), list(sets[0])),
			"union":   cmp.Diff(want(func(seq uint64) bool { return plain[0][seq] || plain[1][seq] }), list(union)),
			"without": cmp.Diff(want(func(seq uint64) bool { return plain[0][seq] && !plain[1][seq] }), list(sets[0].Without(sets[1]))),
			"both":    cmp.Diff(want(func(seq uint64) bool { return plain[0][seq] && plain[1][seq] }), list(sets[0].Both(sets[1]))),
			"has":     cmp.Diff(want(func(seq uint64) bool { return plain[0][seq] }), want(sets[0].Has)),
		} {
			if diff != "" {
				t.Fatalf("round %d: %s: %s", round, name, diff)
			}
		}
		if sets[0].Len() != uint64(len(plain[0])) {
			t.Fatalf("%d numbers, want %d", sets[0].Len(), len(plain[0]))
		}
		read, err := Parse(sets[0].String())
		if diff := cmp.Diff(list(sets[0]), list(read)); diff != "" || err != nil {
			t.Fatalf("%q: %v %s", sets[0], err, diff)
		}
	}
}

func TestNumbersText(t *testing.T) {
	t.Parallel()
	n := &Set{}
	n.AddRange(1, 3)
	n.Add(7)
	n.AddRange(63, 64)
	n.AddRange(1<<61, 1<<61+1)
	if got, want := n.String(), "1-3,7,63-64,2305843009213693952-2305843009213693953"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	every := &Set{}
	for i := range uint64(65536) {
		every.Add(1_000_000 + 2*i)
	}
	text := every.String()
	if !strings.HasPrefix(text, bitsPrefix) || len(text) > 22_000 {
		t.Errorf("every second number of a segment takes %d bytes: %.30s", len(text), text)
	}
	read, err := Parse(text)
	if err != nil || !slices.Equal(list(every), list(read)) {
		t.Errorf("it does not read back: %v", err)
	}
	for _, bad := range []string{"0", "1,1", "3-2", "2,1", "1-", "-1", "+1", "01", "1,,2", "a", "1-9223372036854775807", "bits:", "bits:0:AA", "bits:1:!", "bits:9223372036854775807:AAAA", "18446744073709551615"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "1", "1-3,7,63-64", "bits:5:AQI", "9223372036854775806-9223372036854775807", "1-70000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil || n.Len() > 1<<20 {
			return
		}
		again, err := Parse(n.String())
		if err != nil || again.String() != n.String() || again.Len() != n.Len() {
			t.Errorf("%q: %v", n, err)
		}
	})
}
