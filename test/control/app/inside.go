package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"bulwark.dev/bulwark/test/control/netns"
	"bulwark.dev/bulwark/test/control/pki"
	"bulwark.dev/bulwark/test/control/services"
)

const nodeName = "node-1"

// inside is process 1 of the cluster's namespaces: it starts everything, runs
// the caller's command or waits for a signal, and ends everything.
func inside(p Parts, signals <-chan os.Signal, stdout io.Writer, log *slog.Logger) (int, error) {
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &c); err != nil {
		return 0, fmt.Errorf("configuration from outside: %w", err)
	}
	if err := os.Unsetenv(configVariable); err != nil {
		return 0, fmt.Errorf("configuration from outside: %w", err)
	}
	begun := time.Now()
	if !c.Verbose {
		done, err := quiet(c.DataDir)
		if err != nil {
			return 0, err
		}
		defer done()
	}
	if err := namespaces(&c); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		_ = g.Wait() // its functions have no errors
	}()
	if err := c.forward(ctx, g); err != nil {
		return 0, err
	}
	cl, err := start(ctx, g, &c, p, log)
	if cl != nil {
		defer cl.end()
	}
	if err != nil {
		return 0, interrupted(err, signals)
	}
	kubeconfig, err := c.publishKubeconfig()
	if err != nil {
		return 0, err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "cluster ready", slog.Duration("after", time.Since(begun).Round(time.Millisecond)))
	if len(c.Command) > 0 {
		return cl.command(ctx, &c, signals)
	}
	if _, err := fmt.Fprintf(stdout, "KUBECONFIG=%s\n", kubeconfig); err != nil {
		return 0, err
	}
	select {
	case <-signals:
		return 0, nil
	case err := <-cl.fatal:
		return 0, err
	case <-ctx.Done():
		return 0, errors.Join(errors.New("a part of the cluster ended"), context.Cause(ctx))
	}
}

// quiet sends what the client library logs to a file.
func quiet(dir string) (done func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(f, nil)))
	return func() {
		klog.SetSlogLogger(slog.New(slog.DiscardHandler))
		_ = f.Close() // a log of a cluster that is gone
	}, nil
}

// interrupted prefers the reason that a start was given up.
func interrupted(err error, signals <-chan os.Signal) error {
	select {
	case s := <-signals:
		return fmt.Errorf("stopped by %v while starting: %w", s, err)
	default:
		return err
	}
}

// namespaces makes the fresh namespaces usable: mounts, addresses, and a
// resolver file that sends the command's look-ups to the cluster's DNS.
func namespaces(c *config) error {
	if err := netns.Mounts(); err != nil {
		return err
	}
	if err := netns.Setup(); err != nil {
		return err
	}
	resolv := filepath.Join(c.DataDir, "resolv.conf")
	text := "nameserver " + netns.DNSService + "\nsearch svc.cluster.local cluster.local\noptions ndots:5\n"
	if err := os.WriteFile(resolv, []byte(text), 0o644); err != nil {
		return fmt.Errorf("resolver configuration: %w", err)
	}
	if err := syscall.Mount(resolv, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("resolver configuration over /etc/resolv.conf: %w", err)
	}
	return pki.Ensure(pki.Config{
		Dir: c.pki(), Node: nodeName, NodeIP: netns.NodeIP, ServiceIP: netns.APIService, Now: time.Now(),
	})
}

// forward serves the listeners that came from outside.
func (c *config) forward(ctx context.Context, g *errgroup.Group) error {
	for _, f := range c.Forwards {
		file := os.NewFile(uintptr(f.FD), "published")
		l, err := net.FileListener(file)
		if err != nil {
			return fmt.Errorf("published listener for %s: %w", f.Target, err)
		}
		_ = file.Close() // the listener has a copy
		target := f.Target
		g.Go(func() error {
			services.Forward(ctx, l, func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", target)
			})
			return nil
		})
	}
	return nil
}

// command runs the caller's command and gives its status.
func (cl *cluster) command(ctx context.Context, c *config, signals <-chan os.Signal) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("own path: %w", err)
	}
	cmd := exec.Command(c.Command[0], c.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(),
		// Where the build puts kubectl.
		"PATH="+filepath.Dir(self)+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"KUBECONFIG="+filepath.Join(c.pki(), "admin.kubeconfig"),
		"CONTROL_DATA_DIR="+c.DataDir,
		"CONTROL_BIN="+self,
	)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start command: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			var exit *exec.ExitError
			switch {
			case err == nil:
				return 0, nil
			case errors.As(err, &exit) && exit.ExitCode() >= 0:
				return exit.ExitCode(), nil
			default:
				return 0, fmt.Errorf("command: %w", err)
			}
		case s := <-signals:
			_ = cmd.Process.Signal(s) // gone already: done tells
		case err := <-cl.fatal:
			// The command finds out by itself; what it says about it is worth having.
			cl.log.LogAttrs(ctx, slog.LevelError, "cluster failed under the command", slog.Any("error", err))
		}
	}
}
