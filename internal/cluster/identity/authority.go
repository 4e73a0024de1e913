package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Config is what an Authority needs. All but Every is required.
type Config struct {
	// Secrets of the API server. Get and update of the Secrets CASecret and
	// ClientSecret, and create, must be permitted in Namespace.
	Secrets typedcorev1.SecretsGetter
	// Namespace is Bulwark's own.
	Namespace string
	// Names are the DNS names and IP addresses by which data planes connect,
	// for example bulwark-controller.bulwark-system.svc.
	Names []string
	Now   func() time.Time
	Log   *slog.Logger
	// Every is how often the Secrets are looked at. Default: a minute.
	Every time.Duration
}

// Authority is the certificates of a controller, from a certificate authority
// that all replicas share in the Secret CASecret. Every replica runs one. Make
// one with New; its methods may be called at the same time.
type Authority struct {
	cfg Config

	syncing sync.Mutex // one Sync at a time

	mu      sync.Mutex
	serving *credentials
	issued  *issuance
	err     error // of the last Sync
}

// issuance is what the serving certificate was made from.
type issuance struct {
	issuer, bundle []byte
	renew          time.Time
}

// New makes an Authority. It has no certificate before the first Sync.
func New(cfg Config) (*Authority, error) {
	if cfg.Secrets == nil || cfg.Namespace == "" || len(cfg.Names) == 0 || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("relay authority: Secrets, Namespace, Names, Now and Log are required")
	}
	if cfg.Every <= 0 {
		cfg.Every = every
	}
	return &Authority{cfg: cfg, err: errors.New("relay authority: not read yet")}, nil
}

// Run calls Sync now and then until ctx ends; then it returns nil. What goes
// wrong is logged, told by Err, and tried again.
func (a *Authority) Run(ctx context.Context) error {
	ticker := time.NewTicker(a.cfg.Every)
	defer ticker.Stop()
	last := ""
	for {
		err := a.Sync(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && err.Error() != last {
			a.cfg.Log.LogAttrs(ctx, slog.LevelError, "certificates of the relay are not up to date", slog.Any("error", err))
		}
		last = ""
		if err != nil {
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Err says why the last Sync failed, or nil. What was there before it stays in
// use: Ready is for readiness.
func (a *Authority) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Ready says why data planes cannot connect, or nil. It stays nil while the API
// server is away, until the certificate expires.
func (a *Authority) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.serving == nil:
		return a.err
	case a.cfg.Now().After(a.serving.pair.Leaf.NotAfter):
		return errors.Join(errors.New("relay authority: the serving certificate has expired"), a.err)
	}
	return nil
}

// Server gives a TLS configuration for the controller, which follows the
// Authority. Until the first Sync has worked, handshakes fail.
func (a *Authority) Server() *tls.Config {
	return choosing(func() (*credentials, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.serving == nil {
			return nil, a.err
		}
		return a.serving, nil
	})
}

// Sync looks at both Secrets, makes what is missing and renews what is due.
// Replicas that do the same at the same time end with the same outcome. A Secret
// that cannot be understood is left as it is, and so is everything else then:
// the error says what to delete.
func (a *Authority) Sync(ctx context.Context) error {
	a.syncing.Lock()
	defer a.syncing.Unlock()
	err := a.sync(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	return err
}

func (a *Authority) sync(ctx context.Context) error {
	ca, err := a.authority(ctx)
	if err != nil {
		return err
	}
	if err := a.serve(ca); err != nil {
		return err
	}
	return a.client(ctx, ca)
}

// serve issues the serving certificate, where it is due.
func (a *Authority) serve(ca *authority) error {
	now := a.cfg.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.issued
	if old != nil && bytes.Equal(old.issuer, ca.current.cert.Raw) && bytes.Equal(old.bundle, ca.bundleText()) && now.Before(old.renew) {
		return nil
	}
	cert, key, err := ca.current.issue(forController(a.cfg.Names), now)
	if err != nil {
		return err
	}
	c, err := parseCredentials(cert, key, ca.bundleText())
	if err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	c.now = a.cfg.Now
	a.serving = c
	a.issued = &issuance{issuer: ca.current.cert.Raw, bundle: ca.bundleText(), renew: renewal(c.pair.Leaf)}
	return nil
}

// attempts is how often a conflict with another replica is resolved by reading
// again.
const attempts = 5

// authority reads the authority, or makes it, and rotates it when that is due.
func (a *Authority) authority(ctx context.Context) (*authority, error) {
	secrets := a.cfg.Secrets.Secrets(a.cfg.Namespace)
	var err error
	for range attempts {
		var secret *corev1.Secret
		secret, err = secrets.Get(ctx, CASecret, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			var ca *authority
			if ca, err = newAuthority(a.cfg.Now()); err != nil {
				return nil, err
			}
			_, err = secrets.Create(ctx, ca.secret(a.cfg.Namespace), metav1.CreateOptions{})
			if err == nil {
				a.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "made the authority of the relay", slog.String("secret", a.cfg.Namespace+"/"+CASecret))
				return ca, nil
			}
			if apierrors.IsAlreadyExists(err) {
				continue // another replica was faster
			}
			return nil, a.tried("create", CASecret, err)
		}
		if err != nil {
			return nil, a.tried("read", CASecret, err)
		}
		var ca *authority
		if ca, err = readAuthority(secret, a.cfg.Now()); err != nil {
			return nil, fmt.Errorf("the authority of the relay in Secret %s/%s cannot be used, and was left as it is: %w; "+
				"restore it, or delete it to have a new one made (kubectl -n %s delete secret %s), which data planes follow by themselves",
				a.cfg.Namespace, CASecret, err, a.cfg.Namespace, CASecret)
		}
		what, err2 := ca.rotate(a.cfg.Now())
		if err2 != nil {
			return nil, err2
		}
		if what == "" {
			return ca, nil
		}
		secret = secret.DeepCopy()
		secret.Data = ca.data()
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
		if err == nil {
			a.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "rotated the authority of the relay", slog.String("step", what))
			return ca, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return nil, a.tried("update", CASecret, err)
		}
	}
	return nil, a.tried("settle", CASecret, err)
}

// client keeps the Secret that data planes mount.
func (a *Authority) client(ctx context.Context, ca *authority) error {
	secrets := a.cfg.Secrets.Secrets(a.cfg.Namespace)
	var err error
	for range attempts {
		var secret *corev1.Secret
		secret, err = secrets.Get(ctx, ClientSecret, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		switch {
		case missing:
			secret = &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: a.cfg.Namespace, Name: ClientSecret, Labels: map[string]string{roleLabel: "client"}},
				Type:       corev1.SecretTypeTLS,
			}
		case err != nil:
			return a.tried("read", ClientSecret, err)
		case secret.Labels[roleLabel] == "":
			return fmt.Errorf("the Secret %s/%s was made by somebody else (it has no label %s) and was left as it is; delete it, or give the controller certificates of your own too",
				a.cfg.Namespace, ClientSecret, roleLabel)
		}
		why := ca.judgeClient(secret.Data, a.cfg.Now())
		if why == "" {
			return nil
		}
		cert, key, issueErr := ca.current.issue(forGateway(), a.cfg.Now())
		if issueErr != nil {
			return issueErr
		}
		secret = secret.DeepCopy()
		secret.Data = map[string][]byte{keyCert: cert, keyKey: key, keyBundle: ca.bundleText()}
		verb := "update"
		if missing {
			verb = "create"
			_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
		} else {
			_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
		}
		if err == nil {
			a.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "issued the certificate of data planes",
				slog.String("secret", a.cfg.Namespace+"/"+ClientSecret), slog.String("why", why))
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return a.tried(verb, ClientSecret, err)
		}
	}
	return a.tried("settle", ClientSecret, err)
}

func (a *Authority) tried(verb, name string, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%s Secret %s/%s: %w; the controller's Role needs create of secrets, and get and update of %q",
			verb, a.cfg.Namespace, name, err, slices.Sorted(slices.Values([]string{CASecret, ClientSecret})))
	}
	return fmt.Errorf("%s Secret %s/%s: %w", verb, a.cfg.Namespace, name, err)
}
