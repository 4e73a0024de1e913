package authn

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark"
)

func testClient() *http.Client { return &http.Client{Timeout: 10 * time.Second} }

// idp is an issuer whose answer can be changed and whose fetches are counted.
type idp struct {
	*httptest.Server
	fetches atomic.Int64
	answer  atomic.Pointer[http.HandlerFunc]
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		(*p.answer.Load())(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) does(f http.HandlerFunc) { p.answer.Store(&f) }

func (p *idp) serves(body string) {
	p.does(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
}

func remoteJWT(t *testing.T, p *idp) *JWT {
	t.Helper()
	j, err := NewJWT(JWTConfig{Issuer: testIssuer, Audiences: []string{"orders"}, JWKSURI: p.URL}, newShared(t), testClient())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// claimsUntil are good claims that last, with a number that makes the token
// another one.
func claimsUntil(after time.Duration, n int) string {
	return fmt.Sprintf(`{"iss":%q,"aud":"orders","sub":"ann","exp":%d,"n":%d}`, testIssuer, testNow.Add(after).Unix(), n)
}

func try(t *testing.T, j *JWT, tok string, after time.Duration) *Failure {
	t.Helper()
	_, f := j.Authenticate(t.Context(), Credential{Value: tok}, testNow.Add(after))
	return f
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestFirstFetchIsShared(t *testing.T) {
	r, p := newRing(t), newIDP(t)
	body := r.jwks(t)
	p.does(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond)
		_, _ = w.Write([]byte(body))
	})
	j := remoteJWT(t, p)
	if n := p.fetches.Load(); n != 0 {
		t.Errorf("%d fetches before any request", n)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		tok := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, claimsUntil(time.Hour, i))
		wg.Go(func() {
			if f := try(t, j, tok, 0); f != nil {
				t.Errorf("refused: %s", f.Reason)
			}
		})
	}
	wg.Wait()
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("%d fetches for 50 requests", n)
	}
}

func TestUnknownKidStorm(t *testing.T) {
	r, p := newRing(t), newIDP(t)
	p.serves(r.jwks(t))
	j := remoteJWT(t, p)
	known := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, claimsUntil(time.Hour, 0))
	if f := try(t, j, known, 0); f != nil {
		t.Fatal(f.Reason)
	}
	storm := func(after time.Duration, kid func(int) string) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range 200 {
			tok := sign(t, r.ed, "EdDSA", fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, kid(i)), claimsUntil(time.Hour, i))
			wg.Go(func() {
				if f := try(t, j, tok, after); f == nil || f.Code != bulwark.CodeUnauthenticated {
					t.Errorf("got %+v", f)
				}
			})
		}
		wg.Wait()
	}
	random := func(i int) string { return fmt.Sprint("random", i) }
	storm(1*time.Second, random)
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("%d fetches in the first seconds, want the first alone", n)
	}
	storm(11*time.Second, random)
	storm(12*time.Second, func(i int) string { return fmt.Sprint("more", i) })
	if n := p.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want one more after 10 s", n)
	}
	// The same name again is remembered for longer than that.
	storm(30*time.Second, func(int) string { return "same" })
	storm(50*time.Second, func(int) string { return "same" })
	if n := p.fetches.Load(); n != 3 {
		t.Errorf("%d fetches, want none for a name the issuer did not have", n)
	}
	rm, ok := j.keys.(*remote)
	if !ok {
		t.Fatalf("keys are %T", j.keys)
	}
	for i := range 2 * maxUnknown {
		rm.mu.Lock()
		rm.remember(&keySet{}, fmt.Sprint(i), 1)
		rm.mu.Unlock()
	}
	if len(rm.unknown) > maxUnknown {
		t.Errorf("%d unknown names are kept", len(rm.unknown))
	}
}

func TestRotation(t *testing.T) {
	r, p := newRing(t), newIDP(t)
	p.serves(setJSON(t, jwkJSON(t, r.rsa.Public(), "old", nil)))
	j := remoteJWT(t, p)
	old := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"old"}`, claimsUntil(time.Hour, 0))
	fresh := sign(t, r.other, "RS256", `{"alg":"RS256","kid":"new"}`, claimsUntil(time.Hour, 0))
	if f := try(t, j, old, 0); f != nil {
		t.Fatal(f.Reason)
	}
	p.serves(setJSON(t, jwkJSON(t, r.other.Public(), "new", nil)))
	if f := try(t, j, fresh, 20*time.Second); f != nil {
		t.Errorf("the new key: %s", f.Reason)
	}
	// The old key is gone, and with it the verdict that rested on it.
	if f := try(t, j, old, 20*time.Second); f == nil {
		t.Error("a token of the removed key is still accepted")
	}
	if f := try(t, j, fresh, 21*time.Second); f != nil {
		t.Errorf("the new key, remembered: %s", f.Reason)
	}
}

func TestRefreshRunsBehindRequests(t *testing.T) {
	r, p := newRing(t), newIDP(t)
	body := r.jwks(t)
	p.serves(body)
	j := remoteJWT(t, p)
	tok := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, claimsUntil(2*time.Hour, 0))
	if f := try(t, j, tok, 0); f != nil {
		t.Fatal(f.Reason)
	}
	release := make(chan struct{})
	p.does(func(w http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
		_, _ = w.Write([]byte(body))
	})
	// The issuer hangs; requests with known keys do not wait, remembered or not.
	began := time.Now()
	for i := range 20 {
		other := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, claimsUntil(2*time.Hour, i))
		for _, tok := range []string{tok, other} {
			if f := try(t, j, tok, 6*time.Minute); f != nil {
				t.Errorf("while the issuer hangs: %s", f.Reason)
			}
		}
	}
	if d := time.Since(began); d > 900*time.Millisecond {
		t.Errorf("requests with known keys took %v", d)
	}
	close(release)
	eventually(t, "the refresh ends", func() bool {
		rm, _ := j.keys.(*remote)
		return rm.running.Load() == nil
	})
	if n := p.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

func TestAfterIdleTimeTheRefreshIsAwaited(t *testing.T) {
	r, p := newRing(t), newIDP(t)
	p.serves(setJSON(t, jwkJSON(t, r.rsa.Public(), "old", nil)))
	j := remoteJWT(t, p)
	tok := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"old"}`, claimsUntil(2*time.Hour, 0))
	if f := try(t, j, tok, 0); f != nil {
		t.Fatal(f.Reason)
	}
	p.serves(setJSON(t, jwkJSON(t, r.other.Public(), "new", nil)))
	if f := try(t, j, tok, 40*time.Minute); f == nil {
		t.Error("a key removed 40 minutes ago was believed")
	}
}

func TestIssuerDown(t *testing.T) {
	r, p := newRing(t), newIDP(t)
	p.serves(r.jwks(t))
	j := remoteJWT(t, p)
	tok := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, claimsUntil(5*time.Hour, 0))
	if f := try(t, j, tok, 0); f != nil {
		t.Fatal(f.Reason)
	}
	p.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	for _, step := range []struct {
		after time.Duration
		ok    bool
	}{{6 * time.Minute, true}, {30 * time.Minute, true}, {59 * time.Minute, true}, {60 * time.Minute, false}, {3 * time.Hour, false}} {
		f := try(t, j, tok, step.after)
		switch {
		case step.ok && f != nil:
			t.Errorf("after %v: %s", step.after, f.Reason)
		case !step.ok && (f == nil || f.Status != http.StatusServiceUnavailable || f.Code != bulwark.CodeUnavailable || f.Guess):
			t.Errorf("after %v: %+v, want 503", step.after, f)
		}
	}
	p.serves(r.jwks(t))
	if f := try(t, j, tok, 3*time.Hour+10*time.Second); f != nil {
		t.Errorf("the issuer is back: %s", f.Reason)
	}
}

func TestBadAnswersNeverOpen(t *testing.T) {
	r := newRing(t)
	good := r.jwks(t)
	elsewhere := newIDP(t)
	elsewhere.serves(good)
	answers := map[string]http.HandlerFunc{
		"status 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = w.Write([]byte(good)) },
		"status 203": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(203); _, _ = w.Write([]byte(good)) },
		"garbage":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"empty":      func(http.ResponseWriter, *http.Request) {},
		"no keys":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"symmetric only": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
		},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Repeat(" ", maxKeySet) + good))
		},
		"redirect": func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, elsewhere.URL, http.StatusFound) },
		"redirect, 307": func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(good)+10))
			_, _ = w.Write([]byte(good))
		},
		"connection closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	tok := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, claimsUntil(time.Hour, 0))
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.does(answer)
			j := remoteJWT(t, p)
			f := try(t, j, tok, 0)
			if f == nil || f.Status != http.StatusServiceUnavailable || f.RetryAfter <= 0 {
				t.Fatalf("got %+v, want 503", f)
			}
			// Right after a failure nobody asks again; later somebody does.
			if f := try(t, j, tok, time.Second); f == nil || p.fetches.Load() != 1 {
				t.Errorf("%d fetches, %+v", p.fetches.Load(), f)
			}
			p.serves(good)
			if f := try(t, j, tok, 3*time.Second); f != nil {
				t.Errorf("the issuer is well again: %s", f.Reason)
			}
		})
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestCloseEndsFetches(t *testing.T) {
	r, p := newRing(t), newIDP(t)
	p.does(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	shared := NewShared([32]byte{})
	j, err := NewJWT(JWTConfig{Issuer: testIssuer, Audiences: []string{"orders"}, JWKSURI: p.URL}, shared, testClient())
	if err != nil {
		t.Fatal(err)
	}
	tok := sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa"}`, claimsUntil(time.Hour, 0))
	done := make(chan *Failure, 1)
	go func() {
		_, f := j.Authenticate(t.Context(), Credential{Value: tok}, testNow)
		done <- f
	}()
	eventually(t, "a fetch runs", func() bool { return p.fetches.Load() == 1 })
	began := time.Now()
	shared.Close()
	if f := <-done; f == nil || f.Status != http.StatusServiceUnavailable {
		t.Errorf("got %+v", f)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("Close took %v", d)
	}
	if f := try(t, j, tok, time.Minute); f == nil || f.Status != http.StatusServiceUnavailable {
		t.Errorf("after Close: %+v", f)
	}
	shared.Close() // twice is fine
}
