package graph

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
)

// secret is what checks need of a Secret; none of it is secret.
type secret struct {
	obj       *inventory.Object
	namespace string
	kind      string // its type
	account   string // of a ServiceAccount token
	keys      []string
	leaf      *x509.Certificate
	field     string // of the certificate
	bad       string // why there is no leaf
	hidden    bool   // the values were taken out when the cluster was read
}

// secrets gives all Secrets by name.
func (ix *Index) secrets() map[target]*secret {
	return ix.sealed.get(func() map[target]*secret {
		if ix.whole == nil {
			return joined(ix, (*Index).secrets)
		}
		out := map[target]*secret{}
		for _, o := range ix.Kind("", "Secret") {
			s := keep(ix, o, func() *secret {
				if content := ix.content(o); content != nil {
					return readSecret(o, content)
				}
				return nil
			})
			if s != nil {
				out[target{"Secret", space(o), o.Name}] = s
			}
		}
		return out
	})
}

func readSecret(o *inventory.Object, content map[string]any) *secret {
	s := &secret{
		// Copies, so that no value of the Secret is held.
		obj: o, namespace: space(o), kind: strings.Clone(cmp.Or(text(content, "type"), "Opaque")),
		account: strings.Clone(text(content, "metadata", "annotations", "kubernetes.io/service-account.name")),
	}
	for _, f := range []string{"data", "stringData"} {
		for k := range fields(content, f) {
			s.keys = append(s.keys, strings.Clone(k))
		}
	}
	slices.Sort(s.keys)
	s.field = `stringData["tls.crt"]`
	plain := []byte(text(content, "stringData", "tls.crt"))
	if coded := text(content, "data", "tls.crt"); coded != "" && len(plain) == 0 {
		var err error
		s.field = `data["tls.crt"]`
		if plain, err = base64.StdEncoding.DecodeString(coded); err != nil {
			s.bad = "tls.crt is no base64"
		}
	}
	if string(plain) == redact.Plain {
		s.hidden = true
		return s
	}
	if len(plain) > 0 {
		var err error
		if s.leaf, err = leaf(plain); err != nil {
			s.bad = err.Error()
		}
	}
	return s
}

// leaf reads the first certificate of a PEM file.
func leaf(text []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("tls.crt has no certificate")
		}
		if block.Type == "CERTIFICATE" {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, errors.New("the certificate in tls.crt cannot be read")
			}
			return c, nil
		}
		text = rest
	}
}

// weak says what is weak about a certificate, or "".
func weak(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			return fmt.Sprintf("its RSA key has %d bits", bits)
		}
	case *ecdsa.PublicKey:
		if bits := key.Params().BitSize; bits < 256 {
			return fmt.Sprintf("its elliptic curve has %d bits", bits)
		}
	}
	switch c.SignatureAlgorithm { //nolint:exhaustive // all others are strong enough
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return "it is signed with " + c.SignatureAlgorithm.String()
	}
	return ""
}

// terminal is a place that serves a certificate for hosts.
type terminal struct {
	by          *inventory.Object
	field       string
	namespace   string // of the Secret
	name        string
	hosts       []string
	description string
}

type listener struct {
	name, host   string
	certificates []terminal
}

// listeners gives the listeners of a Gateway.
func (ix *Index) listeners(o *inventory.Object) []listener {
	var out []listener
	for i, e := range list(ix.content(o), "spec", "listeners") {
		l := listener{name: text(e, "name"), host: text(e, "hostname")}
		for j, c := range list(e, "tls", "certificateRefs") {
			if cmp.Or(text(c, "kind"), "Secret") != "Secret" {
				continue
			}
			t := terminal{
				by: o, field: item(item("spec.listeners", i)+".tls.certificateRefs", j), name: text(c, "name"),
				namespace: cmp.Or(text(c, "namespace"), space(o)), description: "listener " + l.name,
			}
			if l.host != "" {
				t.hosts = []string{l.host}
			}
			l.certificates = append(l.certificates, t)
		}
		out = append(out, l)
	}
	return out
}

// terminals gives all places that serve certificates from Secrets.
func (ix *Index) terminals() []terminal {
	var out []terminal
	for _, o := range ix.Kind("networking.k8s.io", "Ingress") {
		for i, t := range list(ix.content(o), "spec", "tls") {
			if name := text(t, "secretName"); name != "" {
				out = append(out, terminal{o, item("spec.tls", i) + ".secretName", space(o), name, texts(t, "hosts"), "tls"})
			}
		}
	}
	for _, o := range ix.Kind(gatewayGroup, "Gateway") {
		for _, l := range ix.listeners(o) {
			out = append(out, l.certificates...)
		}
	}
	return out
}
