package logfile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest/ingesttest"
)

// followed is a Tail over a file in a directory of its own.
type followed struct {
	t    *testing.T
	dir  string
	path string
	cfg  TailConfig
	sink *ingesttest.Sink
	stop func()
}

func follow(t *testing.T) *followed {
	t.Helper()
	dir := t.TempDir()
	f := &followed{t: t, dir: dir, path: filepath.Join(dir, "audit.log"), sink: &ingesttest.Sink{}, stop: func() {}}
	f.cfg = TailConfig{
		Path: f.path, Position: filepath.Join(dir, "audit.log.position"), Sink: f.sink, Decode: ingesttest.Decoder("test").Decode, Source: "file",
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Poll: 5 * time.Millisecond, Settle: 50 * time.Millisecond,
	}
	t.Cleanup(func() { f.stop() })
	return f
}

// start runs the tail until stop.
func (f *followed) start() {
	f.t.Helper()
	tail, err := NewTail(f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tail.Run(ctx) }()
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
		f.stop = func() {}
	}
}

func (f *followed) write(name, text string) {
	f.t.Helper()
	file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *followed) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(filepath.Join(f.dir, from), filepath.Join(f.dir, to)); err != nil {
		f.t.Fatal(err)
	}
}

// copyTruncate does what logrotate does with that setting.
func (f *followed) copyTruncate(to string) {
	f.t.Helper()
	text, err := os.ReadFile(f.path)
	if err == nil {
		err = os.WriteFile(filepath.Join(f.dir, to), text, 0o600)
	}
	if err == nil {
		err = os.Truncate(f.path, 0)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// wait waits until so many events are there.
func (f *followed) wait(n int) {
	f.t.Helper()
	for len(f.sink.Events()) < n {
		time.Sleep(time.Millisecond)
	}
}

// saved waits until the position is behind what the path has.
func (f *followed) saved() {
	f.t.Helper()
	for {
		info, err := os.Stat(f.path)
		if err != nil {
			f.t.Fatal(err)
		}
		if p, err := loadPosition(f.cfg.Position); err == nil && p.Offset == info.Size() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// want compares what came; a text with a space is part of what an event says.
func (f *followed) want(ids ...string) {
	f.t.Helper()
	f.wait(len(ids))
	got := f.sink.IDs()
	for i, id := range ids {
		if i < len(got) && strings.Contains(id, " ") && strings.Contains(got[i], id) {
			got[i] = id
		}
	}
	if diff := cmp.Diff(ids, got); diff != "" {
		f.t.Error(diff)
	}
}

func lines(ids ...string) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(event(id) + "\n")
	}
	return b.String()
}

func TestTailFollows(t *testing.T) {
	t.Parallel()
	f := follow(t)
	f.cfg.MaxLine = 1000
	f.start() // there is no file yet
	time.Sleep(20 * time.Millisecond)
	f.write("audit.log", lines("a", "b")+event("c")[:50])
	f.wait(2)
	time.Sleep(20 * time.Millisecond)
	f.want("a", "b")
	f.write("audit.log", event("c")[50:]+"\r\n\n  \n"+lines("d")+"nope\n"+`{"a":1}`+"\n"+event(strings.Repeat("x", 2000)))
	f.want("a", "b", "c", "d", "audit.log: a line of 5 bytes at byte", "no known form")
	f.write("audit.log", "\n"+lines("e"))
	f.want("a", "b", "c", "d", "audit.log: a line of 5 bytes at byte", "no known form", "is longer than 1000", "e")
	f.saved()
	f.stop()
	f.write("audit.log", lines("f"))
	f.start()
	f.wait(9)
	f.saved()
	if got := f.sink.IDs(); got[len(got)-1] != "f" || len(got) != 9 {
		t.Errorf("after a restart: %q", got)
	}
}

func TestTailRotates(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rotated []string
	}{
		"numbers": {[]string{"audit.log.1"}},
		"times":   {[]string{"audit-2026-11-21T12-00-00.000.log"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t)
			f.write("audit.log", lines("a"))
			f.start()
			f.wait(1)
			f.rename("audit.log", c.rotated[0])
			f.write(c.rotated[0], lines("b")) // by who has it open still
			f.write("audit.log", lines("c"))
			f.want("a", "b", "c")
			f.write("audit.log", lines("d"))
			f.want("a", "b", "c", "d")
			f.saved()
		})
	}
}

// A line without an end in a file that was rotated is told, whether it is one or not.
func TestTailRotatesInALine(t *testing.T) {
	t.Parallel()
	f := follow(t)
	f.write("audit.log", lines("a")+event("b")[:40])
	f.start()
	f.wait(1)
	f.rename("audit.log", "audit.log.1")
	f.write("audit.log", lines("c")+event("d"))
	f.want("a", "audit.log: a line of 40 bytes at byte 176 has no end and is no JSON", "c")
	f.rename("audit.log", "audit.log.2")
	f.write("audit.log", lines("e"))
	f.want("a", "audit.log: a line of 40 bytes at byte 176 has no end and is no JSON", "c", "d", "e")
}

// While nothing follows, files are rotated several times.
func TestTailCatchesUp(t *testing.T) {
	t.Parallel()
	f := follow(t)
	f.write("audit.log", lines("a"))
	f.start()
	f.saved()
	f.stop()
	f.write("audit.log", lines("b"))
	for i, id := range []string{"c", "d"} {
		time.Sleep(20 * time.Millisecond) // files have times of some grain
		f.rename("audit.log", fmt.Sprintf("audit.log.%d", 9-i))
		f.write("audit.log", lines(id))
	}
	f.write("audit.loge", lines("no"))
	f.write("auditing.log", lines("no"))
	f.start()
	f.want("a", "b", "c", "d")
	f.saved()
	f.stop()

	// The file that was read last is gone: that is told, and what came after it is read.
	time.Sleep(20 * time.Millisecond)
	f.write("audit.log", lines("lost"))
	f.rename("audit.log", "audit.log.gz") // compressed, in effect
	time.Sleep(20 * time.Millisecond)
	f.write("audit.log.7", lines("e"))
	time.Sleep(20 * time.Millisecond)
	f.write("audit.log", lines("f"))
	f.start()
	f.want("a", "b", "c", "d", "is gone or was truncated; what followed there is missing", "e", "f")
	f.saved()
}

func TestTailTruncates(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"running": true, "stopped": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t)
			f.write("audit.log", lines("a", "b"))
			f.start()
			f.saved()
			f.stop()
			f.write("audit.log", lines("c")) // not read before it is truncated
			if running {
				f.start()
				f.wait(3)
			}
			f.copyTruncate("audit.log.1")
			f.write("audit.log", lines("d"))
			if !running {
				f.start()
			}
			f.want("a", "b", "c", "d")
			f.saved()
			// Without a copy: shorter, and then longer than what was read.
			f.stop()
			if err := os.Remove(filepath.Join(f.dir, "audit.log.1")); err != nil {
				t.Fatal(err)
			}
			f.write("audit.log", lines("e"))
			f.start()
			f.saved()
			if !running {
				f.stop()
			}
			if err := os.WriteFile(f.path, []byte(lines("f", "g", "h", "i")), 0o600); err != nil {
				t.Fatal(err)
			}
			if !running {
				f.start()
			}
			f.want("a", "b", "c", "d", "e", "was truncated", "f", "g", "h", "i")
			f.saved()
		})
	}
}

// What the sink does not take is offered again, and the position stays before it.
func TestTailSinkFails(t *testing.T) {
	t.Parallel()
	f := follow(t)
	f.cfg.Batch = 2
	f.write("audit.log", lines("a", "b", "c", "d", "e"))
	failed := make(chan struct{}, 100)
	fails := 3
	f.sink.Before = func(_ context.Context, entries []audit.Entry) error {
		if entries[0].Event.AuditID == "c" && fails > 0 {
			fails--
			failed <- struct{}{}
			return errors.New("disk full")
		}
		return nil
	}
	f.start()
	<-failed
	if p, err := loadPosition(f.cfg.Position); err != nil || p.Offset != int64(len(lines("a", "b"))) {
		t.Errorf("the position is %+v, %v", p, err)
	}
	f.want("a", "b", "c", "d", "e")
	f.saved()
	f.stop()
	if f.sink.Calls() != 3 {
		t.Errorf("%d batches", f.sink.Calls())
	}
}

// A crash after the sink has a batch and before the position is saved costs that
// batch's events once more, and nothing else.
func TestTailCrash(t *testing.T) {
	t.Parallel()
	f := follow(t)
	f.cfg.Batch = 2
	f.write("audit.log", lines("a", "b", "c", "d", "e"))
	f.start()
	f.saved()
	f.stop()
	file, err := os.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	before, err := positionIn(file, int64(len(lines("a", "b"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := before.save(f.cfg.Position); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.want("a", "b", "c", "d", "e", "c", "d", "e")
	f.stop()
	if err := os.WriteFile(f.cfg.Position, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	tail, err := NewTail(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Run(t.Context()); err == nil {
		t.Error("a broken position was taken for none")
	}
	left, err := filepath.Glob(filepath.Join(f.dir, "*.position.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := NewTail(TailConfig{}); err == nil {
		t.Error("the zero config was taken")
	}
}

// Whatever happens in whatever order, each line comes once, in order.
func TestTailRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7))
			f := follow(t)
			f.cfg.Batch, f.cfg.Settle = 3, 20*time.Millisecond
			var want []string
			pending, running, rotations := "", true, 0
			f.write("audit.log", "") // what is rotated before the first start is not read
			f.start()
			f.saved()
			for step := range 120 {
				switch n := random.IntN(12); {
				case n < 7: // write some, and not always to the end of a line
					for range random.IntN(4) {
						id := fmt.Sprintf("%d-%d-%d", seed, step, len(want))
						want = append(want, id)
						pending += event(id) + "\n"
					}
					at := random.IntN(len(pending) + 1)
					f.write("audit.log", pending[:at])
					pending = pending[at:]
				case n < 9:
					if running {
						f.stop()
					} else {
						f.start()
					}
					running = !running
				case n < 11:
					f.write("audit.log", pending) // who rotates ends the line
					pending = ""
					rotations++
					time.Sleep(12 * time.Millisecond) // files have times of some grain
					f.rename("audit.log", fmt.Sprintf("audit.log.%d", rotations))
					f.write("audit.log", "")
				default:
					time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
				}
			}
			f.write("audit.log", pending)
			if !running {
				f.start()
			}
			f.wait(len(want))
			f.saved()
			f.stop()
			if got := f.sink.IDs(); !slices.Equal(got, want) {
				t.Error(cmp.Diff(want, got))
			}
		})
	}
}
