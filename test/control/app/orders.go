package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// The socket in the data directory that orders come by.
const orderSocket = "control.sock"

// reach gives a short path to a file of dir: a unix socket's may have 107 bytes.
// Close done after the socket is bound or dialled.
func reach(dir, file string) (path string, done func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("data directory: %w", err)
	}
	short := filepath.Join("/proc/self/fd", strconv.FormatUint(uint64(d.Fd()), 10), file)
	return short, func() { _ = d.Close() }, nil
}

// serveOrders answers on the data directory's socket until stop.
func serveOrders(ctx context.Context, dir string, cl *cluster) (stop func(), err error) {
	if err := os.Remove(filepath.Join(dir, orderSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("old order socket: %w", err)
	}
	path, done, err := reach(dir, orderSocket)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("order socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apiserver/{order}", func(w http.ResponseWriter, r *http.Request) {
		if err := cl.order(ctx, r.PathValue("order"), r.FormValue("kill") != ""); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l) // ends when stop closes it
	}()
	return func() { _ = s.Close(); <-ended }, nil
}

func (cl *cluster) order(ctx context.Context, order string, kill bool) error {
	switch order {
	case "stop":
		cl.stopAPIServer(kill)
		return nil
	case "start":
		return cl.startAPIServer(ctx)
	case "restart":
		cl.stopAPIServer(kill)
		return cl.startAPIServer(ctx)
	default:
		return fmt.Errorf("no order %q: stop, start or restart", order)
	}
}

// askAPIServer is the command "control apiserver": it sends one order to the
// cluster of --data-dir (default: $CONTROL_DATA_DIR) and waits until it is done.
func askAPIServer(args []string, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("apiserver: say stop, start or restart")
	}
	fs := flag.NewFlagSet("control apiserver", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("data-dir", os.Getenv("CONTROL_DATA_DIR"), "the cluster's `directory`")
	kill := fs.Bool("kill", false, "end it by SIGKILL, as a crash would")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("apiserver: --data-dir is missing")
	}
	path, done, err := reach(*dir, orderSocket)
	if err != nil {
		return err
	}
	defer done()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	url := "http://control/apiserver/" + args[0]
	if *kill {
		url += "?kill=1"
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, nil)
	if err != nil {
		return fmt.Errorf("apiserver %s: %w", args[0], err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("apiserver %s: %w", args[0], err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		return fmt.Errorf("apiserver %s: %w", args[0], errors.Join(errors.New(string(text)), err))
	}
	return nil
}
