package identity

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// authority is the content of the Secret CASecret.
//
// Rotation has three steps, each seen by everybody before the next: when two
// thirds of the current authority's life are over, a next one joins the bundle;
// after overlap it issues; the one before stays in the bundle until it expires.
type authority struct {
	current *issuer
	next    *issuer // nil but between the first step and the second
	bundle  []*x509.Certificate
	// given says that an operator made the Secret: then it is used as it is.
	given bool
}

func newAuthority(now time.Time) (*authority, error) {
	i, err := newIssuer(now)
	if err != nil {
		return nil, err
	}
	return &authority{current: i, bundle: []*x509.Certificate{i.cert}}, nil
}

// readAuthority reads the Secret. One that has expired is no error: it can be
// replaced, and rotate does.
func readAuthority(s *corev1.Secret, now time.Time) (*authority, error) {
	a := &authority{given: s.Labels[roleLabel] == ""}
	var err error
	if a.current, err = parseIssuer(s.Data[keyCert], s.Data[keyKey]); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", keyCert, keyKey, err)
	}
	bundle := s.Data[keyBundle]
	if a.given && len(bundle) == 0 {
		bundle = a.current.chain
	}
	if a.bundle, err = parseCerts(bundle); err != nil {
		return nil, fmt.Errorf("%s: %w", keyBundle, err)
	}
	if len(s.Data[keyNextCert])+len(s.Data[keyNextKey]) > 0 && !a.given {
		if a.next, err = parseIssuer(s.Data[keyNextCert], s.Data[keyNextKey]); err != nil {
			return nil, fmt.Errorf("%s and %s: %w", keyNextCert, keyNextKey, err)
		}
		if !trusted(a.next, a.bundle) {
			return nil, fmt.Errorf("%s is not in %s", keyNextCert, keyBundle)
		}
	}
	c := a.current.cert
	switch {
	case !trusted(a.current, a.bundle):
		return nil, fmt.Errorf("%s is not trusted by %s", keyCert, keyBundle)
	case now.Add(skew).Before(c.NotBefore):
		return nil, fmt.Errorf("%s is valid from %s on and it is %s: look at this node's clock", keyCert, c.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case a.given && now.After(c.NotAfter):
		return nil, fmt.Errorf("%s expired on %s, and is yours to renew, since the Secret has no label %s", keyCert, c.NotAfter.Format(time.RFC3339), roleLabel)
	}
	return a, nil
}

// trusted reports whether the bundle leads to i, at a time when all had begun.
func trusted(i *issuer, bundle []*x509.Certificate) bool {
	between := x509.NewCertPool()
	between.AppendCertsFromPEM(i.chain)
	at := i.cert.NotBefore
	for _, c := range bundle {
		if c.NotBefore.After(at) && c.NotBefore.Before(i.cert.NotAfter) {
			at = c.NotBefore
		}
	}
	_, err := i.cert.Verify(x509.VerifyOptions{
		Roots: pool(bundle), Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

// rotate takes the step that is due, and names it; "" for none.
func (a *authority) rotate(now time.Time) (string, error) {
	if a.given {
		return "", nil
	}
	if now.After(a.current.cert.NotAfter) && (a.next == nil || now.After(a.next.cert.NotAfter)) {
		// No controller ran for months. Nothing that is valid hangs on it.
		fresh, err := newAuthority(now)
		if err != nil {
			return "", err
		}
		*a = *fresh
		return "replaced the expired authority", nil
	}
	if a.next != nil {
		made := a.next.cert.NotBefore.Add(skew)
		if now.Before(made.Add(overlap)) && now.Before(a.current.cert.NotAfter) {
			return "", nil
		}
		a.current, a.next = a.next, nil
		a.drop(now)
		return "the next authority issues from now on", nil
	}
	if !now.Before(renewal(a.current.cert)) {
		next, err := newIssuer(now)
		if err != nil {
			return "", err
		}
		a.next = next
		a.bundle = append(a.bundle, next.cert)
		a.drop(now)
		return "the next authority is trusted", nil
	}
	if a.drop(now) {
		return "dropped an expired authority", nil
	}
	return "", nil
}

// drop takes what has expired out of the bundle.
func (a *authority) drop(now time.Time) bool {
	before := len(a.bundle)
	a.bundle = slices.DeleteFunc(slices.Clone(a.bundle), func(c *x509.Certificate) bool {
		return now.After(c.NotAfter) && !c.Equal(a.current.cert)
	})
	return len(a.bundle) != before
}

func (a *authority) bundleText() []byte {
	var out []byte
	for _, c := range a.bundle {
		out = append(out, certText(c.Raw)...)
	}
	return out
}

func (a *authority) data() map[string][]byte {
	out := map[string][]byte{keyCert: a.current.chain, keyKey: a.current.keyPEM, keyBundle: a.bundleText()}
	if a.next != nil {
		out[keyNextCert], out[keyNextKey] = a.next.chain, a.next.keyPEM
	}
	return out
}

// secret is Opaque and not of type kubernetes.io/tls, so that no Gateway can
// serve with it.
func (a *authority) secret(namespace string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: CASecret, Labels: map[string]string{roleLabel: "authority"}},
		Type:       corev1.SecretTypeOpaque,
		Data:       a.data(),
	}
}

// judgeClient says why the certificate of data planes must be issued again, or
// "".
func (a *authority) judgeClient(data map[string][]byte, now time.Time) string {
	if len(data[keyCert]) == 0 {
		return "there is none"
	}
	c, err := parseCredentials(data[keyCert], data[keyKey], data[keyBundle])
	if err != nil {
		return err.Error()
	}
	leaf := c.pair.Leaf
	switch {
	case !bytes.Equal(data[keyBundle], a.bundleText()):
		return "other authorities are trusted"
	case leaf.CheckSignatureFrom(a.current.cert) != nil:
		return "another authority issues"
	case gatewayOnly([]*x509.Certificate{leaf}) != nil || !slices.Equal(leaf.ExtKeyUsage, forGateway().ExtKeyUsage):
		return "it is not for data planes"
	case !now.Before(renewal(leaf)):
		return "two thirds of its life are over"
	}
	return ""
}
