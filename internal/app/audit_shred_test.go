package app

import (
	"strings"
	"testing"
	"time"
)

// TestShredRequest: what is to be destroyed is said once and clearly, or not at all.
func TestShredRequest(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		f      shredFlags
		search string
		err    string
	}{
		{name: "a day", f: shredFlags{before: "2026-01-01", yes: true}, search: "received=..2026-01-01T00:00:00Z"},
		{name: "days ago", f: shredFlags{before: "90d", yes: true}, search: "received=..2026-08-23T12:00:00Z"},
		{name: "an expression", f: shredFlags{search: "user=alice since=1d", dry: true}, search: "user=alice time=2026-11-20T12:00:00Z.."},
		{name: "events", f: shredFlags{events: []uint{7, 9}, yes: true}},
		{name: "nothing", f: shredFlags{yes: true}, err: "expected one of"},
		{name: "two things", f: shredFlags{before: "90d", search: "user=alice", yes: true}, err: "expected one of"},
		{name: "neither yes nor dry run", f: shredFlags{before: "90d"}, err: "either --dry-run or --yes"},
		{name: "both", f: shredFlags{before: "90d", yes: true, dry: true}, err: "either --dry-run or --yes"},
		{name: "no time", f: shredFlags{before: "1h", yes: true}, err: "expected a day"},
		{name: "no expression", f: shredFlags{search: "user=", yes: true}, err: "expected a value"},
		{name: "everything", f: shredFlags{search: " ", yes: true}, err: "finds everything"},
		{name: "what counts", f: shredFlags{search: "| count by user", yes: true}, err: "expected conditions"},
	}
	for _, tt := range tests {
		q, err := tt.f.request(now)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err != nil || q.Search != tt.search || len(q.Events) != len(tt.f.events) || q.DryRun != tt.f.dry {
			t.Errorf("%s: %+v, %v", tt.name, q, err)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", -2 << 20: "-2.0 MiB", 3 << 40: "3.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
