package adversarial

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for the gateway. It is generous: the machine may be
// busy with other tests.
const patience = 10 * time.Second

// build compiles the program as a user would.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bulwark")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, "./cmd/bulwark")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build bulwark: %v\n%s", err, out)
	}
	return bin
}

// freePort gives a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// log collects what a process prints, while it runs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// process is a running gateway.
type process struct {
	dir    string // its objects
	data   string
	output *log
	exited chan struct{} // closed when it is gone
	err    error         // why; read it after exited
}

// write puts object files into a folder.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// launch starts the program on a folder of objects and stops it with the test.
func launch(t *testing.T, bin, dir string) *process {
	t.Helper()
	p := &process{dir: dir, data: t.TempDir(), output: &log{}, exited: make(chan struct{})}
	cmd := exec.Command(bin, "up", "-f", dir, "--data", p.data, "--admin", "127.0.0.1:0", "--drain", "1s",
		"--header-timeout", "2s", "--body-timeout", "2s", "--request-timeout", "5s", "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		p.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-p.exited
			t.Error("the gateway did not drain")
		}
		if t.Failed() {
			t.Logf("the gateway said:\n%s", p.output)
		}
	})
	return p
}

// await waits until the process listens on the addresses.
func (p *process) await(t *testing.T, addrs ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for _, addr := range addrs {
		for {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err == nil {
				_ = c.Close()
				break
			}
			select {
			case <-p.exited:
				t.Fatalf("the gateway ended: %v\n%s", p.err, p.output)
			case <-ctx.Done():
				t.Fatalf("nothing listens on %s: %v\n%s", addr, err, p.output)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// outcome waits until the process either ends, with a code, or listens.
func (p *process) outcome(t *testing.T, addr string) (code int, started bool) {
	t.Helper()
	started = eventually(t, func() bool {
		select {
		case <-p.exited:
			return true
		default:
		}
		c, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	select {
	case <-p.exited:
		code, _ = p.exitCode()
		return code, false
	default:
		return 0, started
	}
}

// exitCode waits for the end of a process that should not start.
func (p *process) exitCode() (int, bool) {
	select {
	case <-p.exited:
	case <-time.After(patience):
		return 0, false
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		return exit.ExitCode(), true
	}
	return 0, p.err == nil
}

// eventually waits until ok holds.
func eventually(t *testing.T, ok func() bool) bool {
	t.Helper()
	for range 100 {
		if ok() {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ok()
}

// counter counts the cases that ran, and those of each family.
type counter struct{ cases []string }

func (c *counter) add(t *testing.T, id string) {
	t.Helper()
	if slices.Contains(c.cases, id) {
		t.Errorf("two cases are called %s", id)
	}
	c.cases = append(c.cases, id)
}
