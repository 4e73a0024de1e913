package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"

	"bulwark.dev/bulwark"
)

// The limits of passwords.
const (
	maxBasic    = 2 << 10 // bytes of the encoded credentials
	maxPassword = 72      // bytes; bcrypt ignores what is behind
	// maxBcryptCost bounds the work of one check: cost 15 is about two seconds.
	maxBcryptCost = 15
	// passwordFor is how long, in seconds, a right password is remembered.
	passwordFor = 5 * 60
	// bcryptWait bounds how many requests wait for a check and for how long;
	// beyond that they get 503.
	bcryptWaiters = 64
	bcryptWait    = 2 * time.Second
)

// BasicConfig says which users are accepted.
type BasicConfig struct {
	Issuer string
	// Realm is named in the challenge: printable ASCII without quotes and
	// backslashes.
	Realm string
	Users []User
}

// User is one user and the bcrypt hash of the password.
type User struct {
	Name  string
	Hash  bulwark.Secret
	Roles []string
}

// Basic accepts user names and passwords (RFC 7617).
type Basic struct {
	challenge string
	users     map[string]storedUser
	// dummy is compared with the passwords of users that do not exist, so that
	// they take as long as those of users that do.
	dummy  []byte
	shared *Shared
	proofs proofs
	flight singleflight.Group
}

type storedUser struct {
	hash     []byte
	identity *bulwark.Identity
}

// id tells configurations apart, by their secrets too.
func (c BasicConfig) id() digestOf {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q\n", c.Issuer, c.Realm) // hash.Hash never gives an error
	for _, u := range c.Users {
		_, _ = fmt.Fprintf(h, "%q %x %q\n", u.Name, u.Hash.Reveal(), u.Roles)
	}
	return digestOf(h.Sum(nil))
}

// NewBasic checks a configuration. The same configuration gives the same Basic,
// with the passwords that it has verified in the last five minutes, for as long
// as anyone uses it.
func NewBasic(c BasicConfig, shared *Shared) (*Basic, error) {
	if shared == nil {
		return nil, errors.New("basic: no shared state")
	}
	realm := or(c.Realm, Realm)
	for i := range len(realm) {
		if realm[i] < ' ' || realm[i] > '~' || realm[i] == '"' || realm[i] == '\\' {
			return nil, fmt.Errorf("basic: realm %q must be printable ASCII without quotes and backslashes", realm)
		}
	}
	return shared.basics.get(c.id(), func() (*Basic, error) {
		b := &Basic{
			challenge: `Basic realm="` + realm + `", charset="UTF-8"`,
			users:     make(map[string]storedUser, len(c.Users)), shared: shared,
		}
		dearest := bcrypt.MinCost
		for _, u := range c.Users {
			cost, err := b.add(u, c.Issuer)
			if err != nil {
				return nil, err
			}
			dearest = max(dearest, cost)
		}
		b.dummy = dummyHash(dearest)
		return b, nil
	})
}

func (b *Basic) add(u User, issuer string) (cost int, err error) {
	cost, err = bcrypt.Cost(u.Hash.Reveal())
	_, twice := b.users[u.Name]
	switch {
	case !printable(u.Name) || strings.Contains(u.Name, ":"):
		return 0, fmt.Errorf("basic: user %q: the name must be printable, without a colon, and not empty", brief(u.Name))
	case twice:
		return 0, fmt.Errorf("basic: user %q occurs twice", u.Name)
	case err != nil:
		return 0, fmt.Errorf("basic: user %q: not a bcrypt hash", u.Name) // the cause quotes the hash
	case cost > maxBcryptCost:
		return 0, fmt.Errorf("basic: user %q: bcrypt cost %d, the limit is %d", u.Name, cost, maxBcryptCost)
	}
	b.users[u.Name] = storedUser{hash: u.Hash.Reveal(), identity: &bulwark.Identity{
		Name: u.Name, Method: MethodBasic, Issuer: issuer, Roles: slices.Clone(u.Roles),
	}}
	return cost, nil
}

// Challenge asks for a name and password.
func (b *Basic) Challenge() string { return b.challenge }

// dummyHash is a bcrypt hash of the given cost that no password is known for.
// It is put together as text: computing one would cost a check's time at each
// reload.
func dummyHash(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("x", 21)+"u"+strings.Repeat("x", 30)+"u")
}

// SplitBasic decodes what follows the scheme "Basic" (RFC 7617 2). It is strict
// base64 of UTF-8 without control characters; the first colon ends the name.
func SplitBasic(encoded string) (name, password string, ok bool) {
	if encoded == "" || len(encoded) > maxBasic || strings.ContainsAny(encoded, "\r\n") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || !utf8.Valid(raw) {
		return "", "", false
	}
	for _, c := range raw {
		if c < ' ' || c == 0x7f {
			return "", "", false
		}
	}
	name, password, ok = strings.Cut(string(raw), ":")
	if !ok || name == "" {
		return "", "", false
	}
	return name, password, true
}

// Authenticate judges one name and password.
func (b *Basic) Authenticate(ctx context.Context, c Credential, now time.Time) (*bulwark.Identity, *Failure) {
	name, password, ok := SplitBasic(c.Value)
	if !ok {
		return nil, wrong("the credentials are not base64 of name, colon and password", b.challenge)
	}
	if password == "" || len(password) > maxPassword {
		return nil, wrong(fmt.Sprintf("the password of user %q is empty or longer than %d bytes", brief(name), maxPassword), b.challenge)
	}
	key := b.shared.proofKey(c.Value)
	if id := b.proofs.get(key, now.Unix()); id != nil {
		return id, nil
	}
	u, known := b.users[name]
	hash := u.hash
	if !known {
		hash = b.dummy
	}
	// Requests that bring the same credentials share one check. It is not bound
	// to the context of the first: the others still want the answer.
	v, err, _ := b.flight.Do(string(key[:]), func() (any, error) {
		if !b.shared.gate.enter(context.WithoutCancel(ctx)) {
			return false, errBusy
		}
		defer b.shared.gate.leave()
		return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil, nil
	})
	if err != nil {
		return nil, &Failure{
			Status: http.StatusServiceUnavailable, Code: bulwark.CodeOverloaded,
			Reason: "too many passwords are being checked", RetryAfter: bcryptWait,
		}
	}
	if match, _ := v.(bool); !match || !known {
		return nil, wrong(fmt.Sprintf("wrong name or password for user %q", brief(name)), b.challenge)
	}
	b.proofs.put(key, proof{identity: u.identity, until: now.Unix() + passwordFor})
	return u.identity, nil
}

var errBusy = errors.New("busy")

// gate bounds how many slow checks run at once, and how many wait.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int32
}

func newGate(slots int) *gate { return &gate{slots: make(chan struct{}, slots)} }

func (g *gate) enter(ctx context.Context) bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	if g.waiting.Add(1) > bcryptWaiters {
		g.waiting.Add(-1)
		return false
	}
	defer g.waiting.Add(-1)
	t := time.NewTimer(bcryptWait)
	defer t.Stop()
	select {
	case g.slots <- struct{}{}:
		return true
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}

func (g *gate) leave() { <-g.slots }
