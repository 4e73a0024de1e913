package leak

import (
	"fmt"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// Controls gives one control for each place that credentials are looked for in.
func Controls() []control.Single {
	refs := []string{
		"https://kubernetes.io/docs/concepts/security/secrets-good-practices/",
		"https://cheatsheetseries.owasp.org/cheatsheets/Secrets_Management_Cheat_Sheet.html",
	}
	make := func(id, title, why, remediation string, applies func(*control.Subject) bool, look func(*control.Subject, *finder)) control.Single {
		return &place{control.Meta{
			ID: id, Title: title, Severity: bulwark.SeverityHigh, Category: "secrets", Why: why,
			Remediation: remediation + " Change the credential: whoever could read the object may have it.", References: refs,
		}, applies, look}
	}
	return []control.Single{
		make("credential-in-configmap", "ConfigMap holds a credential",
			"ConfigMaps are not encrypted at rest and are open to many more people and pods than Secrets; who reads one gets what the credential opens.",
			"Move the value into a Secret, or let an operator fetch it from a store, and mount it.", isConfigMap, configMap),
		make("credential-in-environment", "Environment variable holds a credential in plain text",
			"The value stands in the object, its history and every copy of its manifest, for whoever may read pods; the environment shows it to each child process too.",
			"Put the value into a Secret and mount it as a file, or use valueFrom.secretKeyRef.", hasPods, environment),
		make("credential-in-command", "Command holds a credential in plain text",
			"Arguments stand in the object and in the process list of the pod and its node, for whoever may look there.",
			"Put the value into a Secret, mount it as a file and give the program the path.", hasPods, commands),
		make("credential-in-annotation", "Annotation holds a credential",
			"Annotations are shown by every tool and copied into logs, metrics and events; nobody guards them as a secret.",
			"Put the value into a Secret and refer to it by name.", everything, annotations),
		inManifest(refs),
		make("credential-in-object", "Object holds a credential in plain text",
			"Objects other than Secrets are open to many readers, are not encrypted at rest and stand in repositories; who reads one gets what the credential opens.",
			"Put the value into a Secret and refer to it; most kinds have a field for that.", isOther, fields),
	}
}

// place is a control that looks in one kind of place.
type place struct {
	meta    control.Meta
	applies func(*control.Subject) bool
	look    func(*control.Subject, *finder)
}

// Meta describes the control.
func (p *place) Meta() control.Meta { return p.meta }

// Applies looks at the kind and at whether there are pods.
func (p *place) Applies(s *control.Subject) bool { return p.applies(s) }

// Judge gives a Result for each field and kind of credential in it.
func (p *place) Judge(s *control.Subject) []control.Result {
	var f finder
	p.look(s, &f)
	if f.unseen != "" {
		f.out = append(f.out, control.Result{Verdict: bulwark.VerdictUnknown, Reason: f.unseen, Message: f.unseen})
	}
	if len(f.out) == 0 {
		return passed
	}
	return f.out
}

var passed = []control.Result{{Verdict: bulwark.VerdictPass}}

// most is how many fields of one object are told of.
const most = 100

// finder collects what is found in the fields of one object.
type finder struct {
	out []control.Result
	// unseen says what could not be looked at.
	unseen string
}

// add tells of what was found in a text, each kind once, where it is worst. what
// begins the message: `key "a"`.
func (f *finder) add(hits []hit, text, path, container, what string) {
	told := map[string]int{}
	for _, h := range hits {
		at, again := told[h.kind]
		switch {
		case again && h.severity <= f.out[at].Severity:
			continue
		case !again && len(f.out) >= most:
			continue
		case !again:
			at = len(f.out)
			f.out = append(f.out, control.Result{})
		}
		told[h.kind] = at
		where := ""
		if h.at >= 0 && strings.Contains(text, "\n") {
			where = fmt.Sprintf(", line %d", line(text, h.at))
		}
		f.out[at] = control.Result{
			Verdict: bulwark.VerdictFail, Field: path, Container: container, Severity: h.severity,
			Message: fmt.Sprintf("%s holds %s (%d characters%s)", what, h.kind, h.length, where),
			Key:     container + " " + what + " " + h.kind,
		}
	}
}

// search gives the credentials in a text that stands under a name.
func search(name, text string) []hit { return searchIn(&source{text: text}, name, true) }

// searchIn is search; unwrap says that the text may be base64 of another.
func searchIn(s *source, name string, unwrap bool) []hit {
	text := s.text
	if len(text) < 2 {
		return nil
	}
	hits := known.find(s)
	if len(hits) == 0 {
		if inner, ok := wrapped(text); ok && unwrap {
			for _, h := range searchIn(&source{text: inner}, "", false) {
				h.kind += " in base64"
				h.at = -1 // its line there is none here
				hits = append(hits, h)
			}
			if len(hits) > 0 {
				return hits
			}
		}
		single := strings.TrimSpace(text)
		if len(single) <= maxPart && !strings.Contains(single, "\n") {
			if secret, password := secretName(name); secret && !strings.EqualFold(single, name) {
				if kind, severity, ok := named(single, password, false); ok {
					return []hit{{kind, severity, 0, len(text), len(single)}}
				}
				if password {
					return nil // a text with marks in it is one password, or none
				}
			}
		}
	}
	if p := pairs(s, hits); len(p) > 0 {
		hits = append(hits, p...)
	}
	return hits
}

// maxWrapped bounds what is decoded as a whole.
const maxWrapped = 2 << 20

// wrapped decodes a text that is base64 as a whole, with or without line ends.
func wrapped(text string) (string, bool) {
	if len(text) < 24 || len(text) > maxWrapped || run(text, 0, base64std, 24) < 24 {
		return "", false
	}
	s := text
	if strings.ContainsAny(s, " \r\n") {
		s = strings.NewReplacer("\n", "", "\r", "", " ", "").Replace(s)
	}
	raw, ok := decodeAll(s)
	return raw, ok && printable(raw)
}
