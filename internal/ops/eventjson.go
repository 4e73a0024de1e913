package ops

import (
	"strconv"
	"time"
	"unicode/utf8"

	"bulwark.dev/bulwark"
)

// AppendEvent appends e as the event log has it: one JSON object and the end of the
// line.
func AppendEvent(b []byte, e *bulwark.Event) []byte { return appendEvent(b, e) }

// appendEvent writes e as one JSON line. Written by hand because every request
// pays for it; the form is documented in docs/events.md.
func appendEvent(b []byte, e *bulwark.Event) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	b = field(b, "requestId", e.RequestID)
	b = field(b, "traceId", e.TraceID)
	b = field(b, "auditId", e.AuditID)
	decision := "refused"
	if e.Decision.Allowed {
		decision = "allowed"
	}
	b = field(b, "decision", decision)
	b = field(b, "code", string(e.Decision.Code))
	b = number(b, "status", int64(e.Status))
	b = field(b, "rule", e.Decision.Rule)
	b = field(b, "reason", e.Decision.Reason)
	if i := e.Identity; i.Known() {
		b = append(b, `,"identity":{"method":`...)
		b = quote(b, i.Method)
		b = field(b, "name", i.Name)
		b = field(b, "issuer", i.Issuer)
		b = list(b, "roles", i.Roles)
		b = list(b, "groups", i.Groups)
		b = append(b, '}')
	}
	b = field(b, "sourceIP", e.SourceIP)
	b = field(b, "method", e.Method)
	b = field(b, "scheme", e.Scheme)
	b = field(b, "host", e.Host)
	b = field(b, "path", e.Path)
	b = field(b, "sentPath", e.SentPath)
	b = field(b, "protocol", e.Protocol)
	b = field(b, "listener", e.Listener)
	b = field(b, "route", e.Route)
	b = field(b, "backend", e.Backend)
	b = number(b, "bytesIn", e.BytesIn)
	b = number(b, "bytesOut", e.BytesOut)
	b = micros(b, "durationUs", e.Duration)
	b = micros(b, "upstreamUs", e.Upstream)
	b = micros(b, "queuedUs", e.Queued)
	b = field(b, "error", e.Error)
	return append(b, "}\n"...)
}

func key(b []byte, name string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// field writes a member, or nothing where the value is empty.
func field(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return quote(key(b, name), value)
}

func list(b []byte, name string, values []string) []byte {
	if len(values) == 0 {
		return b
	}
	b = append(key(b, name), '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = quote(b, v)
	}
	return append(b, ']')
}

func number(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(key(b, name), n, 10)
}

func micros(b []byte, name string, d time.Duration) []byte {
	if d <= 0 {
		return b
	}
	return number(b, name, d.Microseconds())
}

// quote writes s as a JSON string. What is no UTF-8 becomes U+FFFD; control
// characters and the line separators that JavaScript trips over are escaped.
func quote(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[from:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[from:i]...), `\ufffd`...)
			from = i + n
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[from:i]...), '\\', 'u', '2', '0', '2', hex[r&15])
			from = i + n
		}
		i += n
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}
