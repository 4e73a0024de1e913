package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestMain also is what runs in the new namespaces: Enter starts this binary again.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("NETNS_TEST") != "":
		if err := inNamespaces(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(9)
	case len(os.Args) > 1 && os.Args[1] == "wait":
		select {}
	default:
		os.Exit(m.Run())
	}
}

func TestEnter(t *testing.T) {
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outside.Close() }()
	f, addr, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		answered <- err
	}()
	status, err := Enter(t.Context(), nil, []string{"NETNS_TEST=" + outside.Addr().String()}, []*os.File{f}, nil)
	if err != nil || status != 9 {
		t.Fatalf("status %d, %v; the process inside said why", status, err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the listener handed in: %v", err)
	}
}

// inNamespaces checks what Mounts, Setup, Plug and Do promise.
func inNamespaces() error {
	if err := errors.Join(Mounts(), Setup()); err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return fmt.Errorf("process %d, want 1", os.Getpid())
	}
	if c, err := net.Dial("tcp", os.Getenv("NETNS_TEST")); err == nil {
		_ = c.Close()
		return errors.New("a listener outside was reached")
	}
	for _, addr := range []string{"10.96.3.4:80", "10.242.5.6:80", "10.243.0.1:80"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		_, _ = c.Close(), l.Close()
	}
	pods := []netip.Addr{netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("10.244.0.2")}
	var pids []int
	for i, ip := range pods {
		cmd := exec.Command("/proc/self/exe", "wait")
		cmd.Env = []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		if err := Plug(cmd.Process.Pid, ip, i+1); err != nil {
			return err
		}
		pids = append(pids, cmd.Process.Pid)
	}
	// A wildcard listener in one pod, reached from the node and from the other pod.
	var l net.Listener
	if err := Do(pids[0], func() (err error) { l, err = net.Listen("tcp", ":80"); return err }); err != nil {
		return err
	}
	dial := func() error {
		c, err := net.Dial("tcp", "10.244.0.1:80")
		if err != nil {
			return err
		}
		return c.Close()
	}
	if err := dial(); err != nil {
		return fmt.Errorf("from the node: %w", err)
	}
	if err := Do(pids[1], dial); err != nil {
		return fmt.Errorf("from another pod: %w", err)
	}
	// And its wildcard is not the node's.
	n, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	_, _ = n.Close(), l.Close()
	return handedIn()
}

func handedIn() error {
	l, err := net.FileListener(os.NewFile(3, "handed in"))
	if err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	_, err = c.Write([]byte("x"))
	return err
}
