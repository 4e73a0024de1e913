package app

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// The garbage that may gather between two collections, as a percentage of what
// lives and in bytes, whichever is less, but never less than minPercent.
//
// Nearly all that lives in a data plane is the table, which requests hardly add
// to, while a change makes garbage in proportion to it. A small table is
// collected fast, so a percentage does; of a large one the same percentage would
// be a third of the process.
const (
	maxPercent = 40
	minPercent = 20
	maxGarbage = 16 << 20
)

// pace sets when garbage is collected by what lives now, unless the operator's
// GOGC says otherwise. It is called after each change of the table.
func pace() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percentFor(live[0].Value.Uint64()))
}

func percentFor(live uint64) int {
	if live == 0 {
		return maxPercent
	}
	return int(min(max(maxGarbage*100/live, minPercent), maxPercent))
}
