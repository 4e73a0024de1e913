package upstream

import (
	"math/bits"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Pick chooses one of refs by weight; r is 32 random bits. It gives the index,
// or -1 where no weight is above zero.
func Pick(refs []ir.BackendRef, r uint32) int {
	if len(refs) == 1 && refs[0].Weight > 0 {
		return 0
	}
	var total uint64
	for i := range refs {
		total += weight(&refs[i])
	}
	if total == 0 {
		return -1
	}
	// Multiplying maps r to [0,total) without a division.
	at, _ := bits.Mul64(uint64(r)<<32, total)
	for i := range refs {
		w := weight(&refs[i])
		if at < w {
			return i
		}
		at -= w
	}
	return -1
}

func weight(ref *ir.BackendRef) uint64 {
	return uint64(max(ref.Weight, 0))
}
