package witness_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/proof/witness"
)

// grow makes the ledger in dir have size records; salt makes another past.
func grow(t *testing.T, dir string, size uint64, salt byte) {
	t.Helper()
	l, err := proof.OpenLedger(t.Context(), proof.LedgerConfig{Dir: dir, Origin: "example.com/audit"})
	if err != nil {
		t.Fatal(err)
	}
	last, _ := l.Last()
	for n := last.Number + 1; n <= size; n++ {
		at := time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC)
		r := proof.Record{First: n, Last: n, Events: 1, Root: proof.Hash{byte(n), salt}, Chain: proof.Hash{byte(n)}, From: at, To: at}
		if _, err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(to, "keys/log.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// forked is a log under the same key with another past.
func forked(t *testing.T, dir string, size uint64) string {
	t.Helper()
	fork := copyDir(t, dir)
	if err := os.RemoveAll(filepath.Join(fork, "tlog")); err != nil {
		t.Fatal(err)
	}
	grow(t, fork, size, 1)
	return fork
}

func publicKey(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(proof.VerifierPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// serve starts a witness for the log in dir, that remembers in state.
func serve(t *testing.T, state, secret string, logs ...string) *httptest.Server {
	t.Helper()
	s, err := witness.NewServer(witness.ServerConfig{Dir: state, Signer: secret, Logs: logs})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/w", s))
	t.Cleanup(server.Close)
	return server
}

func keyPair(t *testing.T, name string) (secret, public string) {
	t.Helper()
	secret, plain, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	public, err = fnote.VKeyToCosignatureV1(plain)
	if err != nil {
		t.Fatal(err)
	}
	return secret, public
}

func newClient(t *testing.T, url, public string) *witness.Client {
	t.Helper()
	c, err := witness.NewClient(url+"/w", public, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFile(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	grow(t, base, 2, 0)
	for name, path := range map[string]string{"a file": filepath.Join(t.TempDir(), "kept"), "a directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, file := copyDir(t, base), witness.File{Path: path}
			for _, size := range []uint64{2, 2, 5} {
				grow(t, dir, size, 0)
				if err := file.Keep(t.Context(), dir); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := witness.Kept(path)
			if err != nil || len(kept) != 1 || !bytes.Contains(kept[0], []byte("\n5\n")) {
				t.Fatalf("kept %q, %v", kept, err)
			}
			if err := file.Keep(t.Context(), base); !errors.Is(err, witness.ErrAhead) {
				t.Errorf("a ledger that was put back: %v", err)
			}
			if err := file.Keep(t.Context(), forked(t, dir, 6)); !errors.Is(err, witness.ErrForked) {
				t.Errorf("a ledger with another past: %v", err)
			}
			if again, err := witness.Kept(path); err != nil || !bytes.Equal(again[0], kept[0]) {
				t.Errorf("what was kept was overwritten: %v", err)
			}
		})
	}
	if none, err := witness.Kept(filepath.Join(t.TempDir(), "none")); err != nil || none != nil {
		t.Errorf("nothing was kept: %q, %v", none, err)
	}
}

func TestWitness(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	grow(t, dir, 3, 0)
	early := copyDir(t, dir)
	secret, public := keyPair(t, "witness.example/w1")
	state := t.TempDir()
	client := newClient(t, serve(t, state, secret, publicKey(t, dir)).URL, public)
	key, err := witness.ParseVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	check := func(dir, size string) {
		t.Helper()
		raw, err := os.ReadFile(witness.CosignedPath(dir, key))
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(raw, note.VerifierList(key))
		if err != nil || len(n.Sigs) != 1 || !strings.Contains(n.Text, "\n"+size+"\n") {
			t.Fatalf("%v\n%s", err, raw)
		}
		logKey, err := proof.ParseVerifier(publicKey(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proof.ParseCheckpoint(raw, logKey); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Keep(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	check(dir, "3")
	grow(t, dir, 7, 0)
	if err := client.Keep(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	check(dir, "7")
	// The witness restarts, and the log forgot what was signed: it answers 409 with its
	// size, and is asked again from there.
	client = newClient(t, serve(t, state, secret, publicKey(t, dir)).URL, public)
	if err := os.RemoveAll(filepath.Join(dir, "tlog/witness")); err != nil {
		t.Fatal(err)
	}
	grow(t, dir, 8, 0)
	if err := client.Keep(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	check(dir, "8")

	if err := client.Keep(t.Context(), early); !errors.Is(err, witness.ErrAhead) {
		t.Errorf("a ledger that was put back: %v", err)
	}
	if err := client.Keep(t.Context(), forked(t, early, 9)); !errors.Is(err, witness.ErrForked) {
		t.Errorf("a ledger with another past: %v", err)
	}
	if err := client.Keep(t.Context(), forked(t, early, 8)); !errors.Is(err, witness.ErrForked) {
		t.Errorf("a ledger with another past of the same size: %v", err)
	}
	stranger := t.TempDir()
	grow(t, stranger, 1, 0)
	if err := client.Keep(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("another log under the same name: %v", err)
	}
}

// TestClientTrustsNoWitness: only a signature of the witness's key is taken.
func TestClientTrustsNoWitness(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	grow(t, dir, 2, 0)
	_, public := keyPair(t, "witness.example/w1")
	otherSecret, _ := keyPair(t, "witness.example/w1")
	other := serve(t, t.TempDir(), otherSecret, publicKey(t, dir))
	answers := map[string]http.HandlerFunc{
		"another witness": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			response, err := http.Post(other.URL+r.URL.Path, "", bytes.NewReader(body))
			if err != nil {
				w.WriteHeader(500)
				return
			}
			_, _ = io.Copy(w, response.Body)
			_ = response.Body.Close()
		},
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"no signature": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "thanks\n") },
		"another note": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "\nmore\n\n— x AAAAAAAA\n") },
		"409 with no size": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
		},
		"409 for ever": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			_, _ = fmt.Fprint(w, "1\n")
		},
		"404": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"an answer without end": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte("— x AAAAAAAA\n"), 1<<16))
		},
		"a size beyond the log's": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			_, _ = fmt.Fprint(w, "99\n")
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(answer)
			t.Cleanup(server.Close)
			if err := newClient(t, server.URL, public).Keep(t.Context(), dir); err == nil {
				t.Error("it was taken")
			}
			if names, _ := filepath.Glob(filepath.Join(dir, "tlog/witness/*")); len(names) > 0 {
				t.Errorf("kept %q", names)
			}
		})
	}
}

// TestServerFollowsTheProtocol sends what c2sp.org/tlog-witness names.
func TestServerFollowsTheProtocol(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	grow(t, dir, 3, 0)
	secret, _ := keyPair(t, "witness.example/w1")
	server := serve(t, t.TempDir(), secret, publicKey(t, dir))
	files := proof.NewFiles(os.DirFS(proof.LedgerPath(dir)))
	checkpoint := func(files proof.Files) string {
		raw, err := files.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	lines := func(from, to uint64) string {
		path, err := files.Consistency(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, h := range path {
			fmt.Fprintln(&b, base64.StdEncoding.EncodeToString(h[:]))
		}
		return b.String()
	}
	post := func(name, body string, status int, kind, want string) {
		t.Helper()
		response, err := http.Post(server.URL+"/w/add-checkpoint", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // read whole
		got, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != status || kind != "" && response.Header.Get("Content-Type") != kind || !strings.Contains(string(got), want) {
			t.Errorf("%s: %d %s %q, want %d %s %q", name, response.StatusCode, response.Header.Get("Content-Type"), got, status, kind, want)
		}
	}
	three := checkpoint(files)
	other := t.TempDir()
	grow(t, other, 3, 1)
	post("nothing", "", 400, "", "")
	post("no old size", "\n"+three, 400, "", "")
	post("a leading zero", "old 00\n\n"+three, 400, "", "")
	post("no checkpoint", "old 0\n\nhello\n", 400, "", "")
	post("an old size beyond", "old 4\n\n"+three, 400, "", "")
	post("too much proof", "old 1\n"+strings.Repeat(strings.Repeat("A", 43)+"=\n", 64)+"\n"+three, 400, "", "")
	post("no hash", "old 1\nAAAA\n\n"+three, 400, "", "")
	post("another key", "old 0\n\n"+checkpoint(proof.NewFiles(os.DirFS(proof.LedgerPath(other)))), 403, "", "")
	post("another origin", "old 0\n\n"+strings.ReplaceAll(three, "example.com/audit", "example.com/x"), 404, "", "")
	post("a size it never signed", "old 2\n"+lines(2, 3)+"\n"+three, 409, "text/x.tlog.size", "0\n")
	post("proof from nothing", "old 0\n"+strings.Repeat("A", 43)+"=\n\n"+three, 422, "", "")
	post("the first", "old 0\n\n"+three, 200, "", "— witness.example/w1 ")
	post("from nothing again", "old 0\n\n"+three, 409, "text/x.tlog.size", "3\n")
	post("the same again", "old 3\n\n"+three, 200, "", "— witness.example/w1 ")
	grow(t, dir, 6, 0)
	six := checkpoint(files)
	post("no proof", "old 3\n\n"+six, 422, "", "")
	post("a wrong proof", "old 3\n"+lines(2, 6)+"\n"+six, 422, "", "")
	post("with its proof", "old 3\n"+lines(3, 6)+"\n"+six, 200, "", "— witness.example/w1 ")
	post("rolled back", "old 3\n\n"+three, 409, "text/x.tlog.size", "6\n")
	post("rolled back, knowing", "old 6\n\n"+three, 400, "", "")
	for method, path := range map[string]string{"GET": "/w/add-checkpoint", "POST": "/w/other"} {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode < 400 {
			t.Errorf("%s %s: %d", method, path, response.StatusCode)
		}
	}
}

func TestConfigIsRequired(t *testing.T) {
	t.Parallel()
	secret, public := keyPair(t, "w")
	for name, config := range map[string]witness.ServerConfig{
		"no directory": {Signer: secret, Logs: []string{public}},
		"no key":       {Dir: t.TempDir(), Logs: []string{public}},
		"no logs":      {Dir: t.TempDir(), Signer: secret},
		"a bad log":    {Dir: t.TempDir(), Signer: secret, Logs: []string{"x"}},
	} {
		_, err := witness.NewServer(config)
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []struct {
		url, key string
		http     *http.Client
	}{{"ftp://x", public, http.DefaultClient}, {"https://", public, http.DefaultClient}, {"https://x", "no key", http.DefaultClient}, {"https://x", public, nil}} {
		if _, err := witness.NewClient(c.url, c.key, c.http); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
