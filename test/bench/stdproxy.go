package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// stdproxyCommand is the hidden first argument that turns this program into
// the standard library's proxy, so that it is measured as a process of its own.
const stdproxyCommand = "stdproxy"

// bufferSize is that of the copy buffers, the size ReverseProxy itself would
// allocate anew for each response.
const bufferSize = 32 << 10

// stdproxy serves httputil.ReverseProxy the way a careful user sets it up: with
// a buffer pool, and enough idle connections for every client.
func stdproxy(args []string) error {
	fs := flag.NewFlagSet(stdproxyCommand, flag.ContinueOnError)
	listen := fs.String("listen", "", "address to listen on")
	backend := fs.String("backend", "", "URL of the backend")
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	target, err := url.Parse(*backend)
	if err != nil {
		return fmt.Errorf("read -backend: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		BufferPool: &bufferPool{},
		Transport: &http.Transport{
			MaxIdleConns:        0,
			MaxIdleConnsPerHost: 1024,
			IdleConnTimeout:     5 * time.Minute,
			DisableCompression:  true,
		},
	}
	srv := &http.Server{Addr: *listen, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.ListenAndServe(); ctx.Err() == nil {
		return fmt.Errorf("serve on %s: %w", *listen, err)
	}
	return nil
}

// bufferPool lends copy buffers.
type bufferPool struct{ pool sync.Pool }

// Get gives a buffer.
func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, bufferSize)
}

// Put takes a buffer back.
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
