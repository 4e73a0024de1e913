package log

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/proof"
)

// The test binary starts itself again as the process that is killed: these variables
// say in which directory, under which name, and what it does.
const (
	childDir  = "BULWARK_AUDIT_LOG_CHILD_DIR"
	childName = "BULWARK_AUDIT_LOG_CHILD_NAME"
	childMode = "BULWARK_AUDIT_LOG_CHILD_MODE"
	// crashRounds sets how often TestKilled kills.
	crashRounds = "BULWARK_AUDIT_LOG_CRASH_ROUNDS"
)

// What a child does besides appending.
const (
	limited    = "limited"     // its files may not grow beyond a limit
	realLedger = "real-ledger" // its ledger is the transparency log
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir, os.Getenv(childName), os.Getenv(childMode)))
	}
	os.Exit(m.Run())
}

func childConfig(dir string) (Config, error) {
	ledger, err := loadFakeLedger(filepath.Join(dir, "ledger"))
	return Config{
		Dir: filepath.Join(dir, "log"), Ledger: ledger, Key: testKey(), Keys: modeKeys(),
		SealEvents: 300, Reserve: 1 << 14,
		Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	}, err
}

func useRealLedger(cfg *Config, dir string) {
	cfg.Ledger, cfg.SealEvents = nil, 150
	cfg.OpenLedger = func(ctx context.Context) (Ledger, error) {
		return proof.OpenLedger(ctx, proof.LedgerConfig{Dir: dir, Origin: "example.com/audit", Random: rand.Reader})
	}
}

// child appends without end from several goroutines, and prints what was acknowledged.
func child(dir, name, mode string) int {
	fail := func(err error) int {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cfg, err := childConfig(dir)
	if err != nil {
		return fail(err)
	}
	if mode == realLedger {
		useRealLedger(&cfg, dir)
	}
	l, err := Open(context.Background(), cfg)
	if err != nil {
		return fail(err)
	}
	batches := 1 << 30
	if mode == limited {
		if err := limitFiles(40_000); err != nil {
			return fail(err)
		}
		batches = 100
	}
	var group sync.WaitGroup
	for a := range 4 {
		group.Go(func() {
			for i := range batches {
				batch := entries(fmt.Sprintf("%s.%d.%d", name, a, i), 1+(i*7+a)%20)
				batch[0].Openings = []audit.Opening{{Path: "p", Value: []byte(`"v"`)}}
				first, err := l.Append(context.Background(), batch)
				if err != nil {
					_, _ = fmt.Fprintf(os.Stdout, "refused %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
					continue
				}
				_, _ = fmt.Fprintf(os.Stdout, "%d %d %s\n", first, len(batch), strings.TrimSuffix(batch[0].Event.AuditID, "-0"))
			}
		})
	}
	group.Wait()
	if err := l.Close(); err != nil {
		return fail(err)
	}
	return 0
}

// kill says when a child is killed: a while after it said that a number of Appends were
// acknowledged. The zero kill never does.
type kill struct {
	appends int
	wait    time.Duration
}

// runChild starts a child, kills it, and adds to what it said was acknowledged: the name
// of each event. It gives what it was refused.
func runChild(t *testing.T, dir, name, mode string, when kill, acknowledged map[uint64]string) (refused []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childDir+"="+dir, childName+"="+name, childMode+"="+mode)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for appends := 0; ; appends++ {
		if when.wait > 0 && appends == when.appends {
			timer := time.AfterFunc(when.wait, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what has no line end was not said
		}
		if why, ok := strings.CutPrefix(line, "refused "); ok {
			refused = append(refused, why)
			continue
		}
		var first uint64
		var n int
		var batch string
		if _, err := fmt.Sscanf(line, "%d %d %s\n", &first, &n, &batch); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for i := range n {
			acknowledged[first+uint64(i)] = batch + "-" + strconv.Itoa(i)
		}
	}
	if err := cmd.Wait(); (err != nil) != (when.wait > 0) || mode != realLedger && said.Len() > 0 {
		t.Fatalf("child %s: %v: %s", name, err, said.String())
	}
	return refused
}

// checkAcknowledged: each acknowledged event is there, under its number.
func checkAcknowledged(t *testing.T, dir string, acknowledged map[uint64]string) {
	t.Helper()
	got := read(t, filepath.Join(dir, "log"))
	for seq, name := range acknowledged {
		if seq > uint64(len(got)) || got[seq-1] != name {
			t.Fatalf("event %d, %s, was acknowledged and is not there; the log has %d", seq, name, len(got))
		}
	}
	seen := map[string]int{}
	for i, name := range got {
		if before, double := seen[name]; double && !strings.HasPrefix(name, "system:") {
			t.Fatalf("event %s is there twice: %d and %d", name, before, i+1)
		}
		seen[name] = i + 1
	}
}

// TestKilled kills the writer at random moments under load, also in the middle of
// recovering and of sealing: nothing that was acknowledged is missing, ever.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := 50
	if s := os.Getenv(crashRounds); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		rounds = n
	}
	dir := t.TempDir()
	acknowledged := map[uint64]string{}
	for round := range rounds {
		// Now and then it is killed while it starts and recovers.
		when := kill{appends: 1 + mathrand.IntN(60), wait: time.Duration(1+mathrand.IntN(5000)) * time.Microsecond}
		if round%4 == 3 {
			when = kill{wait: time.Duration(1+mathrand.IntN(60)) * time.Millisecond}
		}
		if refused := runChild(t, dir, strconv.Itoa(round), "", when, acknowledged); len(refused) > 0 {
			t.Fatalf("refused: %v", refused)
		}
		if round%5 == 0 {
			checkAcknowledged(t, dir, acknowledged)
		}
	}
	cfg, err := childConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("end", 1))
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkAcknowledged(t, dir, acknowledged)
	checkSealedWhole(t, cfg, int(l.Last()))
	if len(acknowledged) < rounds*20 {
		t.Errorf("only %d events were acknowledged in %d rounds: no load", len(acknowledged), rounds)
	}
	t.Logf("%d rounds, %d events acknowledged, %d in the log, %d segments", rounds, len(acknowledged), l.Last(), len(cfg.Ledger.(*fakeLedger).records))
}

// TestKilledWithLedger kills the log together with the transparency log, which has more
// states between its own steps: both go on, and agree.
func TestKilledWithLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[uint64]string{}
	for round := range 8 {
		when := kill{appends: 20 + mathrand.IntN(60), wait: time.Duration(1+mathrand.IntN(300)) * time.Millisecond}
		if refused := runChild(t, dir, strconv.Itoa(round), realLedger, when, acknowledged); len(refused) > 0 {
			t.Fatalf("refused: %v", refused)
		}
	}
	cfg, err := childConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	useRealLedger(&cfg, dir)
	l := mustOpen(t, cfg)
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkAcknowledged(t, dir, acknowledged)
	v, err := l.View()
	if err != nil {
		t.Fatal(err)
	}
	var chain hash
	if err := v.Events(t.Context(), 1, func(e *audit.Event) error {
		leaf := proof.LeafHash(audit.AppendCanonical(nil, e))
		chain = link(&chain, &leaf)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	last, ok := l.cfg.Ledger.Last()
	segments, err := v.Segments()
	if !ok || err != nil || last.Last != l.Last() || last.Chain != chain || last.Number != uint64(len(segments)) {
		t.Errorf("the ledger ends with record %d of events to %d, the log with segment %d and event %d: %v", last.Number, last.Last, len(segments), l.Last(), err)
	}
	t.Logf("%d events acknowledged, %d in the log, %d segments", len(acknowledged), l.Last(), len(segments))
}
