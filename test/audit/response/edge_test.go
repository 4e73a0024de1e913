package response

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/audit/trailtest"
	"bulwark.dev/bulwark/test/controltest"
)

// relayAddress is where data planes ask the controller.
const relayAddress = "127.0.0.1:9443"

// edge is a controller and one data plane that has its configuration from it, as the
// chart runs them. Only the controller asks the API server.
type edge struct {
	data, certs string
	// url is where the data plane serves: the controller gives it a port.
	url        string
	controller *trailtest.Process
	plane      *trailtest.Process
}

// startEdge serves the Gateway of the world.
func startEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{data: filepath.Join(t.TempDir(), "plane"), certs: t.TempDir()}
	e.startController(t)
	controltest.Until(t, "the data plane's certificate", func() error {
		out, err := controltest.TryKubectl(t.Context(), nil, "get", "secret", "bulwark-relay-client", "-n", "bulwark-system", "-o", "json")
		var s struct{ Data map[string]string }
		if err = errors.Join(err, json.Unmarshal([]byte(out), &s)); err != nil {
			return err
		}
		for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
			text, err := base64.StdEncoding.DecodeString(s.Data[name])
			if err != nil || len(text) == 0 {
				return fmt.Errorf("%s: %d bytes, %w", name, len(text), err)
			}
			if err := os.WriteFile(filepath.Join(e.certs, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	})
	controltest.Until(t, "a port for the Gateway", func() error {
		port, err := controltest.TryKubectl(t.Context(), nil, "get", "services", "-n", "shop", "-o", "jsonpath={.items[?(@.spec.ports[0].port==18080)].spec.ports[0].targetPort}")
		if err != nil || port == "" {
			return fmt.Errorf("none yet: %q, %w", port, err)
		}
		e.url = "http://127.0.0.1:" + port
		return nil
	})
	e.startPlane(t)
	for _, key := range []string{eveKey, annKey} {
		e.until(t, key, http.StatusFound)
	}
	return e
}

func (e *edge) startController(t *testing.T) {
	t.Helper()
	e.controller = trailtest.Start(t, "serve", "controller", "--kubeconfig", controltest.Kubeconfig(), "--namespace", "bulwark-system",
		"--relay-listen", relayAddress, "--relay-service", "localhost", "--service-type", "ClusterIP", "--admin", "127.0.0.1:0")
}

func (e *edge) startPlane(t *testing.T) {
	t.Helper()
	e.plane = trailtest.Start(t, "serve", "gateway", "--controller", strings.Replace("https://"+relayAddress, "127.0.0.1", "localhost", 1), "--relay-certs", e.certs,
		"--namespace", "bulwark-system", "--data", e.data, "--drain", "0s", "--admin", "127.0.0.1:0")
}

// until asks until the answer is the wanted one, and gives the statuses of those before it.
func (e *edge) until(t *testing.T, key string, want int) (before []int) {
	t.Helper()
	controltest.Until(t, fmt.Sprintf("the answer %d to %s", want, key), func() error {
		got, err := e.through(t, key, "/")
		if err != nil {
			return err
		}
		if got == want {
			return nil
		}
		before = append(before, got)
		return fmt.Errorf("answered %d, want %d", got, want)
	})
	return before
}

// through sends a request with a key and gives the status of the answer.
func (e *edge) through(t *testing.T, key, path string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", key)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// answers wants a status at once.
func (e *edge) answers(t *testing.T, key string, want int) {
	t.Helper()
	if got, err := e.through(t, key, "/"); err != nil || got != want {
		t.Errorf("%s: answered %d, %v, want %d", key, got, err, want)
	}
}

// denied: an alert has the identity refused by a data plane that never asks the API
// server; it stays refused when the data plane is killed, and when the controller is; and
// gets in again when it is taken back, and when the time is over.
func denied(t *testing.T, s *server, e *edge) {
	t.Helper()
	if got, err := e.through(t, eveKey, "/forbidden"); err != nil || got != http.StatusFound {
		t.Fatalf("answered %d, %v", got, err)
	}
	if got, err := e.through(t, annKey, "/forbidden"); err != nil || got != http.StatusFound { // who is protected
		t.Fatalf("answered %d, %v", got, err)
	}
	e.until(t, eveKey, http.StatusForbidden)
	e.answers(t, annKey, http.StatusFound)
	run := standing(t, s, "deny-identity")

	e.plane.Kill()
	e.startPlane(t)
	if before := e.until(t, eveKey, http.StatusForbidden); len(before) > 0 {
		t.Errorf("a data plane that was started while it stands answered %v first", before)
	}
	e.answers(t, annKey, http.StatusFound)

	e.controller.Kill()
	if got := respond(t, s, 0, "undo", run); got.Run.State != "undone" {
		t.Errorf("undo: %+v", got)
	}
	for range 3 { // nobody tells it
		e.answers(t, eveKey, http.StatusForbidden)
		e.answers(t, annKey, http.StatusFound)
	}
	e.plane.Kill()
	e.startPlane(t)
	if got, err := e.through(t, eveKey, "/"); err == nil {
		t.Errorf("a data plane that was told nothing answered %d", got)
	}
	e.startController(t)
	if before := e.until(t, eveKey, http.StatusFound); len(before) > 0 {
		t.Errorf("taken back, and answered %v first", before)
	}

	for expiry := 2 * time.Second; ; expiry *= 2 { // on a slow machine it may be over before it is seen
		got := respond(t, s, 0, "apply", "deny-identity", "--yes", "--reason", "x", "--expiry", expiry.String(), "--set", "identity="+eveName)
		seen := false
		controltest.Until(t, "the end of "+got.Run.ID, func() error {
			answered, err := e.through(t, eveKey, "/")
			seen = seen || answered == http.StatusForbidden
			if err != nil || standing(t, s, "deny-identity") != "" {
				return errors.Join(err, errors.New("it stands"))
			}
			return nil
		})
		e.until(t, eveKey, http.StatusFound)
		if seen {
			break
		}
	}
	controltest.Until(t, "the refusal to deny who is protected", func() error {
		if out, _ := trailtest.Run(t, 0, "audit", "search", `kind=action verb=plan identity "ann" is protected`, "--data", s.trail); !strings.Contains(out, "plan") {
			return errors.New(out)
		}
		return nil
	})
}

// standing gives the run of an action that stands, or "".
func standing(t *testing.T, s *server, action string) string {
	t.Helper()
	out, _ := trailtest.Run(t, 0, "audit", "response", "status", "--data", s.trail)
	for line := range strings.Lines(out) {
		if strings.Contains(line, action) {
			for word := range strings.FieldsSeq(line) {
				if strings.HasPrefix(word, "r-") {
					return word
				}
			}
		}
	}
	return ""
}

// counted scrapes the server that was started last, until its metrics are at least what
// is wanted.
func counted(t *testing.T, want map[string]float64) {
	t.Helper()
	controltest.Until(t, "the metrics", func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		got := map[string]float64{}
		for line := range strings.Lines(string(text)) {
			if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
				if v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64); err == nil {
					got[line[:i]] = v
				}
			}
		}
		for name, least := range want {
			if v, ok := got["bulwark_audit_response"+name]; !ok || v < least || least == 0 && v != 0 {
				err = errors.Join(err, fmt.Errorf("%s is %v (there: %t), want %v", name, v, ok, least))
			}
		}
		return errors.Join(err, resp.Body.Close())
	})
}
