package summary

import (
	"bytes"
	"testing"
	"time"
)

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "1 4 0 1 0 1 api\n", "1 4 -5 1 0 1 api,alert\n5 5 0 0 0 0 system\n", "1 4 0 1 0 1 api", "4 1 0 1 0 1 api\n",
		"1 4 1 0 0 1 api\n", "1 4 0 1 0 1 \n", "1 4 0 1 0 1 alert,api\n", "01 4 0 1 0 1 api\n", "1 18446744073709551615 0 1 0 1 api\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parse(text)
		if err != nil {
			return
		}
		var again []byte
		for i := range all {
			again = all[i].appendTo(again)
		}
		if !bytes.Equal(again, text) {
			t.Errorf("%q is read, and written as %q", text, again)
		}
	})
}

// BenchmarkSummaries reads the lines of 100,000 segments, of which a year at one a minute
// has five times as many.
func BenchmarkSummaries(b *testing.B) {
	var text []byte
	at := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).UnixMicro()
	for i := range int64(100_000) {
		s := Segment{First: uint64(i*1000 + 1), Last: uint64(i*1000 + 1000), Oldest: at + i*6e7, Newest: at + (i+1)*6e7, From: at + i*6e7, To: at + (i+1)*6e7, kinds: 41}
		text = s.appendTo(text)
	}
	b.ReportAllocs()
	for b.Loop() {
		if all, err := parse(text); err != nil || len(all) != 100_000 {
			b.Fatal(len(all), err)
		}
	}
	b.ReportMetric(float64(len(text))/100_000, "B/line")
}
