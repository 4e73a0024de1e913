package behaviour

import (
	"encoding/binary"
	"math/bits"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// slowSip is SipHash-c-d as its paper tells it.
func slowSip(k key, p []byte, c, d int) uint64 {
	v := [4]uint64{k.a ^ 0x736f6d6570736575, k.b ^ 0x646f72616e646f6d, k.a ^ 0x6c7967656e657261, k.b ^ 0x7465646279746573}
	half := func(a, b, s, t int) {
		v[a] += v[b]
		v[b] = bits.RotateLeft64(v[b], s) ^ v[a]
		if t > 0 {
			v[a] = bits.RotateLeft64(v[a], t)
		}
	}
	rounds := func(n int) {
		for range n {
			half(0, 1, 13, 32)
			half(2, 3, 16, 0)
			half(0, 3, 21, 0)
			half(2, 1, 17, 32)
		}
	}
	padded := append([]byte(nil), p...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(p)))
	for ; len(padded) > 0; padded = padded[8:] {
		m := binary.LittleEndian.Uint64(padded)
		v[3] ^= m
		rounds(c)
		v[0] ^= m
	}
	v[2] ^= 0xff
	rounds(d)
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func TestSum(t *testing.T) {
	t.Parallel()
	k := key{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	var text []byte
	// The first of the published values of SipHash-2-4.
	for i, want := range []uint64{0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a} {
		if got := slowSip(k, text, 2, 4); got != want {
			t.Fatalf("%d bytes: %x, expected %x", i, got, want)
		}
		text = append(text, byte(i))
	}
	text = nil
	for i := range 300 {
		if got, want := k.sum(text), slowSip(k, text, 1, 3); got != want {
			t.Fatalf("%d bytes: %x, expected %x", i, got, want)
		}
		text = append(text, byte(7*i))
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	e := audit.Event{AuditID: "a", StageAt: start()}
	other := e
	other.StageAt = other.StageAt.Add(time.Microsecond)
	same := e
	if keyOf(&e) != keyOf(&same) || keyOf(&e) == keyOf(&other) {
		t.Error("the key is not that of the event")
	}
}
