//go:build unix

package fix_test

import (
	"os"
	"syscall"
	"testing"

	"bulwark.dev/bulwark/internal/posture/fix"
)

// TestWriteKeepsOwner: root, who alone can give files away, repairs those of others
// and they stay theirs. Anybody else keeps their own.
func TestWriteKeepsOwner(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "p.yaml", pod)
	owner := os.Geteuid()
	if owner == 0 {
		owner = 12345
		if err := os.Chown("p.yaml", owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := planned(t, fix.Options{}, "p.yaml").Write(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat("p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if is, ok := info.Sys().(*syscall.Stat_t); !ok || int(is.Uid) != owner {
		t.Errorf("it is of %+v now, want %d", is, owner)
	}
}
