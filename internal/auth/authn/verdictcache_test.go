package authn

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"bulwark.dev/bulwark"
)

func TestVerdictEndsWithItsToken(t *testing.T) {
	r := newRing(t)
	j := newTestJWT(t, testConfig(t, r))
	tok := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, goodClaims())
	for _, step := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {89 * time.Second, true}, {90 * time.Second, false}, {time.Hour, false}, {0, true}} {
		_, f := j.Authenticate(t.Context(), Credential{Value: tok}, testNow.Add(step.after))
		if (f == nil) != step.ok {
			t.Errorf("after %v: %+v", step.after, f)
		}
	}
}

func TestVerdictsAreBounded(t *testing.T) {
	var v verdicts
	id := &bulwark.Identity{Name: "ann"}
	for i := range 20_000 {
		sum := sha256.Sum256(fmt.Append(nil, i))
		v.put(&sum, verdict{identity: id, window: window{0, 10}, version: 1, size: 1000})
		if v.get(&sum, 1, 5) != id {
			t.Fatalf("the newest verdict %d is gone", i)
		}
		if v.get(&sum, 2, 5) != nil || v.get(&sum, 1, 10) != nil {
			t.Fatalf("verdict %d holds for other keys or too long", i)
		}
	}
	for i := range v.shards {
		s := &v.shards[i]
		if len(s.m) > verdictsPerShard || s.bytes != len(s.m)*1000 {
			t.Errorf("shard %d holds %d verdicts, %d bytes", i, len(s.m), s.bytes)
		}
	}
	for i := range 2_000 { // large tokens: their sizes bound them
		sum := sha256.Sum256(fmt.Append(nil, "large", i))
		v.put(&sum, verdict{identity: id, window: window{0, 10}, version: 1, size: maxToken})
	}
	for i := range v.shards {
		if v.shards[i].bytes > verdictShardBytes {
			t.Errorf("shard %d holds %d bytes", i, v.shards[i].bytes)
		}
	}
}

func TestSameConfigurationSharesVerdicts(t *testing.T) {
	r := newRing(t)
	shared := newShared(t)
	c := testConfig(t, r)
	a, err := NewJWT(c, shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewJWT(c, shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Audiences = []string{"other"}
	d, err := NewJWT(c, shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a != b || a == d {
		t.Errorf("same configuration shared: %v, another shared: %v", a == b, a == d)
	}
	tok := Credential{Value: sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, goodClaims())}
	if _, f := a.Authenticate(t.Context(), tok, testNow); f != nil {
		t.Fatal(f.Reason)
	}
	if _, f := d.Authenticate(t.Context(), tok, testNow); f == nil {
		t.Error("the verdict of one policy passed another")
	}
}

func BenchmarkJWT(b *testing.B) {
	r := newRing(b)
	j := newTestJWT(b, testConfig(b, r))
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		key, kid := r.keyOf(alg)
		tok := sign(b, key, alg, fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, kid), goodClaims())
		b.Run("hit/"+alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, f := j.Authenticate(b.Context(), Credential{Value: tok}, testNow); f != nil {
					b.Fatal(f.Reason)
				}
			}
		})
		b.Run("miss/"+alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				clear(j.verdicts.shards[:])
				if _, f := j.Authenticate(b.Context(), Credential{Value: tok}, testNow); f != nil {
					b.Fatal(f.Reason)
				}
			}
		})
	}
}
