package authn

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
)

func testKey(name, secret string) Key {
	salt := []byte("salt-of-" + name)
	sum := sha256.Sum256(append(append([]byte{}, salt...), secret...))
	return Key{Name: name, Salt: bulwark.NewSecret(salt), Hash: bulwark.NewSecret(sum[:]), Roles: []string{"r-" + name}}
}

func TestAPIKey(t *testing.T) {
	old := testKey("old", "old-key")
	old.Expires = testNow.Add(time.Minute)
	a, err := NewAPIKey(APIKeyConfig{Issuer: "P", Keys: []Key{testKey("robot", "robot-key"), old, testKey("app", "app-key")}}, newShared(t))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, key string
		after     time.Duration
		want      string
	}{
		{"right", "robot-key", 0, "robot"},
		{"right, remembered", "robot-key", 0, "robot"},
		{"last", "app-key", 0, "app"},
		{"before it ends", "old-key", 59 * time.Second, "old"},
		{"at its end, though remembered", "old-key", time.Minute, ""},
		{"wrong", "robot-kez", 0, ""},
		{"prefix", "robot-ke", 0, ""},
		{"longer", "robot-key ", 0, ""},
		{"empty", "", 0, ""},
		{"of another key's salt", "salt-of-robotrobot-key", 0, ""},
		{"oversize", strings.Repeat("k", maxAPIKey+1), 0, ""},
	}
	for _, tt := range tests {
		id, f := a.Authenticate(t.Context(), Credential{Value: tt.key}, testNow.Add(tt.after))
		switch {
		case tt.want == "":
			if f == nil || f.Status != http.StatusUnauthorized || id != nil {
				t.Errorf("%s: got %+v, %+v", tt.name, id, f)
			} else if tt.key != "" && strings.Contains(f.Reason, tt.key) {
				t.Errorf("%s: the reason holds the key: %q", tt.name, f.Reason)
			}
		case f != nil:
			t.Errorf("%s: %s", tt.name, f.Reason)
		default:
			want := &bulwark.Identity{Name: tt.want, Method: MethodAPIKey, Issuer: "P", Roles: []string{"r-" + tt.want}}
			if diff := cmp.Diff(want, id); diff != "" {
				t.Errorf("%s (-want +got)\n%s", tt.name, diff)
			}
		}
	}
}

func TestAPIKeyConfiguration(t *testing.T) {
	good := testKey("a", "k")
	tests := map[string]func(*Key){
		"no name":      func(k *Key) { k.Name = "" },
		"control name": func(k *Key) { k.Name = "a\nb" },
		"no salt":      func(k *Key) { k.Salt = bulwark.Secret{} },
		"short salt":   func(k *Key) { k.Salt = bulwark.NewSecret([]byte("1234567")) },
		"no hash":      func(k *Key) { k.Hash = bulwark.Secret{} },
		"short hash":   func(k *Key) { k.Hash = bulwark.NewSecret(make([]byte, 31)) },
	}
	for name, edit := range tests {
		k := good
		edit(&k)
		if _, err := NewAPIKey(APIKeyConfig{Keys: []Key{k}}, newShared(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	a, err := NewAPIKey(APIKeyConfig{}, newShared(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "k"} {
		if id, f := a.Authenticate(t.Context(), Credential{Value: key}, testNow); f == nil {
			t.Errorf("no keys, yet %q is %v", key, id)
		}
	}
	// Configurations that print alike are apart: Secrets never print.
	shared := newShared(t)
	one, err1 := NewAPIKey(APIKeyConfig{Keys: []Key{testKey("a", "one")}}, shared)
	two, err2 := NewAPIKey(APIKeyConfig{Keys: []Key{testKey("a", "two")}}, shared)
	if err1 != nil || err2 != nil || one == two {
		t.Errorf("two keys share one authenticator: %v %v", err1, err2)
	}
}
