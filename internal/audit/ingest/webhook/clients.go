package webhook

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Clients says who may send batches. The zero Clients are nobody.
type Clients struct {
	// Names are the names that a client's certificate may have: its common name, or one
	// of its DNS or URI names. The certificate must have been verified by TLS, against
	// authorities that sign for nobody else.
	Names []string
	// Bound are such names that may send only under one server's name, the value.
	Bound map[string]string
	// Tokens are bearer tokens.
	Tokens *Tokens
}

// client is who sent a request. The zero client may send nothing.
type client struct {
	name string
	any  bool     // under any server's name
	only []string // under these
}

// may reports whether the client may send under a server's name, of which "" is one.
func (c *client) may(server string) bool { return c.any || slices.Contains(c.only, server) }

// Binding splits SERVER=REST, which says that what REST names may send only under that
// server's name. Where what stands before the sign is no server's name there is no
// binding, and all of text is the rest.
func Binding(text string) (server, rest string) {
	if before, after, ok := strings.Cut(text, "="); ok && validServer(before) {
		return before, after
	}
	return "", text
}

// who gives the client that sent a request.
func (c *Clients) who(r *http.Request, now time.Time) (client, bool) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && len(r.TLS.PeerCertificates) > 0 {
		leaf := r.TLS.PeerCertificates[0]
		names := append([]string{leaf.Subject.CommonName}, leaf.DNSNames...)
		for _, uri := range leaf.URIs {
			names = append(names, uri.String())
		}
		out := client{}
		for _, name := range names {
			server, bound := c.Bound[name]
			any := slices.Contains(c.Names, name)
			if name == "" || !any && (!bound || server == "") {
				continue
			}
			if out.name == "" {
				out.name = "certificate " + name
			}
			if out.any = out.any || any; bound && server != "" {
				out.only = append(out.only, server)
			}
		}
		if out.name != "" {
			return out, true
		}
	}
	header := r.Header.Values("Authorization")
	if c.Tokens == nil || len(header) != 1 || r.TLS == nil {
		return client{}, false // nobody sends a token in the clear and stays the only one to know it
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return client{}, false
	}
	return c.Tokens.who(token, now)
}

// leastToken is the least bytes of a token: what is shorter can be guessed.
const leastToken = 16

// Tokens are bearer tokens, one in each of several files, which are read again when
// they change. A file that is gone, or that has no token, lets nobody in.
type Tokens struct {
	files   []string
	servers []string // for each file, the only server's name that its token may use; "": any

	mu      sync.Mutex
	checked time.Time
	states  []tokenState
}

type tokenState struct {
	size    int64
	changed time.Time
	sum     [sha256.Size]byte
	good    bool
}

// tokenInterval is how long a token that was changed may still be the old one.
const tokenInterval = time.Second

// OpenTokens reads the files. Each must have a token of at least 16 bytes in it. One
// that is given as SERVER=FILE may be used only under that server's name; where two
// files have the same token, under the names of both.
func OpenTokens(now time.Time, files ...string) (*Tokens, error) {
	if len(files) == 0 {
		return nil, errors.New("read audit webhook's tokens: no file is named")
	}
	t := &Tokens{states: make([]tokenState, len(files)), checked: now}
	for i, text := range files {
		server, file := Binding(text)
		t.servers, t.files = append(t.servers, server), append(t.files, file)
		var err error
		if t.states[i], err = readToken(file); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func readToken(file string) (tokenState, error) {
	info, err := os.Stat(file)
	if err != nil {
		return tokenState{}, fmt.Errorf("read audit webhook's token: %w", err)
	}
	text, err := os.ReadFile(file) //nolint:gosec // the operator named it
	if err != nil {
		return tokenState{}, fmt.Errorf("read audit webhook's token: %w", err)
	}
	s := tokenState{size: info.Size(), changed: info.ModTime()}
	text = bytes.TrimSpace(text)
	if len(text) < leastToken || bytes.ContainsAny(text, " \t\r\n") {
		return s, fmt.Errorf("read audit webhook's token: %s has no single token of at least %d bytes", file, leastToken)
	}
	s.sum, s.good = sha256.Sum256(text), true
	return s, nil
}

// who gives the client of the file that has the token. All are compared, each in the
// same time whatever it is.
func (t *Tokens) who(token string, now time.Time) (client, bool) {
	sum := sha256.Sum256([]byte(token))
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait := now.Sub(t.checked); wait >= tokenInterval || wait < 0 {
		t.checked = now
		t.reload()
	}
	out := client{}
	for i := range t.states {
		if same := subtle.ConstantTimeCompare(sum[:], t.states[i].sum[:]); same != 1 || !t.states[i].good {
			continue
		}
		out.name = "token " + filepath.Base(t.files[i])
		if t.servers[i] == "" {
			out.any = true
		} else {
			out.only = append(out.only, t.servers[i])
		}
	}
	return out, out.name != ""
}

func (t *Tokens) reload() {
	for i, file := range t.files {
		info, err := os.Stat(file)
		if err == nil && info.Size() == t.states[i].size && info.ModTime().Equal(t.states[i].changed) {
			continue
		}
		if t.states[i], err = readToken(file); err != nil {
			t.states[i].good = false
		}
	}
}
