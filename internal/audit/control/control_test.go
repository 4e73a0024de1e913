package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/control"
)

// start serves s in dir until stop is called.
func start(t *testing.T, s *control.Server, dir string) (stop func()) {
	t.Helper()
	ln, err := control.Listen(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

type word struct {
	Text string `json:"text"`
}

func echo() *control.Server {
	s := control.NewServer(nil)
	s.Handle("echo", func(_ context.Context, raw json.RawMessage) (any, error) {
		var w word
		if err := control.Decode(raw, &w); err != nil {
			return nil, err
		}
		return w, nil
	})
	s.Handle("fail", func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("the disk is gone") })
	s.Handle("refuse", func(context.Context, json.RawMessage) (any, error) {
		return nil, control.Refuse(errors.New("no such thing"))
	})
	return s
}

func TestCall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, echo(), dir)
	tests := []struct {
		verb    string
		request any
		want    string
		err     string
		refused bool
	}{
		{verb: "echo", request: word{"hello"}, want: "hello"},
		{verb: "echo", request: word{strings.Repeat("x", 1<<19)}, want: strings.Repeat("x", 1<<19)},
		{verb: "echo", request: map[string]string{"txet": "a"}, err: "unknown field", refused: true},
		{verb: "echo", request: word{strings.Repeat("x", 1<<20)}, err: "longer than"},
		{verb: "fail", err: "the disk is gone"},
		{verb: "refuse", err: "no such thing", refused: true},
		{verb: "nothing", err: "does not know", refused: true},
		{verb: "../echo", err: "does not know", refused: true},
	}
	for _, tt := range tests {
		var got word
		err := control.Call(t.Context(), dir, tt.verb, tt.request, &got)
		if tt.err == "" {
			if err != nil || got.Text != tt.want {
				t.Errorf("%s: %v, %d bytes", tt.verb, err, len(got.Text))
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.err) || control.Refused(err) != tt.refused {
			t.Errorf("%s: %v, refused: %v", tt.verb, err, control.Refused(err))
		}
	}
}

// TestSocket: it is the user's alone, goes with the server, and that of a dead process is
// replaced.
func TestSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, control.SocketName)
	if err := control.Call(t.Context(), dir, "echo", nil, nil); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("no socket: %v", err)
	}
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if err := control.Call(t.Context(), dir, "echo", nil, nil); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("the socket of a dead process: %v", err)
	}
	stop := start(t, echo(), dir)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := control.Call(t.Context(), dir, "echo", word{"a"}, nil); err != nil {
		t.Error(err)
	}
	stop()
	var left []string
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if diff := cmp.Diff([]string(nil), left); diff != "" || err != nil {
		t.Errorf("left behind: %v %s", err, diff)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in its place: %v", err)
	}
}

func TestPathTooLong(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := control.Listen(t.Context(), dir)
	if !errors.Is(err, control.ErrPathTooLong) || !strings.Contains(err.Error(), "relative path") {
		t.Errorf("listen: %v", err)
	}
	if err := control.Call(t.Context(), dir, "echo", nil, nil); !errors.Is(err, control.ErrPathTooLong) {
		t.Errorf("call: %v", err)
	}
}

// TestContexts: work ends with the client that asked for it, and with the server; only so
// many requests run at once; and the server knows who asks.
func TestContexts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	begun := make(chan struct{}, 32)
	ended := make(chan error, 32)
	s := control.NewServer(nil)
	s.Handle("wait", func(ctx context.Context, _ json.RawMessage) (any, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	s.Handle("who", func(ctx context.Context, _ json.RawMessage) (any, error) {
		uid, ok := control.Caller(ctx)
		if !ok {
			uid = os.Getuid() // where the system does not tell
		}
		return uid, nil
	})
	stop := start(t, s, dir)
	var uid int
	if err := control.Call(t.Context(), dir, "who", nil, &uid); err != nil || uid != os.Getuid() {
		t.Errorf("%d, %v", uid, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if err := control.Call(ctx, dir, "wait", nil, nil); err == nil {
				t.Error("a call that was given up had a result")
			}
		})
		<-begun
	}
	if err := control.Call(t.Context(), dir, "who", nil, nil); err == nil || !strings.Contains(err.Error(), "try again") || control.Refused(err) {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	calls.Wait()
	for range 8 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	}
	calls.Go(func() {
		if err := control.Call(t.Context(), dir, "wait", nil, nil); err == nil {
			t.Error("a stopped server gave a result")
		}
	})
	<-begun
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	calls.Wait()
}

func TestHandlePanics(t *testing.T) {
	t.Parallel()
	s := echo()
	for _, verb := range []string{"echo", "", "Upper", "a/b", "-a"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("verb %q was taken", verb)
				}
			}()
			s.Handle(verb, func(context.Context, json.RawMessage) (any, error) { return "", nil })
		}()
	}
}
