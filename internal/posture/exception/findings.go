package exception

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// The controls over exceptions themselves.
const (
	idExpired = "exception-expired"
	idUnused  = "exception-unused"
	idBroad   = "exception-too-broad"
	idInvalid = "exception-invalid"
)

// Controls describes the controls over exceptions.
func Controls() []control.Meta {
	return []control.Meta{
		{
			ID: idBroad, Title: "An exception covers too much", Severity: bulwark.SeverityHigh, Category: "exceptions",
			Why:         "An exception for everything hides what nobody has looked at yet; it is not honoured.",
			Remediation: "Name the controls, and the objects by namespace, name or labels.",
		},
		{
			ID: idExpired, Title: "An exception has expired", Severity: bulwark.SeverityMedium, Category: "exceptions",
			Why:         "A risk was accepted for a time, and that time is over; what it covered counts again.",
			Remediation: "Repair what it covered and take it away, or have its owner decide anew.",
		},
		{
			ID: idInvalid, Title: "An exception cannot be read", Severity: bulwark.SeverityMedium, Category: "exceptions",
			Why:         "It covers nothing, and somebody believes that it does.",
			Remediation: "Give it owner, reason and expiry in the form that the guide shows.",
		},
		{
			ID: idUnused, Title: "An exception covers nothing", Severity: bulwark.SeverityLow, Category: "exceptions",
			Why:         "It stays behind and will hide the next finding in that place.",
			Remediation: "Take it away, or correct the names in it.",
		},
	}
}

func (e *PostureException) finding(id, what string) bulwark.Finding {
	ref := bulwark.ObjectRef{APIVersion: APIVersion, Kind: Kind, Namespace: e.Metadata.Namespace, Name: e.Metadata.Name}
	field, subject := "", "exception "+e.Name()
	if e.on != nil {
		ref, field = e.on.ObjectRef, fmt.Sprintf("metadata.annotations[%q]", Prefix+e.Spec.Controls[0])
		subject = "exception for " + e.Spec.Controls[0] + " on " + e.on.String()
	}
	return seal(bulwark.Finding{Control: id, Object: ref, Field: field, Location: e.at, Message: subject + ": " + what})
}

func (v *Invalid) finding() bulwark.Finding {
	return seal(bulwark.Finding{
		Control: idInvalid, Object: v.Object, Field: v.Field, Location: v.Location,
		Message: v.Object.String() + ": the exception cannot be read: " + v.What,
	})
}

// seal fills in what the control says and the fingerprint.
func seal(f bulwark.Finding) bulwark.Finding {
	for _, m := range Controls() {
		if m.ID == f.Control {
			f.Title, f.Severity, f.Remediation = m.Title, m.Severity, m.Remediation
		}
	}
	f.Verdict = bulwark.VerdictFail
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Control, f.Object.Group(), f.Object.Kind, f.Object.Namespace, f.Object.Name, f.Field}, "\x00")))
	f.Fingerprint = hex.EncodeToString(sum[:16])
	return f
}

// numbered makes equal fingerprints differ by counting them: two exceptions of one
// name are two, and a baseline that knows the first must not hide the second.
func numbered(findings []bulwark.Finding) []bulwark.Finding {
	seen := map[string]int{}
	for i := range findings {
		f := &findings[i]
		seen[f.Fingerprint]++
		if n := seen[f.Fingerprint]; n > 1 {
			f.Fingerprint += "-" + strconv.Itoa(n)
		}
	}
	return findings
}

// once leaves one finding of those with one fingerprint, as two overlays of one
// base say the same twice.
func once(findings []bulwark.Finding) []bulwark.Finding {
	seen := map[string]bool{}
	var out []bulwark.Finding
	for i := range findings {
		if f := findings[i]; !seen[f.Fingerprint] {
			seen[f.Fingerprint] = true
			out = append(out, f)
		}
	}
	return out
}
