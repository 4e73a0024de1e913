package main

import (
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// summary tells of a number of times, in seconds.
type summary struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// summarize takes the nearest-rank percentiles.
func summarize(all []time.Duration) summary {
	if len(all) == 0 {
		return summary{}
	}
	s := slices.Sorted(slices.Values(all))
	at := func(p float64) float64 { return s[int(math.Ceil(p*float64(len(s))))-1].Seconds() }
	return summary{N: len(s), P50: at(0.50), P99: at(0.99), Max: s[len(s)-1].Seconds()}
}

// loadAverage gives the machine's, over the last minute.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
