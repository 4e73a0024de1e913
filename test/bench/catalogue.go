package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"text/template"

	"bulwark.dev/bulwark/test/peers"
)

// The names of what is measured, as -peers takes them.
const (
	nameReverseProxy = "reverseproxy"
	nameNginx        = "nginx"
	nameHAProxy      = "haproxy"
	nameCaddy        = "caddy"
	nameTraefik      = "traefik"
	nameTraefikFast  = "traefik-fast"
	namePlain        = "bulwark"
	nameSecured      = "bulwark-secured"
)

// entry is one thing to measure.
type entry struct {
	name  string
	label string
	// secured asks for a request with a token.
	secured bool
	// bulwark marks this repository's own program.
	bulwark bool
	// command prepares the peer in env.Dir and gives what to start.
	command func(ctx context.Context, env *env) (path string, args []string, version string, err error)
}

// env is what a peer's configuration is made of.
type env struct {
	// Dir is the folder for this run's files.
	Dir string
	// Name is the peer's name.
	Name string
	// Port is where the peer listens; Admin where Bulwark's own endpoints are.
	Port, Admin int
	// Backend and Status are the backend's ports: the one that answers and the
	// one that tells how often it did.
	Backend, Status int
	// Body is what the backend answers.
	Body string
	// CPUs is how many cores the peer may use.
	CPUs int
	// FastProxy switches Traefik's experimental fast proxy on.
	FastProxy bool
	// JWKS, Issuer and Audience secure Bulwark's hop. Empty: the plain hop.
	JWKS, Issuer, Audience string
	// Binary is Bulwark, built once for the run.
	Binary string
	// Profile asks Bulwark for its profiling endpoints.
	Profile bool
}

//go:embed conf
var conf embed.FS

// catalogue is everything that can be measured, in the order of the table.
func catalogue() []entry {
	return []entry{
		{name: nameReverseProxy, label: "`httputil.ReverseProxy`", command: reverseProxy},
		{name: nameNginx, label: "nginx", command: nginx},
		{name: nameHAProxy, label: "HAProxy", command: haproxy},
		{name: nameCaddy, label: "Caddy", command: caddy},
		{name: nameTraefik, label: "Traefik", command: traefik(false)},
		{name: nameTraefikFast, label: "Traefik, fast proxy", command: traefik(true)},
		{name: namePlain, label: "Bulwark, plain hop", bulwark: true, command: bulwark("none")},
		{name: nameSecured, label: "Bulwark, secured hop", bulwark: true, secured: true, command: bulwark("all")},
	}
}

// namesOf lists names.
func namesOf(entries []entry) []string {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.name)
	}
	return names
}

func reverseProxy(_ context.Context, e *env) (string, []string, string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, "", fmt.Errorf("find this program: %w", err)
	}
	return self, []string{
		stdproxyCommand,
		"-listen", fmt.Sprintf("127.0.0.1:%d", e.Port),
		"-backend", fmt.Sprintf("http://127.0.0.1:%d", e.Backend),
	}, runtime.Version(), nil
}

func nginx(ctx context.Context, e *env) (string, []string, string, error) {
	return packaged(ctx, e, "nginx", "-v", "nginx.conf", "-e", "stderr", "-c")
}

func haproxy(ctx context.Context, e *env) (string, []string, string, error) {
	return packaged(ctx, e, "haproxy", "-v", "haproxy.cfg", "-db", "-f")
}

// packaged prepares a program of the distribution; the path of its
// configuration is its last argument.
func packaged(ctx context.Context, e *env, name, versionFlag, file string, args ...string) (string, []string, string, error) {
	path, err := lookPath(name)
	if err != nil {
		return "", nil, "", err
	}
	version, err := printedVersion(ctx, path, versionFlag)
	if err != nil {
		return "", nil, "", err
	}
	cfg, err := render(e, file, file)
	return path, append(args, cfg), version, err
}

func caddy(ctx context.Context, e *env) (string, []string, string, error) {
	path, version, err := module(ctx, peers.Caddy)
	if err != nil {
		return "", nil, "", err
	}
	cfg, err := render(e, "Caddyfile", "Caddyfile")
	return path, []string{"run", "--adapter", "caddyfile", "--config", cfg}, version, err
}

func traefik(fast bool) func(context.Context, *env) (string, []string, string, error) {
	return func(ctx context.Context, e *env) (string, []string, string, error) {
		path, version, err := module(ctx, peers.Traefik)
		if err != nil {
			return "", nil, "", err
		}
		e.FastProxy = fast
		if _, err := render(e, "traefik-routes.yaml", e.Name+"-routes.yaml"); err != nil {
			return "", nil, "", err
		}
		cfg, err := render(e, "traefik.yaml", e.Name+".yaml")
		return path, []string{"--configfile=" + cfg}, version, err
	}
}

func bulwark(events string) func(context.Context, *env) (string, []string, string, error) {
	return func(_ context.Context, e *env) (string, []string, string, error) {
		folder := e.Name + "-objects"
		objects := filepath.Join(e.Dir, folder)
		if err := os.MkdirAll(objects, 0o755); err != nil {
			return "", nil, "", fmt.Errorf("make a folder for objects: %w", err)
		}
		if _, err := render(e, "bulwark.yaml", filepath.Join(folder, "bench.yaml")); err != nil {
			return "", nil, "", err
		}
		args := []string{
			"up", "-f", objects, "--data", filepath.Join(e.Dir, e.Name+"-data"),
			"--events=" + events, "--admin", fmt.Sprintf("127.0.0.1:%d", e.Admin),
		}
		if e.Profile {
			args = append(args, "--pprof")
		}
		return e.Binary, args, "this tree", nil
	}
}

// module builds a peer and tells its version.
func module(ctx context.Context, p peers.Peer) (path, version string, err error) {
	if path, err = peers.Build(ctx, p); err != nil {
		return "", "", err
	}
	if version, err = peers.Version(ctx, p); err != nil {
		return "", "", err
	}
	return path, version, nil
}

// lookPath finds a program, also where daemons live, which is not on every
// user's path.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	sbin := filepath.Join("/usr/sbin", name)
	if _, serr := os.Stat(sbin); serr == nil {
		return sbin, nil
	}
	return "", fmt.Errorf("find %s: %w; test/install.sh installs it", name, err)
}

// versionNumber is the first number of two parts or more in a version text.
var versionNumber = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

// printedVersion asks a program for its version. nginx answers on its error
// output.
func printedVersion(ctx context.Context, path, arg string) (string, error) {
	out, err := exec.CommandContext(ctx, path, arg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	v := versionNumber.Find(out)
	if v == nil {
		return "", fmt.Errorf("ask %s for its version: no number in %q", path, out)
	}
	return string(v), nil
}

// render fills a configuration template and writes it to file below e.Dir.
func render(e *env, tmpl, file string) (string, error) {
	text, err := conf.ReadFile("conf/" + tmpl)
	if err != nil {
		return "", fmt.Errorf("read the template %s: %w", tmpl, err)
	}
	t, err := template.New(tmpl).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return "", fmt.Errorf("read the template %s: %w", tmpl, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, e); err != nil {
		return "", fmt.Errorf("fill the template %s: %w", tmpl, err)
	}
	path := filepath.Join(e.Dir, file)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("write the configuration of %s: %w", e.Name, err)
	}
	return path, nil
}

// errNoWrk is given when the load generator is missing.
var errNoWrk = errors.New("wrk is not installed; test/install.sh installs it")
