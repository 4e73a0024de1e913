package graph

import (
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

func terminalKinds() []Kind {
	return []Kind{{"networking.k8s.io", "Ingress"}, {gatewayGroup, "Gateway"}, {"", "Secret"}}
}

// perTerminal judges each place that serves a certificate.
func perTerminal(judge func(ix *Index, t *terminal, s *secret) control.Result) func(*Index, emitter) {
	return func(ix *Index, emit emitter) {
		for _, t := range ix.terminals() {
			r := judge(ix, &t, ix.secrets()[target{"Secret", t.namespace, t.name}])
			r.Key = t.description + " " + t.namespace + "/" + t.name
			emit(t.by, r)
		}
	}
}

// issued reports whether cert-manager or another operator fills a Secret.
func (ix *Index) issued(t *terminal) bool {
	if ix.made()[target{"Secret", t.namespace, t.name}] {
		return true
	}
	notes := labels(ix.content(t.by), "metadata", "annotations")
	return notes["cert-manager.io/issuer"] != "" || notes["cert-manager.io/cluster-issuer"] != "" || notes["kubernetes.io/tls-acme"] == "true"
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "tls-secret-missing", Title: "The certificate of an Ingress or Gateway is missing", Severity: bulwark.SeverityHigh, Category: "exposure",
		Why:         "The gateway serves a certificate of its own or none, people learn to click warnings away, and clients are told not to verify.",
		Remediation: "Create the Secret of type kubernetes.io/tls with tls.crt and tls.key, or have cert-manager issue it.",
	},
	Reads: append(terminalKinds(), makerKinds()...), Absence: true, Across: true,
	Judge: perTerminal(func(ix *Index, t *terminal, s *secret) control.Result {
		switch {
		case s == nil && ix.issued(t):
			return skip("an operator brings the Secret")
		case s == nil:
			r := fail(t.field, t.description+": Secret "+t.namespace+"/"+t.name+" is not "+ix.here())
			r.Severity = ix.missing(bulwark.SeverityHigh)
			return r
		case s.hidden:
			return pass() // tls.crt is there; what it says other controls call unknown
		case s.leaf == nil && s.bad == "":
			return fail(t.field, t.description+": Secret "+t.namespace+"/"+t.name+" has no tls.crt", s.obj.ObjectRef)
		case s.leaf == nil:
			return fail(t.field, t.description+": Secret "+t.namespace+"/"+t.name+": "+s.bad, s.obj.ObjectRef)
		}
		return pass()
	}),
})

// soon is how long before its end a certificate should have been renewed.
const soon = 30 * 24 * time.Hour

func perCertificate(judge func(ix *Index, s *secret) control.Result) func(*Index, emitter) {
	return func(ix *Index, emit emitter) {
		for _, o := range ix.Kind("", "Secret") {
			s := ix.secrets()[target{"Secret", space(o), o.Name}]
			switch {
			case s == nil:
			case s.hidden:
				emit(o, unknown("the values of Secrets were not read"))
			case s.leaf != nil:
				emit(o, judge(ix, s))
			}
		}
	}
}

// served names where a Secret's certificate is served.
func (ix *Index) served(s *secret) []bulwark.ObjectRef {
	var out []bulwark.ObjectRef
	for i, u := range ix.uses()[target{"Secret", s.namespace, s.obj.Name}] {
		if i == 10 {
			break
		}
		out = append(out, u.by.ObjectRef)
	}
	return out
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "certificate-expired", Title: "A certificate has ended or is about to", Severity: bulwark.SeverityHigh, Category: "secrets",
		Why:         "Clients refuse it, or somebody tells them not to verify, and then anybody in between can pose as the server.",
		Remediation: "Renew the certificate, and have cert-manager or your issuer do it by itself a month before the end.",
	},
	Reads: []Kind{{"", "Secret"}}, Any: true,
	Judge: perCertificate(func(ix *Index, s *secret) control.Result {
		end := s.leaf.NotAfter.UTC().Format(time.DateOnly)
		switch {
		case ix.Now.IsZero():
			return unknown("the time of the scan is not known")
		case ix.Now.After(s.leaf.NotAfter):
			return fail(s.field, "the certificate for "+hosts(s)+" ended on "+end, ix.served(s)...)
		case ix.Now.Before(s.leaf.NotBefore):
			return fail(s.field, "the certificate for "+hosts(s)+" starts only on "+s.leaf.NotBefore.UTC().Format(time.DateOnly), ix.served(s)...)
		case ix.Now.Add(soon).After(s.leaf.NotAfter):
			r := fail(s.field, "the certificate for "+hosts(s)+" ends on "+end, ix.served(s)...)
			r.Severity = bulwark.SeverityMedium
			return r
		}
		return pass()
	}),
})

func hosts(s *secret) string {
	if len(s.leaf.DNSNames) == 0 {
		return clip(s.leaf.Subject.CommonName)
	}
	return some(s.leaf.DNSNames)
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "certificate-weak", Title: "A certificate has a weak key or signature", Severity: bulwark.SeverityHigh, Category: "secrets",
		Why:         "A key that short can be computed from the certificate, and a signature that weak can be forged.",
		Remediation: "Issue it anew with an RSA key of at least 2048 bits or an ECDSA P-256 key, signed with SHA-256.",
	},
	Reads: []Kind{{"", "Secret"}}, Any: true,
	Judge: perCertificate(func(ix *Index, s *secret) control.Result {
		if why := weak(s.leaf); why != "" {
			return fail(s.field, "the certificate for "+hosts(s)+": "+why, ix.served(s)...)
		}
		return pass()
	}),
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "certificate-host-mismatch", Title: "A certificate does not hold the host that it is served for", Severity: bulwark.SeverityMedium, Category: "exposure",
		Why:         "Clients refuse it, or somebody tells them not to verify, and then anybody in between can pose as the server.",
		Remediation: "Issue a certificate that names the host, or serve this one for the hosts that it names.",
	},
	Reads: terminalKinds(), Across: true,
	Judge: perTerminal(func(_ *Index, t *terminal, s *secret) control.Result {
		switch {
		case s != nil && s.hidden:
			return unknown("the values of Secrets were not read")
		case s == nil || s.leaf == nil:
			return skip("there is no certificate, which another control reports")
		case len(t.hosts) == 0:
			return skip("no host is named")
		}
		for _, h := range t.hosts {
			probe := h
			if rest, wild := strings.CutPrefix(h, "*."); wild {
				probe = "any." + rest // what a wildcard certificate must cover
			}
			if h != "" && s.leaf.VerifyHostname(probe) != nil {
				return fail(t.field, t.description+": the certificate in Secret "+t.namespace+"/"+t.name+" is for "+hosts(s)+", not "+h, s.obj.ObjectRef)
			}
		}
		return pass()
	}),
})
