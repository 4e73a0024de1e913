// Package peers builds, starts and meters the programs that Bulwark is tested
// with and measured against. Each Go peer has a module of its own below this
// folder, so that its dependencies are pinned by its own go.sum and never mix
// with another's; a build is kept in the user's cache folder under the hash of
// what pins it.
package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Peer is a program of another project, built from its Go module.
type Peer struct {
	// Name is the folder of its module below this package, and the file name
	// of the built program.
	Name string
	// Package is the main package to build.
	Package string
	// Module is the path of the module whose version is reported.
	Module string
	// Cgo links a library that is not Go: a C++ compiler must be there.
	Cgo bool
}

// The peers that are built from source, at the versions that their go.mod pins.
var (
	Caddy   = Peer{Name: "caddy", Package: "github.com/caddyserver/caddy/v2/cmd/caddy", Module: "github.com/caddyserver/caddy/v2"}
	Traefik = Peer{Name: "traefik", Package: "github.com/traefik/traefik/v3/cmd/traefik", Module: "github.com/traefik/traefik/v3"}
	H2Spec  = Peer{Name: "h2spec", Package: "github.com/summerwind/h2spec/cmd/h2spec", Module: "github.com/summerwind/h2spec"}
	// DuckDB is a library: the program around it, which answers the SQL on its standard
	// input, is in its folder.
	DuckDB = Peer{Name: "duckdb", Package: ".", Module: "github.com/duckdb/duckdb-go/v2", Cgo: true}
)

// Build gives the path of the built peer. The first call builds it, at low
// priority and for some minutes; later calls find it in the cache. A change of
// the peer's go.mod, go.sum or own Go files, or of the Go toolchain, builds anew.
func Build(ctx context.Context, p Peer) (string, error) {
	dir, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	src := filepath.Join(dir, "peers", p.Name)
	key, err := pinHash(src)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	out := filepath.Join(cache, key, p.Name)
	if _, err := os.Stat(out); err == nil {
		return out, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("build %s: look for it in the cache: %w", p.Name, err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	// Built in a folder of its own and renamed, so that an interrupted build or
	// two at once never leave half a program behind.
	scratch, err := os.MkdirTemp(filepath.Dir(out), "build-")
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	tmp := filepath.Join(scratch, p.Name)
	if err := goBuild(ctx, src, tmp, p.Package, p.Cgo); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	if err := os.Rename(tmp, out); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	return out, nil
}

// Version gives the version of the peer that its go.mod pins.
func Version(ctx context.Context, p Peer) (string, error) {
	dir, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", p.Module)
	cmd.Dir = filepath.Join(dir, "peers", p.Name)
	out, err := output(cmd)
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", p.Name, err)
	}
	return out, nil
}

// BuildBulwark builds the command of this repository into dir and gives its
// path. It is built on every call, so that what is tested is what is written.
func BuildBulwark(ctx context.Context, dir string) (string, error) {
	test, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "bulwark")
	if err := goBuild(ctx, filepath.Dir(test), out, "./cmd/bulwark", false); err != nil {
		return "", fmt.Errorf("build bulwark: %w", err)
	}
	return out, nil
}

// goBuild builds a main package from a module's folder, at low priority: a
// first build of Traefik takes minutes of every core otherwise.
func goBuild(ctx context.Context, dir, out, pkg string, cgo bool) error {
	args, env := []string{"-n", "10", "go", "build", "-o", out}, "CGO_ENABLED=0" // as make build, so that nothing is compiled twice
	if cgo {
		// Without symbols a library of 70 MB is linked in half the time.
		args, env = append(args, "-ldflags=-s -w"), "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(ctx, "nice", append(args, pkg)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env)
	_, err := output(cmd)
	return err
}

// moduleDir gives the folder of this module, found from the working directory.
func moduleDir(ctx context.Context) (string, error) {
	mod, err := output(exec.CommandContext(ctx, "go", "env", "GOMOD"))
	if err != nil {
		return "", fmt.Errorf("find the test module: %w", err)
	}
	dir := filepath.Dir(mod)
	if _, err := os.Stat(filepath.Join(dir, "peers", "peers.go")); err != nil {
		return "", fmt.Errorf("find the test module: run this inside test/, not with %q as main module: %w", mod, err)
	}
	return dir, nil
}

// pinHash is the hash of what decides a build's outcome.
func pinHash(src string) (string, error) {
	h := sha256.New()
	_, _ = fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	files := []string{filepath.Join(src, "go.mod"), filepath.Join(src, "go.sum")}
	own, err := filepath.Glob(filepath.Join(src, "*.go"))
	if err != nil {
		return "", fmt.Errorf("list the sources: %w", err)
	}
	for _, file := range append(files, own...) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read the pins: %w", err)
		}
		_, _ = fmt.Fprintln(h, filepath.Base(file), len(b))
		_, _ = h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// cacheDir is where builds are kept: below XDG_CACHE_HOME, or ~/.cache.
func cacheDir() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder: %w", err)
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "bulwark", "peers"), nil
}

// output runs a command and gives what it printed, without the last newline.
// A failure carries what the command wrote to its error output.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
