package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// algorithm is one signature algorithm of RFC 7518 or RFC 8037. Symmetric
// algorithms and "none" are absent: a gateway that could check an HMAC could
// also forge it.
type algorithm struct {
	name  string
	hash  crypto.Hash
	pss   bool
	curve elliptic.Curve // ECDSA only
}

// algorithmOf finds an algorithm by its exact name.
func algorithmOf(name string) (algorithm, bool) {
	switch name {
	case "RS256":
		return algorithm{name: name, hash: crypto.SHA256}, true
	case "RS384":
		return algorithm{name: name, hash: crypto.SHA384}, true
	case "RS512":
		return algorithm{name: name, hash: crypto.SHA512}, true
	case "PS256":
		return algorithm{name: name, hash: crypto.SHA256, pss: true}, true
	case "PS384":
		return algorithm{name: name, hash: crypto.SHA384, pss: true}, true
	case "PS512":
		return algorithm{name: name, hash: crypto.SHA512, pss: true}, true
	case "ES256":
		return algorithm{name: name, hash: crypto.SHA256, curve: elliptic.P256()}, true
	case "ES384":
		return algorithm{name: name, hash: crypto.SHA384, curve: elliptic.P384()}, true
	case "ES512":
		return algorithm{name: name, hash: crypto.SHA512, curve: elliptic.P521()}, true
	case "EdDSA":
		return algorithm{name: name}, true
	}
	return algorithm{}, false
}

// fits are the names of the algorithms that a key of this type can check, nil
// for a key that checks none.
func fits(key crypto.PublicKey) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

var errSignature = errors.New("the signature does not verify")

// verify checks one signature. The algorithm must be one that fits gives for
// the key; it is checked again here, so that no caller can confuse them.
func verify(a algorithm, key crypto.PublicKey, signed, signature []byte) error {
	if !slices.Contains(fits(key), a.name) {
		return fmt.Errorf("the key cannot check %s", a.name)
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return verifyRSA(a, k, signed, signature)
	case *ecdsa.PublicKey:
		// RFC 7518 3.4: r and s, each as long as the curve's order.
		n := (a.curve.Params().BitSize + 7) / 8
		if len(signature) != 2*n {
			return fmt.Errorf("the signature has %d bytes, %s has %d", len(signature), a.name, 2*n)
		}
		r, s := new(big.Int).SetBytes(signature[:n]), new(big.Int).SetBytes(signature[n:])
		if !ecdsa.Verify(k, digest(a.hash, signed), r, s) {
			return errSignature
		}
		return nil
	case ed25519.PublicKey:
		if len(signature) != ed25519.SignatureSize || !ed25519.Verify(k, signed, signature) {
			return errSignature
		}
		return nil
	}
	return errSignature
}

func verifyRSA(a algorithm, key *rsa.PublicKey, signed, signature []byte) error {
	if a.pss {
		// RFC 7518 3.5: the salt is as long as the hash.
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
		if rsa.VerifyPSS(key, a.hash, digest(a.hash, signed), signature, opts) != nil {
			return errSignature
		}
		return nil
	}
	if rsa.VerifyPKCS1v15(key, a.hash, digest(a.hash, signed), signature) != nil {
		return errSignature
	}
	return nil
}

func digest(h crypto.Hash, data []byte) []byte {
	if h == crypto.SHA256 {
		sum := sha256.Sum256(data)
		return sum[:]
	}
	if h == crypto.SHA384 {
		sum := sha512.Sum384(data)
		return sum[:]
	}
	sum := sha512.Sum512(data)
	return sum[:]
}
