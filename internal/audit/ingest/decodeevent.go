package ingest

import (
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
)

// The members of an audit.k8s.io/v1 Event.
const (
	inKind = iota
	inAPIVersion
	inLevel
	inAuditID
	inStage
	inRequestURI
	inVerb
	inUser
	inImpersonatedUser
	inSourceIPs
	inUserAgent
	inObjectRef
	inResponseStatus
	inRequestObject
	inResponseObject
	inRequestReceived
	inStageTimestamp
	inAnnotations
	inNone
)

func eventMember(name []byte) int {
	switch string(name) {
	case "kind":
		return inKind
	case "apiVersion":
		return inAPIVersion
	case "level":
		return inLevel
	case "auditID":
		return inAuditID
	case "stage":
		return inStage
	case "requestURI":
		return inRequestURI
	case "verb":
		return inVerb
	case "user":
		return inUser
	case "impersonatedUser":
		return inImpersonatedUser
	case "sourceIPs":
		return inSourceIPs
	case "userAgent":
		return inUserAgent
	case "objectRef":
		return inObjectRef
	case "responseStatus":
		return inResponseStatus
	case "requestObject":
		return inRequestObject
	case "responseObject":
		return inResponseObject
	case "requestReceivedTimestamp":
		return inRequestReceived
	case "stageTimestamp":
		return inStageTimestamp
	case "annotations":
		return inAnnotations
	}
	return inNone
}

// event reads an audit.k8s.io/v1 Event. Members that are missing, or null, are empty;
// members that it does not have go to More.
func (r *reader) event(e *audit.Event) error {
	var seen names
	return r.Object(func(name []byte) (err error) {
		i := eventMember(name)
		if i == inNone {
			return r.besides("", string(name))
		}
		if err := seen.take(i); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if r.Null() {
			return nil
		}
		switch i {
		case inKind:
			err = r.kind("Event")
		case inAPIVersion:
			err = r.kind("audit.k8s.io/v1", "audit.k8s.io/v1beta1")
		case inLevel:
			e.Level, err = r.text()
		case inAuditID:
			e.AuditID, err = r.single()
		case inStage:
			e.Stage, err = r.text()
		case inRequestURI:
			e.RequestURI, err = r.single()
		case inVerb:
			e.Verb, err = r.text()
		case inUser:
			err = r.user(&e.User, "user")
		case inImpersonatedUser:
			var u audit.User
			if err = r.user(&u, "impersonatedUser"); u.Username != "" || u.UID != "" || u.Groups != nil || u.Extra != nil {
				e.Impersonated = &u
			}
		case inSourceIPs:
			e.SourceIPs, err = r.texts()
		case inUserAgent:
			e.UserAgent, err = r.text()
		case inObjectRef:
			err = r.objectRef(&e.Object)
		case inResponseStatus:
			err = r.status(&e.Status)
		case inRequestObject:
			e.RequestObject, err = r.body("requestObject")
		case inResponseObject:
			e.ResponseObject, err = r.body("responseObject")
		case inRequestReceived:
			e.RequestReceived, err = r.time("requestReceivedTimestamp")
		case inStageTimestamp:
			e.StageAt, err = r.time("stageTimestamp")
		case inAnnotations:
			err = r.annotations(e)
		}
		return err
	})
}

// kind reads a kind or version, which has to be one of those.
func (r *reader) kind(known ...string) error {
	b, err := r.String()
	if err != nil {
		return err
	}
	if slices.Contains(known, string(b)) {
		return nil
	}
	return fmt.Errorf("%.40q is not %s", b, known[0])
}

func (r *reader) user(u *audit.User, group string) error {
	var seen names
	return r.Object(func(name []byte) (err error) {
		i := 0
		switch string(name) {
		case "username":
			u.Username, err = r.text()
		case "uid":
			i = 1
			u.UID, err = r.text()
		case "groups":
			i = 2
			u.Groups, err = r.texts()
		case "extra":
			i = 3
			u.Extra, err = r.extra(group)
		default:
			return r.besides(group, string(name))
		}
		if err == nil {
			err = seen.take(i)
		}
		return err
	})
}

// extra reads what the authenticator said besides. Its keys come from headers of the
// request, where two may differ by bytes that are no UTF-8: what the API server writes
// under one key then is put together, so that nobody makes an event unreadable so.
func (r *reader) extra(group string) (map[string][]string, error) {
	if r.Null() {
		return nil, nil
	}
	var m map[string][]string
	err := r.Object(func(name []byte) error {
		if !r.takes() {
			return r.Skip()
		}
		key := r.charge(name)
		values, err := r.texts()
		if err != nil {
			return err
		}
		if m == nil {
			m = make(map[string][]string)
		}
		before, twice := m[key]
		if twice {
			r.merged = group + ".extra"
		}
		m[key] = append(before, values...)
		return nil
	})
	return m, err
}

// refMember gives the field of a member of objectRef and its number.
func refMember(o *audit.ObjectRef, name []byte) (*string, int) {
	switch string(name) {
	case "resource":
		return &o.Resource, 0
	case "namespace":
		return &o.Namespace, 1
	case "name":
		return &o.Name, 2
	case "uid":
		return &o.UID, 3
	case "apiGroup":
		return &o.APIGroup, 4
	case "apiVersion":
		return &o.APIVersion, 5
	case "resourceVersion":
		return &o.ResourceVersion, 6
	case "subresource":
		return &o.Subresource, 7
	}
	return nil, 0
}

func (r *reader) objectRef(o *audit.ObjectRef) error {
	var seen names
	return r.Object(func(name []byte) (err error) {
		into, i := refMember(o, name)
		if into == nil {
			return r.besides("objectRef", string(name))
		}
		if err := seen.take(i); err != nil {
			return fmt.Errorf("objectRef.%s: %w", name, err)
		}
		*into, err = r.text()
		return err
	})
}

func (r *reader) status(s *audit.Status) error {
	var seen names
	return r.Object(func(name []byte) (err error) {
		i := 0
		switch string(name) {
		case "code":
			s.Code, err = r.code()
		case "status":
			i = 1
			s.Status, err = r.text()
		case "reason":
			i = 2
			s.Reason, err = r.text()
		case "message":
			i = 3
			s.Message, err = r.text()
		default: // metadata is there and empty in every answer
			return r.besides("responseStatus", string(name))
		}
		if err == nil {
			err = seen.take(i)
		}
		return err
	})
}

func (r *reader) annotations(e *audit.Event) error {
	return r.Object(func(name []byte) error {
		if !r.takes() {
			return r.Skip()
		}
		key := r.charge(name)
		if strings.HasPrefix(key, notes) {
			return r.besides("annotations", key)
		}
		if e.Annotations == nil {
			e.Annotations = make(map[string]string, 4)
		}
		value, err := r.item()
		if err != nil {
			return err
		}
		if _, twice := e.Annotations[key]; twice {
			if !r.over {
				return fmt.Errorf("annotations: %w", errTwice)
			}
			r.cut = true // two keys that were cut may be one now
		}
		e.Annotations[key] = value
		return nil
	})
}
