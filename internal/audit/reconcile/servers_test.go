package reconcile_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/reconcile"
)

func TestServers(t *testing.T) {
	t.Parallel()
	type step struct {
		at   time.Duration
		hear string // or a check
		want []string
	}
	tests := []struct {
		name     string
		expected []string
		learn    bool
		steps    []step
	}{
		{"expected and never heard", []string{"a"}, false, []step{
			{at: 2 * time.Minute}, {at: 121 * time.Second, want: []string{"API server a is expected to send audit events, and has sent none for 2m1s"}}, {at: time.Hour},
		}},
		{"silent and back", []string{"a"}, false, []step{
			{at: time.Minute, hear: "webhook/a"},
			{at: 3 * time.Minute},
			{at: 4 * time.Minute, want: []string{"API server a has sent no audit event for 3m0s"}},
			{at: 5 * time.Minute},
			{at: 6 * time.Minute, hear: "webhook/a"},
			{at: 7 * time.Minute, want: []string{"API server a sends audit events again, after 5m0s"}},
			{at: 7 * time.Minute},
			{at: 9 * time.Minute, want: []string{"API server a has sent no audit event for 3m0s"}},
		}},
		{"back and silent again before anybody looked", []string{"a"}, false, []step{
			{at: 3 * time.Minute, want: []string{"API server a is expected to send audit events, and has sent none for 3m0s"}},
			{at: 4 * time.Minute, hear: "a"},
			{at: 10 * time.Minute, want: []string{"API server a sends audit events again, after 4m0s"}},
			{at: 10 * time.Minute, want: []string{"API server a has sent no audit event for 6m0s"}},
		}},
		{"others are not watched", []string{"a"}, false, []step{{hear: "webhook/a"}, {hear: "webhook/b"}, {at: time.Minute, hear: "webhook/a"}, {at: 150 * time.Second}}},
		{"learned", nil, true, []step{{hear: "webhook/b"}, {hear: "file/audit.log"}, {at: time.Minute, hear: "file/audit.log"}, {at: 150 * time.Second, want: []string{"API server webhook/b has sent no audit event for 2m30s"}}}},
		{"nothing is known", nil, true, []step{{at: time.Hour}}},
		{"a clock that goes back", nil, true, []step{{at: time.Hour, hear: "a"}, {at: 0}, {at: 61 * time.Minute}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := reconcile.NewServers(2*time.Minute, tt.expected, tt.learn, start)
			if err != nil {
				t.Fatal(err)
			}
			for i, step := range tt.steps {
				if step.hear != "" {
					s.Hear(step.hear, start.Add(step.at))
					continue
				}
				var got []string
				for _, c := range s.Check(start.Add(step.at)) {
					got = append(got, c.Summary)
				}
				if diff := cmp.Diff(step.want, got); diff != "" {
					t.Errorf("step %d: %s", i, diff)
				}
			}
		})
	}
}

func TestServersAreBounded(t *testing.T) {
	t.Parallel()
	s, err := reconcile.NewServers(time.Minute, []string{"a"}, true, start)
	if err != nil {
		t.Fatal(err)
	}
	fresh := 0
	for i := range 5000 {
		if s.Hear(fmt.Sprint("webhook/", i), start) {
			fresh++
		}
	}
	if n := len(s.Learned()); n != 999 || fresh != 999 { // and the one that is expected
		t.Errorf("%d learned, %d new", n, fresh)
	}
	for _, expected := range [][]string{{""}, {"a", "a"}} {
		if _, err := reconcile.NewServers(time.Minute, expected, false, start); err == nil {
			t.Errorf("%q is taken", expected)
		}
	}
	if _, err := reconcile.NewServers(0, nil, true, start); err == nil {
		t.Error("no silence is taken")
	}
}
