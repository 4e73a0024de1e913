// Package h2spec runs h2spec, the conformance suite for HTTP/2 (RFC 9113) and
// HPACK (RFC 7541), against a server.
package h2spec

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Cases is how many cases the pinned h2spec has in strict mode. A run of fewer
// proves nothing.
const Cases = 146

// caseTimeout is how long h2spec waits for what a case expects.
const caseTimeout = 3 * time.Second

// Target is the server under test, on the loopback interface.
type Target struct {
	Port int
	// TLS speaks over TLS with ALPN "h2", whatever the certificate; without it
	// HTTP/2 starts with its preface (prior knowledge).
	TLS bool
	// Path is requested; its answer must have a body.
	Path string
}

// Case is the outcome of one case.
type Case struct {
	// Section is the suite and its section, for example "http2/6.5.3".
	Section string
	Name    string
	// Failure is what was expected and what came; empty for a passed case.
	Failure string
	// Skipped cases did not find what they need in the server's answers.
	Skipped bool
}

// ID is the section and the name: unique, and stable between runs.
func (c Case) ID() string { return c.Section + ": " + c.Name }

// Run runs the generic, http2 and hpack suites in strict mode and gives the
// outcome of each case. Failed cases are no error; a suite that did not run
// whole is.
func Run(ctx context.Context, binary string, t Target) ([]Case, error) {
	dir, err := os.MkdirTemp("", "h2spec-")
	if err != nil {
		return nil, fmt.Errorf("run h2spec: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	report := filepath.Join(dir, "report.xml")
	args := []string{
		"generic", "http2", "hpack", "--strict", "--host", "127.0.0.1", "--port", strconv.Itoa(t.Port),
		"--path", t.Path, "--timeout", strconv.Itoa(int(caseTimeout / time.Second)), "--junit-report", report,
	}
	if t.TLS {
		args = append(args, "--tls", "--insecure")
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	// h2spec exits 1 when a case fails: the report says more.
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("run h2spec: %w", err)
	}
	b, err := os.ReadFile(report)
	if err != nil {
		return nil, fmt.Errorf("run h2spec: no report: %w; it printed:\n%s", err, tail(out.String()))
	}
	cases, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("run h2spec: %w", err)
	}
	if len(cases) != Cases {
		return nil, fmt.Errorf("run h2spec: %d cases in the report, want %d", len(cases), Cases)
	}
	return cases, nil
}

// tail is the last lines of what a program printed.
func tail(s string) string {
	const limit = 2000
	if len(s) > limit {
		s = s[len(s)-limit:]
	}
	return strings.TrimSpace(s)
}

// Parse reads a JUnit report.
func Parse(b []byte) ([]Case, error) {
	var doc struct {
		Suites []struct {
			Cases []struct {
				Package string    `xml:"package,attr"`
				Name    string    `xml:"classname,attr"`
				Failure *string   `xml:"failure"`
				Error   *string   `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	var cases []Case
	for _, s := range doc.Suites {
		for _, c := range s.Cases {
			r := Case{Section: c.Package, Name: c.Name, Skipped: c.Skipped != nil}
			for _, f := range []*string{c.Failure, c.Error} {
				if f != nil {
					// An element without text is a failure too.
					r.Failure = strings.TrimSpace("failed: " + strings.TrimSpace(*f))
				}
			}
			cases = append(cases, r)
		}
	}
	return cases, nil
}
