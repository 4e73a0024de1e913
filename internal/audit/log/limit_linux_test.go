package log

import (
	"errors"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"
)

// limitFiles makes the system refuse files longer than limit bytes.
func limitFiles(limit uint64) error {
	signal.Ignore(unix.SIGXFSZ)
	return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit})
}

// TestFileTooLarge: the system itself cuts writes short. What was acknowledged is there,
// what was refused is not, and the log goes on.
func TestFileTooLarge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[uint64]string{}
	refused := runChild(t, dir, "limited", limited, kill{}, acknowledged)
	if len(refused) == 0 || len(acknowledged) == 0 {
		t.Fatalf("%d refused, %d acknowledged", len(refused), len(acknowledged))
	}
	checkAcknowledged(t, dir, acknowledged)
	told, extra := 0, 0
	has := map[string]bool{}
	for _, name := range acknowledged {
		has[name] = true
	}
	for _, name := range read(t, dir+"/log") {
		switch {
		case name == "system:"+TroubleWrite:
			told++
		case !has[name]:
			extra++
		}
	}
	if told == 0 || extra > 0 {
		t.Errorf("the log tells of %d failures and has %d events that were refused", told, extra)
	}
	cfg, err := childConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("end", 1))
	if err := l.Seal(t.Context()); err != nil && !errors.Is(err, unix.EFBIG) {
		t.Error(err)
	}
	t.Logf("%d events acknowledged, %d Appends refused, %d failures told: %s", len(acknowledged), len(refused), told, refused[0])
}
