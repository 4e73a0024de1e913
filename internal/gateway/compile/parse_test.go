package compile

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
)

func TestHashKey(t *testing.T) {
	salt := []byte("0123456789abcdef")
	s := HashKey([]byte("k"), salt)
	if want := "sha256:30313233343536373839616263646566:"; !strings.HasPrefix(s, want) {
		t.Errorf("%q does not begin with %q", s, want)
	}
	gotSalt, hash, err := parseHash(s)
	sum := sha256.Sum256([]byte("0123456789abcdefk"))
	if err != nil || !bytes.Equal(gotSalt, salt) || !bytes.Equal(hash, sum[:]) {
		t.Errorf("parseHash gives salt %q, hash %x, %v", gotSalt, hash, err)
	}
	if string(salt) != "0123456789abcdef" {
		t.Error("HashKey changed the salt")
	}
}

func TestParseKey(t *testing.T) {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Data:       map[string][]byte{"hash": []byte("overridden"), "name": []byte(" ann\n"), "expires": []byte("2027-01-01T00:00:00Z\n")},
		StringData: map[string]string{"hash": HashKey([]byte("k"), make([]byte, MinSaltBytes)) + "\n"},
	}
	k, err := parseKey(s)
	if err != nil || k.Name != "ann" || !k.Expires.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", k, err)
	}
	// A key that is no longer good must not become good forever.
	for _, expires := range []string{"", "never", "0001-01-01T00:00:00Z", "2027-01-01"} {
		s.StringData["expires"] = expires
		if k, err := parseKey(s); err == nil {
			t.Errorf("expires %q gives %v", expires, k.Expires)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(HashKey([]byte("k"), []byte("0123456789abcdef")))
	f.Add("sha256::")
	f.Add("sha256:00:00:00")
	f.Fuzz(func(t *testing.T, s string) {
		salt, hash, err := parseHash(s)
		if err != nil {
			if len(s) > 8 && strings.Contains(err.Error(), s) {
				t.Errorf("the error quotes %q", s)
			}
			return
		}
		if len(salt) < MinSaltBytes || len(hash) != sha256.Size {
			t.Errorf("%q gives a salt of %d and a hash of %d bytes", s, len(salt), len(hash))
		}
	})
}

func FuzzPasswordFile(f *testing.F) {
	f.Add("ann:" + testBcrypt + ":a,b\n# x\n\nbob:" + testBcrypt)
	f.Add("ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")
	f.Add(":" + testBcrypt)
	f.Fuzz(func(t *testing.T, s string) {
		users, err := passwordFile(s)
		if (err == nil) != (len(users) > 0) {
			t.Fatalf("%d users and %v", len(users), err)
		}
		seen := map[string]bool{}
		for _, u := range users {
			if u.Name == "" || seen[u.Name] || checkBcrypt(string(u.Hash.Reveal())) != nil {
				t.Errorf("user %q is not sound", u.Name)
			}
			seen[u.Name] = true
		}
	})
}

func FuzzAuthorities(f *testing.F) {
	f.Add(fixtures()["ca.crt"])
	f.Add(fixtures()["ca-and-key.pem"])
	f.Add("junk\n" + fixtures()["ca.crt"] + "junk")
	f.Add(fixtures()["truncated.pem"])
	f.Fuzz(func(t *testing.T, s string) {
		out, err := authorities([]byte(s), true)
		if err != nil {
			return
		}
		if strings.Count(out, "-----BEGIN ") == 0 || strings.Count(out, "-----BEGIN ") != strings.Count(out, "-----BEGIN CERTIFICATE-----") {
			t.Errorf("%q", out)
		}
		again, err := authorities([]byte(out), true)
		if err != nil || again != out {
			t.Errorf("not its own fixed point: %v", err)
		}
	})
}

func FuzzPublicKeys(f *testing.F) {
	for _, n := range []string{"jwks.json", "jwks-private.json", "jwks-oct.json", "jwks-empty.json"} {
		f.Add(fixtures()[n])
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := publicKeys(s)
		if err != nil {
			return
		}
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal([]byte(out), &set); err != nil || len(set.Keys) == 0 {
			t.Fatalf("%v in %q", err, out)
		}
		for _, k := range set.Keys {
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
				if _, ok := k[private]; ok {
					t.Errorf("a key holds %q", private)
				}
			}
		}
	})
}

func FuzzHTTPMatch(f *testing.F) {
	f.Add("/a/b", "RegularExpression", "x-a", "v")
	f.Add("/a//%2e", "Exact", "X", "")
	f.Add("", "PathPrefix", "", "(")
	f.Fuzz(func(t *testing.T, path, kind, name, value string) {
		typ, header := gwv1.PathMatchType(kind), gwv1.HeaderMatchRegularExpression
		m, err := httpMatch(&gwv1.HTTPRouteMatch{
			Path:    &gwv1.HTTPPathMatch{Type: &typ, Value: &path},
			Headers: []gwv1.HTTPHeaderMatch{{Type: &header, Name: gwv1.HTTPHeaderName(name), Value: value}},
		})
		if err != nil {
			return
		}
		if m.PathKind != "regex" && !strings.HasPrefix(m.Path, "/") {
			t.Errorf("path %q becomes %q", path, m.Path)
		}
		for _, h := range m.Headers {
			if h.Name != strings.ToLower(h.Name) {
				t.Errorf("header %q", h.Name)
			}
			if _, err := regexp.Compile("^(?:" + h.Value + ")$"); err != nil {
				t.Errorf("value %q does not compile as a whole: %v", h.Value, err)
			}
		}
	})
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"1h": time.Hour, "1m30s": 90 * time.Second, "0s": 0, "500ms": 500 * time.Millisecond} {
		if got, err := parseDuration(gwv1.Duration(in)); err != nil || got != want {
			t.Errorf("%q gives %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "1", "-1s", "1.5s", "1d", "999999s", "1us", "1h1h1h1h1h", " 1s"} {
		if got, err := parseDuration(gwv1.Duration(in)); err == nil {
			t.Errorf("%q gives %v", in, got)
		}
	}
}

func TestFieldOf(t *testing.T) {
	for in, want := range map[string]string{"spec.cors": "cors", "spec.rateLimits[0].rate": "rateLimits", "spec.request.methods[1]": "request"} {
		if f, ok := fieldOf(in); !ok || fields[f].name != want {
			t.Errorf("%q gives %v, %v", in, f, ok)
		}
	}
	for _, in := range []string{"", "spec", "spec.", "spec.corsy", "metadata.name", "status.cors"} {
		if f, ok := fieldOf(in); ok {
			t.Errorf("%q gives %s", in, fields[f].name)
		}
	}
}

// TestFieldsOfThePolicy makes sure that no top-level field of the API is left
// out: it would be accepted and do nothing.
func TestFieldsOfThePolicy(t *testing.T) {
	var want []string
	spec := reflect.TypeFor[v1alpha1.SecurityPolicySpec]()
	for f := range spec.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "targetRefs" {
			want = append(want, name)
		}
	}
	var got []string
	for i := range fields {
		got = append(got, fields[i].name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-API +compile:\n%s", diff)
	}
}
