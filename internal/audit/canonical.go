package audit

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendCanonical appends the canonical form of an event: the bytes that are hashed,
// signed and kept. It is one JSON object without white space; its members stand in
// the order of Event's fields, under the names of audit.k8s.io/v1 where it has them;
// what is empty is left out; maps are sorted by key; times are UTC with six decimals.
//
// Whatever the event holds, the result is valid JSON in UTF-8, and ParseCanonical
// takes it if the event's Kind is one of Kinds. What cannot stand there is changed in
// the least way: bytes that are no UTF-8 become U+FFFD; RequestObject, ResponseObject
// and More are brought into canonical form, and become a string where they are no
// JSON. Ingest sees to it that an event has none of these.
func AppendCanonical(dst []byte, e *Event) []byte {
	dst = append(dst, '{')
	dst = appendText(dst, `"kind":`, string(e.Kind))
	dst = appendText(dst, `"source":`, e.Source)
	dst = appendText(dst, `"cluster":`, e.Cluster)
	dst = appendTime(dst, `"received":`, e.Received)
	dst = appendText(dst, `"auditID":`, e.AuditID)
	dst = appendText(dst, `"level":`, e.Level)
	dst = appendText(dst, `"stage":`, e.Stage)
	dst = appendText(dst, `"requestURI":`, e.RequestURI)
	dst = appendText(dst, `"verb":`, e.Verb)
	dst = appendText(dst, `"saidVerb":`, e.SaidVerb)
	dst = appendUser(dst, `"user":`, &e.User)
	if e.Impersonated != nil {
		dst = appendUser(dst, `"impersonatedUser":`, e.Impersonated)
	}
	dst = appendTexts(dst, `"sourceIPs":`, e.SourceIPs)
	dst = appendText(dst, `"userAgent":`, e.UserAgent)
	dst = appendObjectRef(dst, &e.Object)
	dst = appendStatus(dst, &e.Status)
	dst = appendBody(dst, `"requestObject":`, e.RequestObject, false)
	dst = appendBody(dst, `"responseObject":`, e.ResponseObject, false)
	dst = appendTime(dst, `"requestReceivedTimestamp":`, e.RequestReceived)
	dst = appendTime(dst, `"stageTimestamp":`, e.StageAt)
	if len(e.Annotations) > 0 {
		var room [16]string
		m, keys := sorted(e.Annotations, room[:0])
		dst = append(comma(dst), `"annotations":{`...)
		for _, key := range keys {
			dst = append(quote(comma(dst), key), ':')
			dst = quote(dst, m[key])
		}
		dst = append(dst, '}')
	}
	if len(e.Redactions) > 0 {
		dst = append(comma(dst), `"redactions":[`...)
		for i, r := range e.Redactions {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"path":`...)
			dst = append(quote(dst, r.Path), `,"commitment":`...)
			dst = append(quote(dst, r.Commitment), '}')
		}
		dst = append(dst, ']')
	}
	dst = appendBody(dst, `"more":`, e.More, true)
	return append(dst, '}')
}

// comma appends one unless the object begins here.
func comma(dst []byte) []byte {
	if dst[len(dst)-1] == '{' {
		return dst
	}
	return append(dst, ',')
}

func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return quote(append(comma(dst), name...), value)
}

func appendList(dst []byte, values []string) []byte {
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = quote(dst, v)
	}
	return append(dst, ']')
}

func appendTexts(dst []byte, name string, values []string) []byte {
	if len(values) == 0 {
		return dst
	}
	return appendList(append(comma(dst), name...), values)
}

// object appends what members writes as an object, or nothing where that is nothing.
func object(dst []byte, name string, members func(dst []byte) []byte) []byte {
	before := len(dst)
	dst = append(append(comma(dst), name...), '{')
	empty := len(dst)
	if dst = members(dst); len(dst) == empty {
		return dst[:before]
	}
	return append(dst, '}')
}

func appendUser(dst []byte, name string, u *User) []byte {
	return object(dst, name, func(dst []byte) []byte {
		dst = appendText(dst, `"username":`, u.Username)
		dst = appendText(dst, `"uid":`, u.UID)
		dst = appendTexts(dst, `"groups":`, u.Groups)
		if len(u.Extra) == 0 {
			return dst
		}
		return object(dst, `"extra":`, func(dst []byte) []byte {
			var room [16]string
			m, keys := sorted(u.Extra, room[:0])
			for _, key := range keys {
				if len(m[key]) > 0 {
					dst = append(quote(comma(dst), key), ':')
					dst = appendList(dst, m[key])
				}
			}
			return dst
		})
	})
}

func appendObjectRef(dst []byte, o *ObjectRef) []byte {
	return object(dst, `"objectRef":`, func(dst []byte) []byte {
		dst = appendText(dst, `"apiGroup":`, o.APIGroup)
		dst = appendText(dst, `"apiVersion":`, o.APIVersion)
		dst = appendText(dst, `"resource":`, o.Resource)
		dst = appendText(dst, `"subresource":`, o.Subresource)
		dst = appendText(dst, `"namespace":`, o.Namespace)
		dst = appendText(dst, `"name":`, o.Name)
		dst = appendText(dst, `"uid":`, o.UID)
		return appendText(dst, `"resourceVersion":`, o.ResourceVersion)
	})
}

func appendStatus(dst []byte, s *Status) []byte {
	return object(dst, `"responseStatus":`, func(dst []byte) []byte {
		if s.Code != 0 {
			dst = strconv.AppendInt(append(comma(dst), `"code":`...), int64(s.Code), 10)
		}
		dst = appendText(dst, `"status":`, s.Status)
		dst = appendText(dst, `"reason":`, s.Reason)
		return appendText(dst, `"message":`, s.Message)
	})
}

// appendBody appends JSON that should be canonical, and makes it so if it is not. A
// null is as good as nothing.
func appendBody(dst []byte, name string, raw []byte, asObject bool) []byte {
	if len(raw) == 0 {
		return dst
	}
	before := len(dst)
	dst = append(comma(dst), name...)
	from := len(dst)
	c := Cursor{data: raw}
	dst, err := c.AppendValue(dst)
	if err == nil {
		err = c.End()
	}
	switch {
	case err == nil && (string(dst[from:]) == "null" || asObject && string(dst[from:]) == "{}"):
		return dst[:before]
	case asObject && (err != nil || dst[from] != '{'):
		dst = append(dst[:from], `{"value":`...)
		return append(quote(dst, raw), '}')
	case err != nil:
		return quote(dst[:from], raw)
	}
	return dst
}

// appendTime writes what Format would, a few times faster. A year that RFC 3339 does
// not have is no time.
func appendTime(dst []byte, name string, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	micros := t.Nanosecond() / 1000
	if (year == 1 && t.Truncate(time.Microsecond).IsZero()) || year < 0 || year > 9999 {
		return dst
	}
	dst = append(append(comma(dst), name...), '"')
	dst = digits(dst, year, 1000)
	dst = digits(append(dst, '-'), int(month), 10)
	dst = digits(append(dst, '-'), day, 10)
	dst = digits(append(dst, 'T'), hour, 10)
	dst = digits(append(dst, ':'), minute, 10)
	dst = digits(append(dst, ':'), second, 10)
	dst = digits(append(dst, '.'), micros, 100000)
	return append(dst, 'Z', '"')
}

// digits appends n with as many digits as place has.
func digits(dst []byte, n, place int) []byte {
	for ; place > 0; place /= 10 {
		dst = append(dst, byte('0'+n/place%10))
	}
	return dst
}

// sorted gives the map's keys in order, in keys' memory if they fit.
func sorted[V any](m map[string]V, keys []string) (map[string]V, []string) {
	valid := true
	for key := range m {
		valid = valid && utf8.ValidString(key)
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if valid {
		return m, keys
	}
	// Two keys that are no UTF-8 may read the same once they are; both are kept.
	m2 := make(map[string]V, len(m))
	for _, key := range keys {
		name := string([]rune(key))
		for _, taken := m2[name]; taken; _, taken = m2[name] {
			name += "\uFFFD"
		}
		m2[name] = m[key]
	}
	return m2, slices.Sorted(maps.Keys(m2))
}
