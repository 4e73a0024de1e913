package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	ownNamespace = "bulwark-system"
	ownName      = "bulwark-controller.bulwark-system.svc"
)

// api is the Secrets of an API server, with its rules on versions.
type api struct {
	typedcorev1.SecretInterface

	mu      sync.Mutex
	secrets map[string]*corev1.Secret
	version int
	writes  int
	// before, where set, runs ahead of each call, and its error is the answer.
	before func(verb, name string) error
}

func newAPI() *api { return &api{secrets: map[string]*corev1.Secret{}} }

func (a *api) Secrets(namespace string) typedcorev1.SecretInterface {
	if namespace != ownNamespace {
		return nil
	}
	return a
}

var resource = schema.GroupResource{Resource: "secrets"}

func (a *api) enter(verb, name string) (func(), error) {
	a.mu.Lock()
	before := a.before
	a.mu.Unlock()
	if before != nil {
		if err := before(verb, name); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	return a.mu.Unlock, nil
}

func (a *api) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Secret, error) {
	leave, err := a.enter("get", name)
	if err != nil {
		return nil, err
	}
	defer leave()
	s, ok := a.secrets[name]
	if !ok {
		return nil, apierrors.NewNotFound(resource, name)
	}
	return s.DeepCopy(), nil
}

func (a *api) Create(_ context.Context, s *corev1.Secret, _ metav1.CreateOptions) (*corev1.Secret, error) {
	leave, err := a.enter("create", s.Name)
	if err != nil {
		return nil, err
	}
	defer leave()
	if _, ok := a.secrets[s.Name]; ok {
		return nil, apierrors.NewAlreadyExists(resource, s.Name)
	}
	return a.put(s), nil
}

func (a *api) Update(_ context.Context, s *corev1.Secret, _ metav1.UpdateOptions) (*corev1.Secret, error) {
	leave, err := a.enter("update", s.Name)
	if err != nil {
		return nil, err
	}
	defer leave()
	old, ok := a.secrets[s.Name]
	switch {
	case !ok:
		return nil, apierrors.NewNotFound(resource, s.Name)
	case old.ResourceVersion != s.ResourceVersion:
		return nil, apierrors.NewConflict(resource, s.Name, errors.New("the object has been modified"))
	}
	return a.put(s), nil
}

func (a *api) put(s *corev1.Secret) *corev1.Secret {
	a.version++
	a.writes++
	s = s.DeepCopy()
	s.ResourceVersion = strconv.Itoa(a.version)
	a.secrets[s.Name] = s
	return s.DeepCopy()
}

func (a *api) read(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.secrets[name]
	if s == nil {
		t.Fatalf("there is no Secret %s", name)
	}
	return s.DeepCopy()
}

func (a *api) edit(t *testing.T, name string, change func(*corev1.Secret)) {
	t.Helper()
	s := a.read(t, name)
	change(s)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(s)
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logs keeps what was logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func replica(t *testing.T, a *api, now func() time.Time) *Authority {
	t.Helper()
	r, err := New(Config{Secrets: a, Namespace: ownNamespace, Names: []string{ownName, "127.0.0.1"}, Now: now, Log: (&logs{}).logger()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func syncs(t *testing.T, r *Authority) {
	t.Helper()
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(); err != nil {
		t.Fatal(err)
	}
}

// handshake connects over a socket, and gives the error of whoever refuses: the
// server's if it has one.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	served := make(chan error, 1)
	go func() {
		served <- func() error {
			raw, err := ln.Accept()
			if err != nil {
				return err
			}
			defer func() { _ = raw.Close() }()
			c := tls.Server(raw, server)
			if err := c.HandshakeContext(t.Context()); err != nil {
				return fmt.Errorf("server: %w", err)
			}
			_, err = c.Write([]byte("x"))
			return err
		}()
	}()
	got := func() error {
		raw, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			return err
		}
		defer func() { _ = raw.Close() }()
		c := tls.Client(raw, client)
		if err := c.HandshakeContext(t.Context()); err != nil {
			return fmt.Errorf("client: %w", err)
		}
		_, err = c.Read(make([]byte, 1))
		return err
	}()
	return errors.Join(<-served, got)
}

// gatewayWith gives the TLS configuration of a data plane that has data mounted.
func gatewayWith(t *testing.T, data map[string][]byte, now func() time.Time) *tls.Config {
	t.Helper()
	c, err := parseCredentials(data[keyCert], data[keyKey], data[keyBundle])
	if err != nil {
		t.Fatal(err)
	}
	conf := c.client()
	conf.ServerName, conf.Time = ownName, now
	return conf
}

// mount writes data the way a kubelet does.
func mount(t *testing.T, dir string, data map[string][]byte) {
	t.Helper()
	version := filepath.Join(dir, "..version-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := os.Mkdir(version, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range data {
		if err := os.WriteFile(filepath.Join(version, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	if err := os.Symlink(filepath.Base(version), filepath.Join(dir, "..tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for name := range data {
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)) // the second time it is there
	}
	if old != "" {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
}
