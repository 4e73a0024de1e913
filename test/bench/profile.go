package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profileTime is how long a profile is taken for.
const profileTime = 8 * time.Second

// profiles loads each of Bulwark's hops once more and writes a CPU profile of
// it, from the profiling endpoint of its admin listener.
func (b *bench) profiles(ctx context.Context, subjects []*subject) error {
	if err := os.MkdirAll(b.opt.profile, 0o755); err != nil {
		return fmt.Errorf("prepare the folder of profiles: %w", err)
	}
	for _, s := range subjects {
		if !s.bulwark {
			continue
		}
		path := filepath.Join(b.opt.profile, s.name+".pprof")
		if err := b.profile(ctx, s, path); err != nil {
			return fmt.Errorf("profile %s: %w", s.name, err)
		}
		_, _ = fmt.Fprintln(b.log, "bench: profile of", s.name, "in", path)
	}
	return nil
}

// profile takes one profile under load.
func (b *bench) profile(ctx context.Context, s *subject, path string) error {
	loaded := make(chan error, 1)
	go func() {
		_, err := b.gen.run(ctx, fmt.Sprintf("http://127.0.0.1:%d/", s.env.Port), s.token, profileTime+2*time.Second)
		loaded <- err
	}()
	time.Sleep(time.Second)
	err := fetch(ctx, fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", s.env.Admin, int(profileTime/time.Second)), path)
	return errors.Join(err, <-loaded)
}

// fetch writes what a URL answers to a file.
func fetch(ctx context.Context, url, path string) error {
	ctx, cancel := context.WithTimeout(ctx, profileTime+10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch %s: status %d", url, resp.StatusCode)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
