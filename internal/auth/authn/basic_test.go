package authn

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"bulwark.dev/bulwark"
)

func testUser(tb testing.TB, name, password string, roles ...string) User {
	tb.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		tb.Fatal(err)
	}
	return User{Name: name, Hash: bulwark.NewSecret(hash), Roles: roles}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestBasic(t *testing.T) {
	long := strings.Repeat("p", maxPassword)
	b, err := NewBasic(BasicConfig{Issuer: "P", Realm: "shop", Users: []User{
		testUser(t, "ann", "secret", "reader"), testUser(t, "zoë", "pass:with:colons"), testUser(t, "long", long),
	}}, newShared(t))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, value, want string }{
		{"right", encode("ann:secret"), "ann"},
		{"right, remembered", encode("ann:secret"), "ann"},
		{"colons in the password", encode("zoë:pass:with:colons"), "zoë"},
		{"72 bytes", encode("long:" + long), "long"},
		{"73 bytes, of which bcrypt sees 72", encode("long:" + long + "x"), ""},
		{"wrong password", encode("ann:Secret"), ""},
		{"another user's password", encode("zoë:secret"), ""},
		{"unknown user", encode("bob:secret"), ""},
		{"unknown user, dummy", encode("bob:x"), ""},
		{"no password", encode("ann:"), ""},
		{"no colon", encode("ann"), ""},
		{"no name", encode(":secret"), ""},
		{"empty", "", ""},
		{"NUL behind the password", encode("ann:secret\x00"), ""},
		{"line break in the name", encode("a\nnn:secret"), ""},
		{"not UTF-8", encode("ann\xff:secret"), ""},
		{"no padding", strings.TrimRight(encode("ann:secret"), "="), ""},
		{"url alphabet", base64.URLEncoding.EncodeToString([]byte("zoë:??>>")), ""},
		{"space behind", encode("ann:secret") + " ", ""},
		{"line break inside", encode("ann:secret")[:4] + "\n" + encode("ann:secret")[4:], ""},
		{"trailing bits", encode("ann:secret")[:len(encode("ann:secret"))-3] + "R==", ""},
		{"huge", encode("ann:" + strings.Repeat("x", maxBasic)), ""},
		{"name in other case", encode("Ann:secret"), ""},
	}
	for _, tt := range tests {
		id, f := b.Authenticate(t.Context(), Credential{Value: tt.value}, testNow)
		switch {
		case tt.want == "":
			if f == nil || f.Status != http.StatusUnauthorized || f.Challenge != `Basic realm="shop", charset="UTF-8"` || !f.Guess {
				t.Errorf("%s: got %+v, %+v", tt.name, id, f)
			} else if strings.Contains(f.Reason, "secret") {
				t.Errorf("%s: the reason holds the password: %q", tt.name, f.Reason)
			}
		case f != nil:
			t.Errorf("%s: %s", tt.name, f.Reason)
		case id.Name != tt.want || id.Method != MethodBasic || id.Issuer != "P":
			t.Errorf("%s: got %+v", tt.name, id)
		}
	}
}

func TestBasicConfiguration(t *testing.T) {
	dear := bulwark.NewSecret([]byte(strings.Replace(string(dummyHash(10)), "$10$", "$16$", 1)))
	tests := map[string]BasicConfig{
		"no name":       {Users: []User{{Hash: testUser(t, "a", "b").Hash}}},
		"colon":         {Users: []User{{Name: "a:b", Hash: testUser(t, "a", "b").Hash}}},
		"no hash":       {Users: []User{{Name: "a"}}},
		"plain text":    {Users: []User{{Name: "a", Hash: bulwark.NewSecret([]byte("secret"))}}},
		"cost 16":       {Users: []User{{Name: "a", Hash: dear}}},
		"twice":         {Users: []User{testUser(t, "a", "b"), testUser(t, "a", "c")}},
		"quoted realm":  {Realm: `a"b`},
		"realm in CRLF": {Realm: "a\r\nX: y"},
	}
	for name, c := range tests {
		_, err := NewBasic(c, newShared(t))
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "$") {
			t.Errorf("%s: the error holds the hash: %v", name, err)
		}
	}
}

// A user that does not exist costs as much as one that does.
func TestDummyHashCostsTheSame(t *testing.T) {
	hash := dummyHash(6)
	if cost, err := bcrypt.Cost(hash); cost != 6 || err != nil {
		t.Fatalf("cost %d, %v", cost, err)
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte("x")); err == nil || !strings.Contains(err.Error(), "not the hash") {
		t.Errorf("the comparison did not run: %v", err)
	}
}

func TestPasswordsAreRememberedForAShortTime(t *testing.T) {
	shared := newShared(t)
	b, err := NewBasic(BasicConfig{Users: []User{testUser(t, "ann", "secret")}}, shared)
	if err != nil {
		t.Fatal(err)
	}
	cred := Credential{Value: encode("ann:secret")}
	if _, f := b.Authenticate(t.Context(), cred, testNow); f != nil {
		t.Fatal(f.Reason)
	}
	// With every slot taken only what is remembered gets in.
	for range cap(shared.gate.slots) {
		shared.gate.slots <- struct{}{}
	}
	shared.gate.waiting.Store(bcryptWaiters)
	if _, f := b.Authenticate(t.Context(), cred, testNow.Add(299*time.Second)); f != nil {
		t.Errorf("not remembered: %s", f.Reason)
	}
	for name, c := range map[string]Credential{"forgotten": cred, "wrong": {Value: encode("ann:x")}, "unknown": {Value: encode("bob:x")}} {
		_, f := b.Authenticate(t.Context(), c, testNow.Add(300*time.Second))
		if f == nil || f.Status != http.StatusServiceUnavailable || f.Code != bulwark.CodeOverloaded || f.Guess {
			t.Errorf("%s: got %+v, want 503", name, f)
		}
	}
}

func TestBasicConcurrent(t *testing.T) {
	b, err := NewBasic(BasicConfig{Users: []User{testUser(t, "ann", "secret")}}, newShared(t))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			password, want := "secret", true
			if i%2 == 1 {
				password, want = fmt.Sprint("guess", i), false
			}
			_, f := b.Authenticate(t.Context(), Credential{Value: encode("ann:" + password)}, testNow)
			if (f == nil) != want {
				t.Errorf("%s: %+v", password, f)
			}
		})
	}
	wg.Wait()
}
