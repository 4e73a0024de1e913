package compile

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// caKey is where Secrets and ConfigMaps hold certificate authorities.
const caKey = "ca.crt"

// authorities checks a PEM bundle of certificates and gives it back reduced to
// its certificates: whatever else stands in the file, a private key above all,
// does not travel on. It must hold at least one certificate and nothing broken.
// With onlyCA each must be allowed to sign others.
func authorities(bundle []byte, onlyCA bool) (string, error) {
	var out strings.Builder
	for n := 1; ; n++ {
		block, rest := pem.Decode(bundle)
		if block == nil {
			break
		}
		bundle = rest
		if block.Type != "CERTIFICATE" {
			return "", fmt.Errorf("PEM block %d is no certificate", n)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", fmt.Errorf("certificate %d: %w", n, err)
		}
		if onlyCA && !cert.IsCA {
			return "", fmt.Errorf("certificate %d is not one of a certificate authority", n)
		}
		if err := pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return "", fmt.Errorf("certificate %d: %w", n, err)
		}
	}
	if bytes.Contains(bundle, []byte("-----BEGIN")) {
		return "", errors.New("a PEM block is broken")
	}
	if out.Len() == 0 {
		return "", errors.New("it holds no certificate")
	}
	return out.String(), nil
}

// authoritiesOf reads "ca.crt" of a Secret or ConfigMap.
func (ix *index) authoritiesOf(kind string, k key, onlyCA bool) (string, error) {
	var object any
	var bundle []byte
	var ok bool
	switch kind {
	case kindSecret:
		s, err := ix.secret(k)
		if err != nil {
			return "", err
		}
		object = s
		bundle, ok = value(s, caKey)
	case kindConfigMap:
		m, err := ix.configMap(k)
		if err != nil {
			return "", err
		}
		object = m
		var v string
		v, ok = text(m, caKey)
		bundle = []byte(v)
	default:
		return "", fmt.Errorf("kind %s cannot hold certificate authorities", kind)
	}
	if !ok {
		return "", fmt.Errorf("%s %s has no key %q", kind, k, caKey)
	}
	parse := func() authorityOrErr {
		out, err := authorities(bundle, onlyCA)
		if err != nil {
			return authorityOrErr{"", fmt.Errorf("%s %s, %s: %w", kind, k, caKey, err)}
		}
		return authorityOrErr{out, nil}
	}
	if ix.memo == nil {
		v := parse()
		return v.pem, v.err
	}
	at := authorityKey{object, onlyCA}
	v, known := ix.memo.authorities.get(at)
	if !known {
		v = parse()
	}
	ix.memo.authorities.put(at, v)
	return v.pem, v.err
}

// keyPair reads a Secret of type kubernetes.io/tls.
func (ix *index) keyPair(k key) (ir.KeyPair, error) {
	s, err := ix.secret(k)
	if err != nil {
		return ir.KeyPair{}, err
	}
	if ix.memo == nil {
		return parseKeyPair(s)
	}
	v, known := ix.memo.pairs.get(s)
	if !known {
		v.pair, v.err = parseKeyPair(s)
	}
	ix.memo.pairs.put(s, v)
	return v.pair, v.err
}

// parseKeyPair checks a certificate and its key. No error names any of its
// content.
func parseKeyPair(s *corev1.Secret) (ir.KeyPair, error) {
	k := keyOf(s)
	if s.Type != "" && s.Type != corev1.SecretTypeTLS {
		return ir.KeyPair{}, fmt.Errorf("the Secret %s is of type %s, not %s", k, s.Type, corev1.SecretTypeTLS)
	}
	cert, okCert := value(s, corev1.TLSCertKey)
	private, okKey := value(s, corev1.TLSPrivateKeyKey)
	if !okCert || !okKey {
		return ir.KeyPair{}, fmt.Errorf("the Secret %s lacks %s or %s", k, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	if _, err := tls.X509KeyPair(cert, private); err != nil {
		// The cause is left out on purpose: it may quote the private part.
		return ir.KeyPair{}, fmt.Errorf("certificate and key of Secret %s do not parse or do not belong together", k)
	}
	sum := sha256.Sum256(cert)
	return ir.KeyPair{
		Name: k.String(), Cert: string(cert), Fingerprint: hex.EncodeToString(sum[:]),
		Key: bulwark.NewSecret(bytes.Clone(private)),
	}, nil
}
