package ingest

import (
	"errors"
	"net/http"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
)

// logEntry is what of a LogEntry decides about more than one field of the event.
type logEntry struct {
	service, method, resource string
	operation                 string // its id
	granted, refused          bool
	answered                  bool
	code                      int32 // google.rpc.Code
}

// google reads a LogEntry of Cloud Audit Logs, as GKE writes them. It is not the API
// server's event but a retelling, so that some of an event is missing: groups, the
// request's address, and the HTTP status.
func (r *reader) google(e *audit.Event) error {
	var g logEntry
	known := []string{"protoPayload", "insertId", "timestamp", "labels", "resource", "operation"}
	err := r.members("", "gcp", known, func(key string) (err error) {
		if r.Null() {
			return nil
		}
		switch key {
		case "protoPayload":
			err = r.payload(e, &g)
		case "insertId":
			e.AuditID, err = r.single()
		case "timestamp":
			e.StageAt, err = r.time(key)
		case "labels":
			err = r.annotations(e)
		case "resource":
			err = r.also(key, func() error {
				return r.within2("labels", "cluster_name", func() error { return r.fill(&e.Cluster) })
			})
		case "operation":
			err = r.also(key, func() error {
				return r.Object(func(name []byte) error {
					if string(name) != "id" {
						return r.Skip()
					}
					return r.fill(&g.operation)
				})
			})
		}
		return err
	})
	if err != nil {
		return err
	}
	if g.service != "k8s.io" && (g.service != "" || !strings.HasPrefix(g.method, "io.k8s.")) {
		return errors.New("a log entry of another service than k8s.io")
	}
	g.tell(e)
	return nil
}

// also keeps a value under More and reads it besides.
func (r *reader) also(name string, read func() error) error {
	from := r.Offset()
	if err := r.besides("gcp", name); err != nil {
		return err
	}
	r.Seek(from)
	return read()
}

// fill reads a text into what has none yet.
func (r *reader) fill(into *string) error {
	s, err := r.text()
	if *into == "" {
		*into = s
	}
	return err
}

// payload reads the AuditLog in a LogEntry.
func (r *reader) payload(e *audit.Event, g *logEntry) error {
	known := []string{
		"serviceName", "methodName", "resourceName", "request", "response", "status",
		"authenticationInfo", "authorizationInfo", "requestMetadata", "requestURI",
	}
	return r.members("protoPayload.", "gcp", known, func(key string) (err error) {
		if r.Null() {
			return nil
		}
		switch key {
		case "serviceName":
			g.service, err = r.text()
		case "methodName":
			err = r.also(key, func() error { return r.fill(&g.method) })
		case "resourceName":
			err = r.also(key, func() error { return r.fill(&g.resource) })
		case "requestURI":
			e.RequestURI, err = r.single()
		case "request":
			e.RequestObject, err = r.body("requestObject")
		case "response":
			e.ResponseObject, err = r.body("responseObject")
		case "status":
			err = r.also(key, func() error { return r.rpcStatus(e, g) })
		case "authenticationInfo":
			err = r.also(key, func() error { return r.principal(e) })
		case "authorizationInfo":
			err = r.also(key, func() error { return r.grants(g) })
		case "requestMetadata":
			err = r.also(key, func() error { return r.caller(e) })
		}
		return err
	})
}

func (r *reader) rpcStatus(e *audit.Event, g *logEntry) error {
	g.answered = true
	return r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "code":
			g.code, err = r.code()
		case "message":
			e.Status.Message, err = r.text()
		default:
			err = r.Skip()
		}
		return err
	})
}

func (r *reader) principal(e *audit.Event) error {
	subject := ""
	err := r.Object(func(name []byte) error {
		switch string(name) {
		case "principalEmail":
			return r.fill(&e.User.Username)
		case "principalSubject":
			return r.fill(&subject)
		}
		return r.Skip()
	})
	if e.User.Username == "" {
		e.User.Username = subject
	}
	return err
}

func (r *reader) grants(g *logEntry) error {
	return r.Array(func() error {
		granted := false // not written where it is false
		err := r.Object(func(name []byte) error {
			raw, err := r.Raw()
			if string(name) == "granted" {
				granted = string(raw) == "true"
			}
			return err
		})
		if granted {
			g.granted = true
		} else {
			g.refused = true
		}
		return err
	})
}

func (r *reader) caller(e *audit.Event) error {
	return r.Object(func(name []byte) error {
		switch string(name) {
		case "callerIp", "callerIP":
			ip, err := r.text()
			if ip != "" {
				e.SourceIPs = []string{ip}
			}
			return err
		case "callerSuppliedUserAgent":
			return r.fill(&e.UserAgent)
		}
		return r.Skip()
	})
}

// tell puts what the entry says into the words of an event.
func (g *logEntry) tell(e *audit.Event) {
	if e.AuditID == "" {
		e.AuditID = g.operation // the two are the same where both are there
	}
	e.Verb = g.method[strings.LastIndexByte(g.method, '.')+1:]
	prefix := "/apis/"
	name, core := strings.CutPrefix(g.resource, "core/")
	if core {
		prefix = "/api/"
	}
	if _, object, ok := target(http.MethodGet, prefix+name); ok {
		e.Object = object
	} else if e.RequestURI == "" && g.resource != "" {
		e.RequestURI = "/" + strings.TrimPrefix(g.resource, "/")
	}
	e.Stage = "ResponseComplete"
	switch {
	case e.ResponseObject != nil:
		e.Level = "RequestResponse"
	case e.RequestObject != nil:
		e.Level = "Request"
	default:
		e.Level = "Metadata"
	}
	if e.Decision() == "" && (g.granted || g.refused) {
		if e.Annotations == nil {
			e.Annotations = make(map[string]string, 1)
		}
		decision := "allow"
		if g.refused {
			decision = "forbid"
		}
		e.Annotations["authorization.k8s.io/decision"] = decision
	}
	if g.answered {
		e.Status.Code = httpCode(g.code)
		e.Status.Status = "Success"
		if e.Status.Code >= http.StatusBadRequest {
			e.Status.Status = "Failure"
		}
	}
}

// httpCode gives the HTTP status that google.rpc.Code names for a code. Some services
// write HTTP's own.
func httpCode(code int32) int32 {
	codes := [...]int32{
		http.StatusOK,
		499, // CANCELLED: the client went away, for which HTTP has no status
		http.StatusInternalServerError, http.StatusBadRequest, http.StatusGatewayTimeout,
		http.StatusNotFound, http.StatusConflict, http.StatusForbidden, http.StatusTooManyRequests,
		http.StatusBadRequest, http.StatusConflict, http.StatusBadRequest, http.StatusNotImplemented,
		http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusInternalServerError,
		http.StatusUnauthorized,
	}
	if i := int(code); i >= 0 && i < len(codes) {
		return codes[i]
	}
	if code >= 100 && code < 600 {
		return code
	}
	return http.StatusInternalServerError
}
