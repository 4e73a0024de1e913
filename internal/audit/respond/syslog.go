package respond

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"bulwark.dev/bulwark"
)

// Syslog tells a syslog server, with messages of RFC 5424: over UDP one datagram
// each (RFC 5426), over TCP and TLS counted in octets (RFC 6587, RFC 5425).
type Syslog struct {
	network, address string
	secure           *tls.Config // nil: no TLS
	host             string
}

// The parts of a priority: facility 13 is "log audit".
const (
	facility      = 13
	datagramMost  = 8 << 10
	syslogTimeout = 10 * time.Second
)

// NewSyslog makes one for udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT. Host
// is what messages say that they come from.
func NewSyslog(to, host string, secure *tls.Config) (*Syslog, error) {
	u, err := url.Parse(to)
	if err != nil || u.Port() == "" || u.Hostname() == "" || u.Path != "" {
		return nil, fmt.Errorf("syslog: %q: expected udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT", to)
	}
	r := &Syslog{network: u.Scheme, address: u.Host, host: header(host)}
	switch u.Scheme {
	case "udp", "tcp":
	case "tls":
		if secure == nil {
			return nil, errors.New("syslog: tls needs a TLS configuration")
		}
		r.network, r.secure = "tcp", secure.Clone()
		if r.secure.ServerName == "" {
			r.secure.ServerName = u.Hostname()
		}
	default:
		return nil, fmt.Errorf("syslog: %q: expected udp, tcp or tls before ://", to)
	}
	return r, nil
}

// Tell sends one message on a connection of its own: alerts are few, and a
// connection that was kept may have lost what was written last.
func (r *Syslog) Tell(ctx context.Context, a *Alert) error {
	ctx, cancel := context.WithTimeout(ctx, syslogTimeout)
	defer cancel()
	var c net.Conn
	var err error
	if r.secure != nil {
		c, err = (&tls.Dialer{Config: r.secure}).DialContext(ctx, r.network, r.address)
	} else {
		c, err = (&net.Dialer{}).DialContext(ctx, r.network, r.address)
	}
	if err != nil {
		return fmt.Errorf("connect to syslog server %s: %w", r.address, err)
	}
	message := r.message(a)
	if r.network == "udp" {
		message = cut(message, datagramMost)
	} else {
		message = fmt.Sprintf("%d %s", len(message), message)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline) // a connection that takes none fails when it is written to
	}
	_, err = c.Write([]byte(message))
	if err := errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("write to syslog server %s: %w", r.address, err)
	}
	return nil
}

// message is one message of RFC 5424. The id of its structured data uses the number
// that RFC 5612 keeps for documentation, as Bulwark has none of its own.
func (r *Syslog) message(a *Alert) string {
	level := map[bulwark.Severity]int{bulwark.SeverityCritical: 2, bulwark.SeverityHigh: 3, bulwark.SeverityMedium: 4, bulwark.SeverityLow: 5, bulwark.SeverityInfo: 6}[a.Severity]
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s bulwark - %s [bulwark@32473", facility*8+level, a.Time.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), r.host, header(cut(a.Rule, 32)))
	for _, p := range [][2]string{{"id", a.ID}, {"severity", a.Severity.String()}, {"actor", a.Actor}, {"cluster", a.Cluster}, {"evidence", numbers(a.Evidence)}, {"tags", strings.Join(a.Tags, " ")}} {
		if p[1] != "" {
			fmt.Fprintf(&b, ` %s="%s"`, p[0], parameter.Replace(line(p[1])))
		}
	}
	b.WriteString("] \ufeff" + line(a.Title+": "+a.Summary))
	return b.String()
}

// parameter escapes what RFC 5424 asks to be escaped in a parameter's value.
var parameter = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`) //nolint:gochecknoglobals // read only

// header makes a text fit for a field of the header: printable ASCII without spaces.
func header(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s
}

// line takes control characters out: a message is one line.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// cut shortens to at most n bytes, at the end of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
