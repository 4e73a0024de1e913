package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/test/peers"
)

const (
	// bodySize is what the backend answers with: 1 KiB.
	bodySize = 1024
	// readyWait bounds how long a peer may take until it answers.
	readyWait = 20 * time.Second
	// eventWait bounds how long the last events may take to reach their file.
	eventWait = 5 * time.Second
	// sizeTolerance is by how much the mean answer under load may differ from
	// the probed one: date and length headers hardly vary.
	sizeTolerance = 0.02
	// attempts is how often a void measurement is taken before the run fails.
	attempts = 3
)

// errVoid marks a measurement that proves nothing because not every request was
// answered as it should be.
var errVoid = errors.New("void measurement")

// subject is a peer that runs.
type subject struct {
	entry
	env     *env
	proc    *peers.Process
	version string
	token   string
	// size is the length of one answer on the wire.
	size int64
	// events counts what the secured hop wrote; nil where no event is expected.
	events *lineCounter
}

// bench is one run.
type bench struct {
	opt     options
	log     io.Writer
	dir     string
	backend *env
	gen     generator
	// pinned is put before each peer's command.
	pinned []string
	cpus   int
	// void counts the measurements that were taken again.
	void int
}

// measure starts the backend and all peers, measures them in turns, and stops
// them.
func measure(ctx context.Context, opt options, log io.Writer) (res result, err error) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return result{}, errNoWrk
	}
	dir, err := os.MkdirTemp("", "bulwark-bench-")
	if err != nil {
		return result{}, fmt.Errorf("make a folder for the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// nginx drops its privileges and must still reach its temporary folders.
	if err := os.Chmod(dir, 0o755); err != nil {
		return result{}, fmt.Errorf("make a folder for the run: %w", err)
	}
	b := &bench{opt: opt, log: log, dir: dir, cpus: runtime.NumCPU()}
	b.gen = generator{wrk: wrk, script: filepath.Join(dir, "wrk.lua"), connections: opt.connections}
	var loadPin []string
	if opt.pin {
		if b.cpus < 2 {
			return result{}, fmt.Errorf("-pin needs two cores, this machine has %d", b.cpus)
		}
		b.pinned = []string{"taskset", "-c", "0"}
		loadPin = []string{"taskset", "-c", "1-" + strconv.Itoa(b.cpus-1)}
		b.gen.prefix = loadPin
		b.cpus = 1
	}
	backend, err := b.startBackend(ctx, loadPin)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, backend.Stop()) }()
	subjects, err := b.startAll(ctx)
	defer func() {
		for _, s := range subjects {
			if serr := s.proc.Stop(); serr != nil {
				_, _ = fmt.Fprintln(log, "bench:", serr)
			}
		}
	}()
	if err != nil {
		return result{}, err
	}
	samples, err := b.rounds(ctx, subjects)
	if err != nil {
		return result{}, err
	}
	if opt.profile != "" {
		if err := b.profiles(ctx, subjects); err != nil {
			return result{}, err
		}
	}
	machine, err := shape()
	if err != nil {
		return result{}, err
	}
	return summarise(opt, machine, subjects, samples, b.void), nil
}

// startBackend writes the files that are not a peer's and starts the backend.
func (b *bench) startBackend(ctx context.Context, pin []string) (*peers.Process, error) {
	ports, err := peers.Ports(ctx, 2)
	if err != nil {
		return nil, fmt.Errorf("start the backend: %w", err)
	}
	b.backend = &env{
		Dir: b.dir, Name: "backend", Backend: ports[0], Status: ports[1],
		Body: strings.Repeat("0123456789abcdef", bodySize/16),
	}
	if _, err := render(b.backend, "wrk.lua", "wrk.lua"); err != nil {
		return nil, err
	}
	cfg, err := render(b.backend, "backend.conf", "backend.conf")
	if err != nil {
		return nil, err
	}
	path, err := lookPath("nginx")
	if err != nil {
		return nil, err
	}
	argv := append(slices.Clone(pin), path, "-e", "stderr", "-c", cfg)
	proc, err := peers.Start(ctx, "backend", argv[0], argv[1:]...)
	if err != nil {
		return nil, fmt.Errorf("start the backend: %w", err)
	}
	if _, err := b.ready(ctx, proc, b.backend.Backend, ""); err != nil {
		return nil, errors.Join(err, proc.Stop())
	}
	return proc, nil
}

// startAll starts every peer that was asked for. What runs already is given
// back along with an error.
func (b *bench) startAll(ctx context.Context) ([]*subject, error) {
	var all []*subject
	var binary string
	for _, e := range catalogue() {
		if !slices.Contains(b.opt.peers, e.name) {
			continue
		}
		if e.bulwark && binary == "" {
			var err error
			if binary, err = peers.BuildBulwark(ctx, b.dir); err != nil {
				return all, fmt.Errorf("prepare Bulwark: %w", err)
			}
		}
		s, err := b.start(ctx, e, binary)
		if s != nil {
			all = append(all, s)
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// start starts one peer and waits until it answers.
func (b *bench) start(ctx context.Context, e entry, binary string) (*subject, error) {
	ports, err := peers.Ports(ctx, 2)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", e.name, err)
	}
	s := &subject{entry: e, env: &env{
		Dir: b.dir, Name: e.name, Port: ports[0], Admin: ports[1], Backend: b.backend.Backend,
		Body: b.backend.Body, CPUs: b.cpus, Binary: binary, Profile: b.opt.profile != "",
	}}
	if e.secured {
		s.env.Issuer, s.env.Audience = tokenIssuer, tokenAudience
		if s.env.JWKS, s.token, err = mint(time.Now()); err != nil {
			return nil, err
		}
		s.events = &lineCounter{dir: filepath.Join(b.dir, e.name+"-data")}
	}
	path, args, version, err := e.command(ctx, s.env)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", e.name, err)
	}
	s.version = version
	argv := append(slices.Clone(b.pinned), path)
	argv = append(argv, args...)
	if s.proc, err = peers.Start(ctx, e.name, argv[0], argv[1:]...); err != nil {
		return nil, fmt.Errorf("start %s: %w", e.name, err)
	}
	s.size, err = b.ready(ctx, s.proc, s.env.Port, s.token)
	return s, err
}

// ready waits until a program answers as it should and gives the length of the
// answer.
func (b *bench) ready(ctx context.Context, proc *peers.Process, port int, token string) (int64, error) {
	var last error
	for end := time.Now().Add(readyWait); time.Now().Before(end) && ctx.Err() == nil; {
		if gone, err := proc.Exited(); gone {
			return 0, fmt.Errorf("%s ended (%w) and said:\n%s", proc.Name, errOr(err, "exit code 0"), proc.Log())
		}
		var size int64
		if size, last = probe(ctx, port, token, b.backend.Body); last == nil {
			return size, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0, fmt.Errorf("%s does not answer after %s: %w; it said:\n%s", proc.Name, readyWait, errOr(last, "interrupted"), proc.Log())
}

// errOr is err, or an error of the given text where err is nil.
func errOr(err error, text string) error {
	if err == nil {
		return errors.New(text)
	}
	return err
}

// rounds measures every peer once per round, so that whatever else the machine
// does in the meantime falls on all of them alike.
func (b *bench) rounds(ctx context.Context, subjects []*subject) ([]sample, error) {
	var samples []sample
	for round := range b.opt.rounds {
		for _, s := range subjects {
			smp, err := b.retried(ctx, s)
			if err != nil {
				return nil, err
			}
			smp.Round = round
			samples = append(samples, smp)
			if b.opt.verbose {
				_, _ = fmt.Fprintf(b.log, "round %d  %-16s %7.2f µs/request  %8.0f requests/s  p99 %d µs\n",
					round+1, s.name, smp.CPU, smp.Rate, smp.P99)
			}
		}
	}
	return samples, nil
}

// retried takes one sample. A void one is taken again, a few times, and
// reported; then the run fails.
func (b *bench) retried(ctx context.Context, s *subject) (sample, error) {
	var err error
	for range attempts {
		var smp sample
		if smp, err = b.sample(ctx, s); err == nil || !errors.Is(err, errVoid) || ctx.Err() != nil {
			return smp, err
		}
		b.void++
		_, _ = fmt.Fprintln(b.log, "bench:", err)
	}
	return sample{}, fmt.Errorf("%s: %d measurements in a row: %w; it said:\n%s", s.name, attempts, err, s.proc.Log())
}

// sample warms a peer up and measures it once.
func (b *bench) sample(ctx context.Context, s *subject) (sample, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d/", s.env.Port)
	if _, err := b.gen.run(ctx, url, s.token, b.opt.warmup); err != nil {
		return sample{}, fmt.Errorf("warm %s up: %w", s.name, err)
	}
	servedBefore, err := served(ctx, b.backend.Status)
	if err != nil {
		return sample{}, err
	}
	if err := s.events.skip(ctx); err != nil {
		return sample{}, fmt.Errorf("read the events of %s: %w", s.name, err)
	}
	cpuBefore, err := s.proc.CPU()
	if err != nil {
		return sample{}, fmt.Errorf("measure %s: %w", s.name, err)
	}
	sum, err := b.gen.run(ctx, url, s.token, b.opt.duration)
	if err != nil {
		return sample{}, fmt.Errorf("measure %s: %w", s.name, err)
	}
	cpuAfter, err := s.proc.CPU()
	if err != nil {
		return sample{}, fmt.Errorf("measure %s: %w", s.name, err)
	}
	servedAfter, err := served(ctx, b.backend.Status)
	if err != nil {
		return sample{}, err
	}
	if err := b.verify(ctx, s, sum, servedAfter-servedBefore); err != nil {
		return sample{}, fmt.Errorf("%s: %w: %w", s.name, errVoid, err)
	}
	return sample{
		Peer:     s.name,
		Requests: sum.Requests,
		CPU:      float64((cpuAfter - cpuBefore).Nanoseconds()) / 1e3 / float64(sum.Requests),
		Rate:     float64(sum.Requests) / (float64(sum.Microseconds) / 1e6),
		P50:      sum.P50,
		P99:      sum.P99,
	}, nil
}

// verify says why a measurement proves nothing, nil where it does: every request
// was answered with 200 and the whole body, each reached the backend once, and
// each left an event where one is asked for.
func (b *bench) verify(ctx context.Context, s *subject, sum summary, forwarded int64) error {
	if err := sum.errors(); err != nil {
		return err
	}
	mean := float64(sum.Bytes) / float64(sum.Requests)
	if diff := mean/float64(s.size) - 1; diff > sizeTolerance || diff < -sizeTolerance {
		return fmt.Errorf("answers of %.0f bytes on average, the probed one has %d", mean, s.size)
	}
	// Each connection may have one request under way when the time is up, and so
	// it was when the warm-up's was.
	if most := sum.Requests + 2*int64(b.opt.connections) + 1; forwarded < sum.Requests || forwarded > most {
		return fmt.Errorf("the backend answered %d requests, want %d to %d", forwarded, sum.Requests, most)
	}
	if size, err := probe(ctx, s.env.Port, s.token, b.backend.Body); err != nil {
		return err
	} else if size != s.size {
		return fmt.Errorf("an answer of %d bytes, before it had %d", size, s.size)
	}
	if err := s.events.want(ctx, sum.Requests); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	return nil
}
