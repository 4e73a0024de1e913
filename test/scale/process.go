package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is one of Bulwark's, seen by the kernel: looking costs it nothing, as
// a scrape of its metrics does.
type process struct{ dir string }

// clockTick is the unit of /proc's processor times, fixed on Linux.
const clockTick = 10 * time.Millisecond

// findProcesses gives the processes of a part. The pods' process namespaces are
// below this one.
func findProcesses(role string) ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("find processes: %w", err)
	}
	var out []process
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && bytes.Contains(line, []byte("\x00serve\x00"+role+"\x00")) {
			out = append(out, process{dir})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("find processes: none is a %s", role)
	}
	return out, nil
}

// cpu gives the processor time used so far.
func (p process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(p.dir, "stat"))
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	_, rest, _ := bytes.Cut(b, []byte(") ")) // the name may hold spaces
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0, fmt.Errorf("processor time: %q", b)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	return time.Duration(user+system) * clockTick, nil
}

// memory gives the resident memory in bytes, now and at its greatest since the
// last call of forget.
func (p process) memory() (now, peak float64, err error) {
	b, err := os.ReadFile(filepath.Join(p.dir, "status"))
	if err != nil {
		return 0, 0, fmt.Errorf("resident memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		switch {
		case name == "VmRSS" && err == nil:
			now = kib * 1024
		case name == "VmHWM" && err == nil:
			peak = kib * 1024
		}
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("resident memory: nothing in %s", p.dir)
	}
	return now, peak, nil
}

// forget begins a new greatest value.
func (p process) forget() error {
	if err := os.WriteFile(filepath.Join(p.dir, "clear_refs"), []byte("5"), 0); err != nil {
		return fmt.Errorf("reset resident memory: %w", err)
	}
	return nil
}

// usage is what the processes of a part need: times add up, memory is that of
// the largest.
type usage struct {
	cpu       time.Duration
	now, peak float64
}

func used(all []process) (usage, error) {
	var u usage
	for _, p := range all {
		cpu, err := p.cpu()
		if err != nil {
			return u, err
		}
		now, peak, err := p.memory()
		if err != nil {
			return u, err
		}
		u.cpu, u.now, u.peak = u.cpu+cpu, max(u.now, now), max(u.peak, peak)
	}
	return u, nil
}
