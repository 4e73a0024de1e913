package ingest

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// gateway reads a line of the event log that Bulwark's gateway writes (docs/events.md).
// The verb is the HTTP method in small letters: the gateway does not know what the
// address means to the service behind it. The caller's roles, the issuer and the
// method of authentication are the user's extra; what an event has no field for is
// under more.gateway.
func (r *reader) gateway(e *audit.Event) error {
	e.Kind = audit.KindGateway
	var refused bool
	var lasted time.Duration
	known := []string{
		"time", "requestId", "decision", "code", "status", "reason", "identity", "sourceIP",
		"method", "path", "durationUs",
	}
	err := r.members("", "gateway", known, func(key string) (err error) {
		switch key {
		case "time":
			e.RequestReceived, err = r.time("requestReceivedTimestamp")
		case "requestId":
			e.AuditID, err = r.single()
		case "decision":
			refused, err = r.decision(e)
		case "code":
			e.Status.Reason, err = r.text()
		case "status":
			e.Status.Code, err = r.code()
		case "reason":
			e.Status.Message, err = r.text()
		case "identity":
			err = r.identity(e)
		case "sourceIP":
			var ip string
			if ip, err = r.text(); ip != "" {
				e.SourceIPs = []string{ip}
			}
		case "method":
			var method string
			method, err = r.text()
			e.Verb = strings.ToLower(method)
		case "path":
			e.RequestURI, err = r.single()
		case "durationUs":
			lasted, err = r.micros()
		}
		return err
	})
	if err != nil {
		return err
	}
	if !e.RequestReceived.IsZero() {
		e.StageAt = micros(e.RequestReceived.Add(lasted))
	}
	e.Stage = "ResponseComplete"
	e.Status.Status = "Success"
	if refused || e.Status.Code >= 400 {
		e.Status.Status = "Failure"
	}
	return nil
}

// decision reads whether the request was let in, and says it as an API server does.
func (r *reader) decision(e *audit.Event) (refused bool, err error) {
	said, err := r.text()
	if err != nil {
		return false, err
	}
	decision := "allow"
	switch said {
	case "allowed":
	case "refused":
		decision, refused = "forbid", true
	default:
		return false, errors.New("a decision that is neither allowed nor refused")
	}
	e.Annotations = map[string]string{"authorization.k8s.io/decision": decision}
	return refused, nil
}

func (r *reader) identity(e *audit.Event) error {
	e.User.Extra = make(map[string][]string, 3)
	known := []string{"name", "groups", "method", "issuer", "roles"}
	return r.members("identity.", "identity", known, func(key string) (err error) {
		switch key {
		case "name":
			e.User.Username, err = r.text()
		case "groups":
			e.User.Groups, err = r.texts()
		case "roles":
			e.User.Extra[key], err = r.texts()
		default:
			var value string
			value, err = r.text()
			e.User.Extra[key] = []string{value}
		}
		return err
	})
}

// micros reads a number of microseconds, of at most a century.
func (r *reader) micros() (time.Duration, error) {
	text, err := r.Number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > int64(100*365*24*time.Hour/time.Microsecond) {
		return 0, errors.New("durationUs is no duration")
	}
	return time.Duration(n) * time.Microsecond, nil
}
