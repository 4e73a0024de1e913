package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/relay"
)

// stranger is an authority that is not the relay's.
type stranger struct {
	*issuer

	clock *clock
}

func someoneElse(t *testing.T, c *clock) stranger {
	t.Helper()
	return stranger{fresh(t), c}
}

// data is a Secret for data planes as the stranger would make it.
func (s stranger) data(t *testing.T) map[string][]byte {
	t.Helper()
	cert, key, err := s.issue(forGateway(), s.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{keyCert: cert, keyKey: key, keyBundle: s.chain}
}

// TestWhoIsLetIn: only certificates of this authority, for clients, in their
// time, with the URI of data planes and no other.
func TestWhoIsLetIn(t *testing.T) {
	a, c := newAPI(), newClock()
	r := replica(t, a, c.Now)
	syncs(t, r)
	ca, err := readAuthority(a.read(t, CASecret), c.Now())
	if err != nil {
		t.Fatal(err)
	}
	other := someoneElse(t, c)
	with := func(change func(*x509.Certificate)) *x509.Certificate {
		g := forGateway()
		change(g)
		return g
	}
	uris := func(list ...string) func(*x509.Certificate) {
		return func(x *x509.Certificate) {
			x.URIs = nil
			for _, u := range list {
				parsed, err := url.Parse(u)
				if err != nil {
					t.Fatal(err)
				}
				x.URIs = append(x.URIs, parsed)
			}
		}
	}
	tests := []struct {
		name   string
		issuer *issuer
		cert   *x509.Certificate // nil for none
		at     time.Time
		refuse string // "" where it is let in
	}{
		{name: "data plane", issuer: ca.current, cert: forGateway()},
		{name: "nobody", refuse: "didn't provide a certificate"},
		{name: "another authority", issuer: other.issuer, cert: forGateway(), refuse: "unknown authority"},
		{name: "controller", issuer: ca.current, cert: forController([]string{ownName}), refuse: "incompatible key usage"},
		{name: "controller's certificate for clients", issuer: ca.current, cert: with(uris(ControllerURI)), refuse: "is that of a controller"},
		{name: "expired", issuer: ca.current, cert: forGateway(), at: c.Now().Add(-leafLife - time.Hour), refuse: "expired"},
		{name: "not valid yet", issuer: ca.current, cert: forGateway(), at: c.Now().Add(time.Hour), refuse: "not yet valid"},
		{name: "clock a little behind", issuer: ca.current, cert: forGateway(), at: c.Now().Add(skew / 2)},
		{name: "no URI", issuer: ca.current, cert: with(uris()), refuse: "has the URIs []"},
		{name: "another URI", issuer: ca.current, cert: with(uris("urn:bulwark:relay:gatewayx")), refuse: "has the URIs"},
		{name: "the URI in capitals", issuer: ca.current, cert: with(uris("urn:BULWARK:relay:gateway")), refuse: "has the URIs"},
		{name: "two URIs", issuer: ca.current, cert: with(uris(GatewayURI, "urn:x:y")), refuse: "has the URIs"},
		{name: "two roles", issuer: ca.current, cert: with(uris(GatewayURI, ControllerURI)), refuse: "is that of a controller"},
		{name: "the URI as a name", issuer: ca.current, cert: with(func(x *x509.Certificate) {
			x.URIs, x.DNSNames, x.Subject = nil, []string{GatewayURI}, pkix.Name{CommonName: GatewayURI}
		}), refuse: ""},
	}
	tests[len(tests)-1].refuse = "has the URIs"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conf := gatewayWith(t, a.read(t, ClientSecret).Data, c.Now)
			conf.Certificates = nil
			if tt.cert != nil {
				at := tt.at
				if at.IsZero() {
					at = c.Now()
				}
				cert, key, err := tt.issuer.issue(tt.cert, at)
				if err != nil {
					t.Fatal(err)
				}
				pair, err := tls.X509KeyPair(cert, key)
				if err != nil {
					t.Fatal(err)
				}
				// Sent even where the server's list of authorities says not to.
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			err := handshake(t, r.Server(), conf)
			if tt.refuse == "" && err != nil || tt.refuse != "" && (err == nil || !strings.Contains(err.Error(), tt.refuse)) {
				t.Errorf("got %v, want %q", err, tt.refuse)
			}
		})
	}
}

// TestWhomDataPlanesTrust: only the controller of this authority, by its name.
func TestWhomDataPlanesTrust(t *testing.T) {
	a, c := newAPI(), newClock()
	r := replica(t, a, c.Now)
	syncs(t, r)
	data := a.read(t, ClientSecret).Data
	if err := handshake(t, r.Server(), gatewayWith(t, data, c.Now)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		server func() *tls.Config
		name   string
		refuse string
	}{
		"another name": {r.Server, "evil.example", "certificate is valid for"},
		"another authority": {func() *tls.Config {
			b := newAPI()
			o := replica(t, b, c.Now)
			syncs(t, o)
			return o.Server()
		}, ownName, "unknown authority"},
		"a data plane that poses as controller": {func() *tls.Config {
			pair, err := tls.X509KeyPair(data[keyCert], data[keyKey])
			if err != nil {
				t.Fatal(err)
			}
			return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
		}, ownName, "tls:"},
		"TLS 1.2": {func() *tls.Config {
			s := r.Server()
			return &tls.Config{MaxVersion: tls.VersionTLS12, GetConfigForClient: nil, Certificates: s.Certificates}
		}, ownName, "protocol version"},
	} {
		conf := gatewayWith(t, data, c.Now)
		conf.ServerName = tt.name
		if err := handshake(t, tt.server(), conf); err == nil || !strings.Contains(err.Error(), tt.refuse) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGivenAuthority: an operator's own authority, an intermediate one at that,
// issues and is never changed.
func TestGivenAuthority(t *testing.T) {
	a, c := newAPI(), newClock()
	root := fresh(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "intermediate"}, NotBefore: c.Now().Add(-time.Hour), NotAfter: c.Now().Add(caLife / 2),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	// The relay's own authorities may not have others below them; this root may.
	rootTemplate := *root.cert
	rootTemplate.MaxPathLen, rootTemplate.MaxPathLenZero = 1, false
	rootDER, err := x509.CreateCertificate(nil, &rootTemplate, &rootTemplate, root.key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	between := fresh(t)
	der, err := x509.CreateCertificate(nil, template, &rootTemplate, between.key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	a.put(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: CASecret, Namespace: ownNamespace},
		Data:       map[string][]byte{keyCert: certText(der), keyKey: between.keyPEM, keyBundle: certText(rootDER)},
	})
	r := replica(t, a, c.Now)
	syncs(t, r)
	before := a.read(t, CASecret)
	for range 5 {
		if err := handshake(t, r.Server(), gatewayWith(t, a.read(t, ClientSecret).Data, c.Now)); err != nil {
			t.Fatal(err)
		}
		c.advance(caLife / 11)
		syncs(t, r)
	}
	c.advance(caLife / 11)
	if err := r.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "yours to renew") {
		t.Errorf("error %v", err)
	}
	if a.read(t, CASecret).ResourceVersion != before.ResourceVersion {
		t.Error("the operator's authority was changed")
	}
}

// TestFolder: files count from the next connection on; broken ones leave those
// before in use, and are an error at the start.
func TestFolder(t *testing.T) {
	a, c := newAPI(), newClock()
	r := replica(t, a, c.Now)
	syncs(t, r)
	dir, l := t.TempDir(), &logs{}
	if _, err := Files(dir, l.logger()); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("an empty folder: %v", err)
	}
	data := a.read(t, ClientSecret).Data
	mount(t, dir, data)
	f, err := Files(dir, l.logger())
	if err != nil {
		t.Fatal(err)
	}
	connect := func() error {
		conf, err := f.Client()
		if err != nil {
			t.Fatal(err)
		}
		conf.ServerName, conf.Time = ownName, c.Now
		return handshake(t, r.Server(), conf)
	}
	if err := connect(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string][]byte){
		"no key":         func(d map[string][]byte) { delete(d, keyKey) },
		"no bundle":      func(d map[string][]byte) { d[keyBundle] = nil },
		"key of another": func(d map[string][]byte) { d[keyKey] = fresh(t).keyPEM },
		"large":          func(d map[string][]byte) { d[keyCert] = bytes.Repeat([]byte("x"), maxFile+1) },
	} {
		broken := map[string][]byte{keyCert: data[keyCert], keyKey: data[keyKey], keyBundle: data[keyBundle]}
		change(broken)
		mount(t, dir, broken)
		if err := connect(); err != nil || f.Err() == nil {
			t.Errorf("%s: %v, %v", name, err, f.Err())
		}
		if err := connect(); err != nil || f.Err() == nil {
			t.Errorf("%s, again: %v, %v", name, err, f.Err())
		}
		if _, err := Files(dir, l.logger()); err == nil || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s at the start: %v", name, err)
		}
		mount(t, dir, data)
		if err := connect(); err != nil || f.Err() != nil {
			t.Errorf("%s undone: %v, %v", name, err, f.Err())
		}
	}
	if n := strings.Count(l.String(), "those before stay"); n != 4 {
		t.Errorf("%d log lines for 4 mistakes", n)
	}
	// A new authority: the old files are refused, the new ones count at once.
	a.mu.Lock()
	clear(a.secrets)
	a.mu.Unlock()
	syncs(t, r)
	if connect() == nil {
		t.Error("old files work with a new authority")
	}
	mount(t, dir, a.read(t, ClientSecret).Data)
	if err := connect(); err != nil {
		t.Error(err)
	}
}

// TestFolderNeverMixes: files of two moments are never used together.
func TestFolderNeverMixes(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	mount(t, dir, someoneElse(t, c).data(t))
	f, err := Files(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := f.Client(); err != nil {
				t.Error(err)
			}
			if err := f.Err(); err != nil && !strings.Contains(err.Error(), "no such file") {
				t.Error(err)
			}
		}
	})
	for range 50 {
		mount(t, dir, someoneElse(t, c).data(t))
	}
	close(stop)
	reading.Wait()
	if _, err := f.Client(); err != nil || f.Err() != nil {
		t.Errorf("%v %v", err, f.Err())
	}
	// Files of an operator, without ..data.
	plain := t.TempDir()
	for name, text := range someoneElse(t, c).data(t) {
		if err := os.WriteFile(filepath.Join(plain, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Files(plain, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

// TestRelayAcrossRotation: a data plane with mounted files is fed by a
// controller while both change all their certificates, without a restart and
// without applying anything twice.
func TestRelayAcrossRotation(t *testing.T) {
	a := newAPI()
	r := replica(t, a, time.Now)
	syncs(t, r)
	dir := t.TempDir()
	mount(t, dir, a.read(t, ClientSecret).Data)
	files, err := Files(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := &logs{}
	server, err := relay.NewServer(relay.ServerConfig{
		Log: l.logger(), Now: time.Now, Random: rand.Uint64, Heartbeat: 100 * time.Millisecond, MaxAge: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := server.Serve(ctx, ln, r.Server()); err != nil {
			t.Error(err)
		}
	})
	namespace := func(name string) *cluster.Snapshot {
		return cluster.Assemble([]cluster.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}}, nil)
	}
	server.Publish(namespace("one"), nil)
	watcher, err := relay.NewWatcher(relay.ClientConfig{
		URL: fmt.Sprintf("https://%s", ln.Addr()), TLS: files.Client, Name: "gateway-0", Log: slog.New(slog.DiscardHandler),
		Now: time.Now, Random: rand.Uint64, MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 100)
	running.Go(func() {
		if err := watcher.Run(ctx, func(s *cluster.Snapshot) error { got <- s.Namespaces[0].Name; return nil }); err != nil {
			t.Error(err)
		}
	})
	if name := <-got; name != "one" {
		t.Errorf("got %s", name)
	}
	// The authority is replaced; the kubelet shows it later.
	a.mu.Lock()
	clear(a.secrets)
	a.mu.Unlock()
	syncs(t, r)
	for !strings.Contains(l.String(), "TLS handshake error") {
		time.Sleep(time.Millisecond) // the old connection is too old by now, and a new one is refused
	}
	server.Publish(namespace("two"), nil)
	mount(t, dir, a.read(t, ClientSecret).Data)
	if name := <-got; name != "two" {
		t.Errorf("got %s", name)
	}
	if len(got) != 0 {
		t.Error("something was applied twice")
	}
}
