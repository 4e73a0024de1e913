package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const token = "the-token-of-the-bench"

// results is all that was measured.
type results struct {
	events   int
	rate     float64 // events a second, as fast as it goes
	serverAt float64 // processor microseconds of the server for one event
	fast     []time.Duration
	steadyAt int
	steady   []time.Duration
	rss      int64
	bytes    int64
	queries  []query
	// peerVersion is DuckDB's; empty when it was not asked.
	peerVersion string
	verify      spent
}

type query struct {
	name, text string
	spent
	// answer is our lines, as CSV.
	answer []byte
	// sql is the question for DuckDB, columns how many of its columns our lines have too, and
	// peer what it cost there.
	sql     string
	columns int
	peer    spent
}

// ingest sends the events, first at a steady pace, then as fast as they are taken,
// and waits until everything is sealed.
func (r *results) ingest(ctx context.Context, opt *options, dir, data string, log io.Writer) error {
	client, cmd, err := serve(ctx, opt, dir, data, log)
	if err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill() }()
	r.steadyAt = opt.steady
	calm := opt.calm
	if r.steady, err = send(ctx, opt, client, calm, opt.steady); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(log, "steady: %d events at %d/s, acknowledged in %v (p50), %v (p99), %v (p99.9), %v at most\n", calm, opt.steady,
		at(r.steady, 50), at(r.steady, 99), at(r.steady, 99.9), at(r.steady, 100))
	before, begin := processor(cmd.Process.Pid), time.Now()
	if r.fast, err = send(ctx, opt, client, opt.events-calm, 0); err != nil {
		return err
	}
	took := time.Since(begin)
	r.events, r.rate = opt.events, float64(opt.events-calm)/took.Seconds()
	_, _ = fmt.Fprintf(log, "fast: %d events in %v: %.0f/s\n", opt.events-calm, took.Round(time.Millisecond), r.rate)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the server ended: %w", err)
	}
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	r.rss = usage.Maxrss << 10
	all := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.serverAt = float64((all - before).Microseconds()) / float64(opt.events-calm)
	if r.bytes, err = size(data); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(log, "server: %.1f µs of processor for an event, sealing included; %d MiB at most; %.1f bytes an event on disk\n", r.serverAt, r.rss>>20, float64(r.bytes)/float64(r.events))
	return nil
}

// send posts n events and gives how long each acknowledgement took. A rate of 0 is as
// fast as they are taken; else requests begin on time, whether others are answered or
// not, and their time counts from when they should have begun.
func send(ctx context.Context, opt *options, client *http.Client, n, rate int) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var next atomic.Int64
	var wg sync.WaitGroup
	// Bodies are made before the clock starts: the half second that it takes is not one
	// in which batches are late.
	bodies := opt.bodies()
	batches, begin := int64((n+opt.batch-1)/opt.batch), time.Now()
	for s := range opt.senders {
		wg.Go(func() {
			bodies := bodies[s]
			var mine []time.Duration
			for {
				i := next.Add(1) - 1
				if i >= batches {
					break
				}
				at := time.Now()
				if rate > 0 {
					due := begin.Add(time.Duration(float64(i) * float64(opt.batch) / float64(rate) * float64(time.Second)))
					time.Sleep(time.Until(due))
					at = due
				}
				body := bodies[int(i)%len(bodies)]
				renew(body, i)
				if err := post(ctx, client, body); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					break
				}
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(all)
	return all, failed
}

// bodies makes a few bodies for each sender, which are sent in turn: making them anew
// would cost more than taking them.
func (opt *options) bodies() [][][]byte {
	all := make([][][]byte, opt.senders)
	for s := range all {
		made := newTraffic(uint64(s), time.Now()) // #nosec G115 -- a small number
		all[s] = make([][]byte, 64)
		for i := range all[s] {
			all[s][i] = made.batch(opt.batch)
		}
	}
	return all
}

// renew gives every event of a body an audit id that was not there before, and the
// times of now.
func renew(body []byte, batch int64) {
	now, rest, text := time.Now().UTC(), body, make([]byte, 0, 40)
	for n := int64(0); ; n++ {
		id := after(rest, `"auditID":"`)
		if id == nil {
			return
		}
		mix := uint64(batch)*0x9E3779B97F4A7C15 + uint64(n)*0xD1B54A32D192ED03 // #nosec G115 -- only to mix
		mix = (mix ^ mix>>31) * 0xBF58476D1CE4E5B9
		for d := range 8 {
			id[d] = "0123456789abcdef"[mix>>(4*d)&15]
			id[28+d] = "0123456789abcdef"[mix>>(32+4*d)&15]
		}
		now = now.Add(time.Duration(mix%50) * time.Microsecond)
		rest = after(id, `"requestReceivedTimestamp":"`)
		copy(rest, now.AppendFormat(text, stamp))
		rest = after(rest, `"stageTimestamp":"`)
		copy(rest, now.Add(time.Duration(500+(mix>>8)%20000)*time.Microsecond).AppendFormat(text, stamp))
	}
}

// after gives what follows the first key, or nil.
func after(body []byte, key string) []byte {
	if i := bytes.Index(body, []byte(key)); i >= 0 {
		return body[i+len(key):]
	}
	return nil
}

func post(ctx context.Context, client *http.Client, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://bulwark/audit/v1/bench?timeout=30s", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	for {
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusServiceUnavailable: // what an API server does: send it again
			time.Sleep(10 * time.Millisecond)
			req.Body, _ = req.GetBody()
		case resp.StatusCode != http.StatusOK:
			return fmt.Errorf("the webhook answered %d %s", resp.StatusCode, text)
		default:
			return nil
		}
	}
}

// serve starts the server and gives a client for it.
func serve(ctx context.Context, opt *options, dir, data string, log io.Writer) (*http.Client, *exec.Cmd, error) {
	p := func(name string) string { return filepath.Join(dir, name) }
	roots, err := certificate(p("tls.crt"), p("tls.key"))
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate: %w", err)
	}
	if err := os.WriteFile(p("token"), []byte(token), 0o600); err != nil {
		return nil, nil, fmt.Errorf("write token: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("find a port: %w", err)
	}
	address := l.Addr().String()
	_ = l.Close()
	cmd := exec.CommandContext(ctx, opt.bulwark, "serve", "audit", "--data", data, "--listen", address, "--admin", "127.0.0.1:0",
		"--tls-cert", p("tls.crt"), "--tls-key", p("tls.key"), "--token-file", p("token"), "--log-level", "warn")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the server: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "bulwark", MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: opt.senders, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
	empty := []byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[]}`)
	for {
		if err = post(ctx, client, empty); err == nil {
			return client, cmd, nil
		}
		if ctx.Err() != nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, cmd, errors.Join(err, cmd.Process.Kill())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func certificate(certFile, keyFile string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bulwark"}, DNSNames: []string{"bulwark"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots, errors.Join(os.WriteFile(certFile, text, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// processor is what a running process has used of the processors.
func processor(pid int) time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	var user, system int64
	_, after, _ := bytes.Cut(raw, []byte(") "))
	fields := bytes.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	_, _ = fmt.Sscan(string(fields[11]), &user)
	_, _ = fmt.Sscan(string(fields[12]), &system)
	return time.Duration(user+system) * 10 * time.Millisecond // Linux counts in hundredths of a second here
}

// size is what everything in a folder takes on disk.
func size(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			total += s.Blocks * 512
		}
		return nil
	})
	return total, err
}

// at gives a percentile of sorted times.
func at(sorted []time.Duration, percent float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*percent/100))]
}
