// Command pod is what pods of the tests run: a small server and a few commands
// for exec, from the standard library only. Its image is bulwark.dev/control/pod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "pod:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("say serve, cat, echo, env, exit, file, fetch, id, lookup, post, size or sleep")
	}
	arg := func() string {
		if len(args) < 2 {
			return ""
		}
		return args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch args[0] {
	case "serve":
		return 0, serve(ctx, args[1:])
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return 0, err
	case "echo":
		_, err := fmt.Println(strings.Join(args[1:], " "))
		return 0, err
	case "env":
		_, err := fmt.Println(os.Getenv(arg()))
		return 0, err
	case "exit":
		n, err := strconv.Atoi(arg())
		return n, err
	case "file":
		text, err := describe(arg())
		return 0, errors.Join(err, printed(text))
	case "fetch", "post":
		method := http.MethodGet
		if args[0] == "post" {
			method = http.MethodPost
		}
		text, err := fetch(ctx, method, arg())
		return 0, errors.Join(err, printed(text))
	case "id":
		return 0, printed(fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()))
	case "lookup":
		ips, err := net.DefaultResolver.LookupHost(ctx, arg())
		return 0, errors.Join(err, printed(strings.Join(ips, " ")))
	case "size":
		text, err := terminalSize()
		return 0, errors.Join(err, printed(text))
	case "sleep":
		d, err := time.ParseDuration(arg())
		if err != nil {
			return 2, err
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return 0, nil
	default:
		return 2, fmt.Errorf("no command %q", args[0])
	}
}

func printed(text string) error {
	_, err := fmt.Println(text)
	return err
}

// describe gives a file's content, or why it cannot be read or written:
// "+PATH" tries to write there.
func describe(path string) (string, error) {
	if name, ok := strings.CutPrefix(path, "+"); ok {
		return "written", os.WriteFile(name, []byte("pod"), 0o644)
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

// terminalSize gives ROWSxCOLUMNS of standard input.
func terminalSize() (string, error) {
	var size [4]uint16
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if e != 0 {
		return "", fmt.Errorf("size of terminal: %w", e)
	}
	return fmt.Sprintf("%dx%d", size[0], size[1]), nil
}

func fetch(ctx context.Context, method, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	return string(b), err
}

// serve answers until SIGTERM, and then for --drain more:
//
//	HTTP  /            the pod's name
//	      /env?name=   a variable
//	      /file?path=  a file
//	      /health      200 until a POST to /sick
//	TCP   reads to the end, answers the length and the pod's name
//	UDP   answers the pod's name and the datagram
func serve(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	web := fs.String("http", ":8080", "`address`")
	tcp := fs.String("tcp", ":8081", "`address`")
	udp := fs.String("udp", ":8082", "`address`")
	drain := fs.Duration("drain", 0, "go on for so long after SIGTERM")
	if err := fs.Parse(args); err != nil {
		return err
	}
	name, err := os.Hostname()
	if n := os.Getenv("HOSTNAME"); n != "" {
		name, err = n, nil
	}
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	go func() { failed <- serveHTTP(*web, name) }()
	go func() { failed <- serveTCP(*tcp, name) }()
	go func() { failed <- serveUDP(*udp, name) }()
	_, _ = fmt.Fprintln(os.Stderr, "serving as", name)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		time.Sleep(*drain)
		return nil
	}
}

func serveHTTP(addr, name string) error {
	mux := http.NewServeMux()
	sick := make(chan struct{}, 1)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(os.Stdout, r.Method, r.URL.Path) // the log that tests read
		_, _ = io.WriteString(w, name)
	})
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, os.Getenv(r.FormValue("name")))
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(r.FormValue("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(b)
	})
	mux.HandleFunc("POST /sick", func(http.ResponseWriter, *http.Request) {
		select {
		case sick <- struct{}{}:
		default: // sick already
		}
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if len(sick) > 0 {
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
	})
	return (&http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe()
}

func serveTCP(addr, name string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = c.Close() }()
			n, err := io.Copy(io.Discard, c)
			if err == nil {
				_, _ = fmt.Fprintf(c, "%d %s", n, name)
			}
		}()
	}
}

func serveUDP(addr, name string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		_, _ = c.WriteTo([]byte(name+" "+string(buf[:n])), from)
	}
}
