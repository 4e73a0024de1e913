package identity

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFirstStart: any number of replicas that start at once end with one
// authority, and write nothing more.
func TestFirstStart(t *testing.T) {
	a, c := newAPI(), newClock()
	var replicas []*Authority
	for range 10 {
		replicas = append(replicas, replica(t, a, c.Now))
	}
	if err := handshake(t, replicas[0].Server(), gatewayWith(t, someoneElse(t, c).data(t), c.Now)); err == nil {
		t.Error("a handshake worked before the first Sync")
	}
	if replicas[0].Ready() == nil {
		t.Error("ready before the first Sync")
	}
	var starting sync.WaitGroup
	errs := make([]error, len(replicas))
	for i, r := range replicas {
		starting.Go(func() { errs[i] = r.Sync(t.Context()) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if a.writes != 2 {
		t.Errorf("%d writes, want two creations", a.writes)
	}
	ca, client := a.read(t, CASecret), a.read(t, ClientSecret)
	if ca.Type != corev1.SecretTypeOpaque || client.Type != corev1.SecretTypeTLS {
		t.Errorf("types %s and %s", ca.Type, client.Type)
	}
	if got := slices.Sorted(maps.Keys(client.Data)); !slices.Equal(got, []string{keyBundle, keyCert, keyKey}) {
		t.Errorf("data planes are given %q", got)
	}
	if bytes.Contains(bytes.Join(slices.Collect(maps.Values(client.Data)), nil), ca.Data[keyKey]) {
		t.Error("data planes are given the authority's key")
	}
	for i, r := range replicas {
		if err := handshake(t, r.Server(), gatewayWith(t, client.Data, c.Now)); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
		syncs(t, r)
	}
	if a.writes != 2 {
		t.Errorf("%d writes after another round", a.writes)
	}
}

// TestYears moves time on for three years. All the while, a data plane whose
// mounted Secret is twelve hours old connects to either of two replicas.
func TestYears(t *testing.T) {
	t.Parallel()
	a, c := newAPI(), newClock()
	one, two := replica(t, a, c.Now), replica(t, a, c.Now)
	syncs(t, one)
	syncs(t, two)
	mounted := a.read(t, ClientSecret).Data
	authorities, certificates := map[string]bool{}, map[string]bool{}
	const step = 12 * time.Hour
	for i := range int(3 * 365 * 24 * time.Hour / step) {
		c.advance(step)
		// Each replica looks once per step, the other way round each time, so that
		// one of them has not seen yet what the other did.
		first, second := one, two
		if i%2 == 1 {
			first, second = two, one
		}
		syncs(t, first)
		authorities[string(a.read(t, CASecret).Data[keyCert])] = true
		client := a.read(t, ClientSecret).Data
		certificates[string(client[keyCert])] = true
		if i%20 == 0 || !bytes.Equal(client[keyCert], mounted[keyCert]) || !bytes.Equal(client[keyBundle], mounted[keyBundle]) {
			for _, r := range []*Authority{one, two} {
				for _, data := range []map[string][]byte{client, mounted} {
					if err := handshake(t, r.Server(), gatewayWith(t, data, c.Now)); err != nil {
						t.Fatalf("on %s: %v", c.Now(), err)
					}
				}
			}
		}
		syncs(t, second)
		mounted = client
		if bundle := a.read(t, CASecret).Data[keyBundle]; bytes.Count(bundle, []byte("BEGIN")) > 2 {
			t.Fatalf("on %s %d authorities are trusted", c.Now(), bytes.Count(bundle, []byte("BEGIN")))
		}
	}
	if n := len(authorities); n < 4 || n > 6 {
		t.Errorf("%d authorities in three years", n)
	}
	if n := len(certificates); n < 3*365/20 || n > 3*365/20+15 {
		t.Errorf("%d certificates in three years", n)
	}
}

// TestLongAbsence: after a year without any controller the first one that starts
// makes everything anew.
func TestLongAbsence(t *testing.T) {
	a, c := newAPI(), newClock()
	syncs(t, replica(t, a, c.Now))
	old := a.read(t, ClientSecret).Data
	c.advance(2 * caLife)
	r := replica(t, a, c.Now)
	syncs(t, r)
	if err := handshake(t, r.Server(), gatewayWith(t, a.read(t, ClientSecret).Data, c.Now)); err != nil {
		t.Error(err)
	}
	if handshake(t, r.Server(), gatewayWith(t, old, c.Now)) == nil {
		t.Error("expired certificates work")
	}
}

// TestAPIAway: without the API server the controller goes on, until its
// certificate expires.
func TestAPIAway(t *testing.T) {
	a, c := newAPI(), newClock()
	r := replica(t, a, c.Now)
	syncs(t, r)
	client := a.read(t, ClientSecret).Data
	a.before = func(string, string) error { return errors.New("connection refused") }
	c.advance(24 * time.Hour)
	if err := r.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "read Secret "+ownNamespace+"/"+CASecret) || r.Err() == nil {
		t.Errorf("error %v", err)
	}
	if err := errors.Join(r.Ready(), handshake(t, r.Server(), gatewayWith(t, client, c.Now))); err != nil {
		t.Error(err)
	}
	c.advance(leafLife)
	if r.Ready() == nil {
		t.Error("ready with an expired certificate")
	}
}

// TestBrokenAuthority: what cannot be understood is left alone, named, and said
// how to get out of, and what was in use before stays.
func TestBrokenAuthority(t *testing.T) {
	another, late := fresh(t), 30*24*time.Hour
	future, err := newIssuer(newClock().Now().Add(late))
	if err != nil {
		t.Fatal(err)
	}
	leaf, leafKey, err := another.issue(forGateway(), newClock().Now())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(data map[string][]byte)
		says   string
	}{
		"empty":              {func(d map[string][]byte) { clear(d) }, "there is no certificate"},
		"no key":             {func(d map[string][]byte) { delete(d, keyKey) }, "not PEM"},
		"cut certificate":    {func(d map[string][]byte) { d[keyCert] = d[keyCert][:100] }, "no certificate"},
		"garbled key":        {func(d map[string][]byte) { d[keyKey] = bytes.ToLower(d[keyKey]) }, "not PEM"},
		"key of another":     {func(d map[string][]byte) { d[keyKey] = another.keyPEM }, "does not belong"},
		"no bundle":          {func(d map[string][]byte) { delete(d, keyBundle) }, keyBundle},
		"bundle of another":  {func(d map[string][]byte) { d[keyBundle] = another.chain }, "not trusted"},
		"key in the bundle":  {func(d map[string][]byte) { d[keyBundle] = append(d[keyBundle], d[keyKey]...) }, "PRIVATE KEY"},
		"half of the next":   {func(d map[string][]byte) { d[keyNextCert] = another.chain }, keyNextCert},
		"next not in bundle": {func(d map[string][]byte) { d[keyNextCert], d[keyNextKey] = another.chain, another.keyPEM }, "is not in"},
		"no authority":       {func(d map[string][]byte) { d[keyCert], d[keyKey] = leaf, leafKey }, "not that of an authority"},
		"from the future": {func(d map[string][]byte) {
			d[keyCert], d[keyKey], d[keyBundle] = future.chain, future.keyPEM, future.chain
		}, "clock"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, c := newAPI(), newClock()
			r := replica(t, a, c.Now)
			syncs(t, r)
			client := a.read(t, ClientSecret).Data
			a.edit(t, CASecret, func(s *corev1.Secret) { tt.change(s.Data) })
			broken, writes := a.read(t, CASecret), a.writes
			for _, now := range []time.Duration{0, 9 * 24 * time.Hour} {
				c.advance(now)
				for _, r := range []*Authority{r, replica(t, a, c.Now)} {
					err := r.Sync(t.Context())
					if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "kubectl -n "+ownNamespace+" delete secret "+CASecret) {
						t.Errorf("error %v", err)
					}
					if err != nil && strings.Contains(err.Error(), string(broken.Data[keyKey])) && len(broken.Data[keyKey]) > 0 {
						t.Error("the error shows the key")
					}
				}
			}
			if a.writes != writes {
				t.Error("something was written")
			}
			if err := errors.Join(r.Ready(), handshake(t, r.Server(), gatewayWith(t, client, c.Now))); err != nil {
				t.Errorf("what was there before is not in use: %v", err)
			}
			// The way out that the error names.
			a.mu.Lock()
			delete(a.secrets, CASecret)
			a.mu.Unlock()
			syncs(t, r)
			if err := handshake(t, r.Server(), gatewayWith(t, a.read(t, ClientSecret).Data, c.Now)); err != nil {
				t.Error(err)
			}
			if handshake(t, r.Server(), gatewayWith(t, client, c.Now)) == nil {
				t.Error("certificates of the authority that was deleted work")
			}
		})
	}
}

func fresh(t *testing.T) *issuer {
	t.Helper()
	i, err := newIssuer(newClock().Now())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestClientSecret: what data planes mount is made again when it is not what it
// should be, unless it is somebody else's.
func TestClientSecret(t *testing.T) {
	another := someoneElse(t, newClock())
	other := another.data(t)
	for name, change := range map[string]func(data map[string][]byte){
		"empty":                func(d map[string][]byte) { clear(d) },
		"key of another":       func(d map[string][]byte) { d[keyKey] = other[keyKey] },
		"bundle of another":    func(d map[string][]byte) { d[keyBundle] = other[keyBundle] },
		"of another authority": func(d map[string][]byte) { maps.Copy(d, other) },
	} {
		t.Run(name, func(t *testing.T) {
			a, c := newAPI(), newClock()
			r := replica(t, a, c.Now)
			syncs(t, r)
			a.edit(t, ClientSecret, func(s *corev1.Secret) { change(s.Data) })
			syncs(t, r)
			if err := handshake(t, r.Server(), gatewayWith(t, a.read(t, ClientSecret).Data, c.Now)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("somebody else's", func(t *testing.T) {
		a, c := newAPI(), newClock()
		a.put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: ClientSecret, Namespace: ownNamespace}, Data: map[string][]byte{"x": []byte("y")}})
		err := replica(t, a, c.Now).Sync(t.Context())
		if err == nil || !strings.Contains(err.Error(), "made by somebody else") || string(a.read(t, ClientSecret).Data["x"]) != "y" {
			t.Errorf("error %v, %v", err, a.read(t, ClientSecret))
		}
	})
}

// TestConflicts: what another replica writes in between is taken over.
func TestConflicts(t *testing.T) {
	a, c := newAPI(), newClock()
	one, two := replica(t, a, c.Now), replica(t, a, c.Now)
	syncs(t, one)
	c.advance(caLife / 4 * 3)
	busy := false
	a.before = func(verb, _ string) error {
		if verb == "update" && !busy {
			busy = true
			if err := two.Sync(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	syncs(t, one)
	if !busy {
		t.Fatal("nothing was updated")
	}
	if n := bytes.Count(a.read(t, CASecret).Data[keyBundle], []byte("BEGIN")); n != 2 {
		t.Errorf("%d authorities are trusted, want 2", n)
	}
	for _, r := range []*Authority{one, two} {
		if err := handshake(t, r.Server(), gatewayWith(t, a.read(t, ClientSecret).Data, c.Now)); err != nil {
			t.Error(err)
		}
	}
	// A conflict that never ends is an error and no loop.
	c.advance(overlap + time.Hour)
	a.before = func(verb, name string) error {
		if verb == "update" {
			return apierrors.NewConflict(resource, name, errors.New("always"))
		}
		return nil
	}
	if err := one.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "always") {
		t.Errorf("error %v", err)
	}
}

// TestForbidden: the message names what the Role must have.
func TestForbidden(t *testing.T) {
	for _, verb := range []string{"get", "create", "update"} {
		a, c := newAPI(), newClock()
		if verb == "update" {
			syncs(t, replica(t, a, c.Now))
			c.advance(caLife)
		}
		a.before = func(v, name string) error {
			if v == verb {
				return apierrors.NewForbidden(resource, name, errors.New("no"))
			}
			return nil
		}
		if err := replica(t, a, c.Now).Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "Role needs") || !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// TestConfigRefuses: nothing is left out by mistake.
func TestConfigRefuses(t *testing.T) {
	good := Config{Secrets: newAPI(), Namespace: "n", Names: []string{"x"}, Now: time.Now, Log: (&logs{}).logger()}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for i, spoil := range []func(*Config){
		func(c *Config) { c.Secrets = nil }, func(c *Config) { c.Namespace = "" }, func(c *Config) { c.Names = nil },
		func(c *Config) { c.Now = nil }, func(c *Config) { c.Log = nil },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("case %d is taken", i)
		}
	}
}
