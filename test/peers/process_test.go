package peers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     stat
		wantErr  string
	}{
		{
			name: "plain",
			in:   "7 (nginx) S 1 6 6 0 -1 4194304 100 0 0 0 250 150 9 9 20 0 1 0 5 1 1",
			want: stat{pgid: 6, cpu: 4 * time.Second},
		},
		{
			name: "a command name made to confuse",
			in:   "7 (a) R 1 9 (b) S 1 6 6 0 -1 4194304 100 0 0 0 1 2 9 9 20 0 1 0 5 1 1",
			want: stat{pgid: 6, cpu: 30 * time.Millisecond},
		},
		{
			name: "ended",
			in:   "7 (nginx) Z 1 6 6 0 -1 4194304 100 0 0 0 0 1 9 9 20 0 1 0 5 1 1",
			want: stat{pgid: 6, cpu: 10 * time.Millisecond, ended: true},
		},
		{name: "no name", in: "7 S 1 6", wantErr: "no command name"},
		{name: "cut", in: "7 (nginx) S 1 6", wantErr: "3 fields"},
		{name: "no number", in: "7 (nginx) S 1 6 6 0 -1 4194304 100 0 0 0 x 150 9 9", wantErr: "field 14"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStat([]byte(tt.in))
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(stat{})); diff != "" {
				t.Errorf("parseStat (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProcess starts a shell that burns time in a child and waits: the time of
// the child counts while it lives, and Stop ends both.
func TestProcess(t *testing.T) {
	t.Parallel()
	p, err := Start(t.Context(), "burner", "sh", "-c", "echo started; sh -c 'while :; do :; done' & wait")
	if err != nil {
		t.Fatal(err)
	}
	var cpu time.Duration
	for range 200 {
		if cpu, err = p.CPU(); err != nil {
			t.Fatal(err)
		}
		if cpu >= 50*time.Millisecond {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if cpu < 50*time.Millisecond {
		t.Errorf("%v of processor time after seconds of burning", cpu)
	}
	if gone, err := p.Exited(); gone {
		t.Errorf("ended by itself: %v", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.Log(), "started") {
		t.Errorf("log %q", p.Log())
	}
	if _, err := p.CPU(); err == nil {
		t.Error("processor time of a group without processes")
	}
}

// TestProcessFailure keeps exit codes: they are how a program says that it did
// not drain.
func TestProcessFailure(t *testing.T) {
	t.Parallel()
	p, err := Start(t.Context(), "stubborn", "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if strings.Contains(p.Log(), "ready") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Stop gives %v, want the exit status", err)
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	ports, err := Ports(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, p := range ports {
		if p <= 0 || seen[p] {
			t.Errorf("port %d: not free or given twice", p)
		}
		seen[p] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d ports, want 20", len(seen))
	}
}

// TestTail keeps the end.
func TestTail(t *testing.T) {
	t.Parallel()
	var l tail
	for range 3 {
		if _, err := l.Write([]byte(strings.Repeat("a", logLimit/2))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	if got := l.String(); len(got) != logLimit || !strings.HasSuffix(got, "aend") {
		t.Errorf("%d bytes that end in %q", len(got), got[len(got)-4:])
	}
}
