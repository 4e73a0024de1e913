package app

import "testing"

func TestPercentFor(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 40, 1 << 20: 40, 40 << 20: 40, 64 << 20: 25, 80 << 20: 20, 1 << 40: 20} {
		if got := percentFor(live); got != want {
			t.Errorf("of %d bytes: %d, want %d", live, got, want)
		}
	}
}
