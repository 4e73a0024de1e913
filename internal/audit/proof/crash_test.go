package proof

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// crashDir tells a process of this test that it is the one to be killed, and where.
const crashDir = "BULWARK_TEST_LEDGER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		os.Exit(appendForever(dir))
	}
	os.Exit(m.Run())
}

// appendForever appends records and says of each when it is in the ledger.
func appendForever(dir string) int {
	l, err := OpenLedger(context.Background(), LedgerConfig{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	last, _ := l.Last()
	fmt.Println("from", last.Number)
	for n := last.Number + 1; ; n++ {
		if _, err := l.Append(context.Background(), sealed(n)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("done", n)
	}
}

// TestLedgerSurvivesKills: a process is killed at random places, and the next one finds
// every record that was acknowledged, and a ledger that verifies.
func TestLedgerSurvivesKills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	var acknowledged, total uint64
	for range 25 {
		command := exec.CommandContext(t.Context(), os.Args[0])
		command.Env = append(os.Environ(), crashDir+"="+dir)
		var complaint strings.Builder
		command.Stderr = &complaint
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatalf("after %d records it does not open: %s", acknowledged, complaint.String())
		}
		from, err := strconv.ParseUint(strings.TrimPrefix(lines.Text(), "from "), 10, 64)
		if err != nil || from < acknowledged {
			t.Fatalf("it begins after record %d, and %d were acknowledged: %v", from, acknowledged, err)
		}
		timer := time.AfterFunc(time.Duration(random.IntN(150))*time.Millisecond, func() { _ = command.Process.Kill() })
		for lines.Scan() {
			n, err := strconv.ParseUint(strings.TrimPrefix(lines.Text(), "done "), 10, 64)
			if err != nil {
				continue // the last line may be cut
			}
			acknowledged = max(acknowledged, n)
		}
		timer.Stop()
		if err := command.Wait(); err == nil {
			t.Fatal("it ended by itself")
		}
		total++
	}
	l := reopen(t, dir)
	last, _ := l.Last()
	t.Logf("%d kills, %d records acknowledged, %d there", total, acknowledged, last.Number)
	if last.Number < acknowledged || acknowledged == 0 {
		t.Errorf("%d records are there, %d were acknowledged", last.Number, acknowledged)
	}
}

func reopen(t *testing.T, dir string) *Ledger {
	t.Helper()
	l, err := OpenLedger(t.Context(), LedgerConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
