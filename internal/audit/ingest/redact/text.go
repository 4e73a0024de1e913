package redact

import (
	"slices"
	"strings"

	"bulwark.dev/bulwark"
)

// span is a part of a text.
type span struct{ from, to int }

// looking says what is looked for in a text besides shapes, private keys and URLs
// with a password.
type looking struct {
	// assigned takes out what stands after a sensitive name and = or :.
	assigned bool
	// names is how much a name alone says.
	names breadth
	// prose takes out after a colon only what stands as in JSON.
	prose bool
	// commands takes out what follows flags.
	commands bool
	// unpacked counts the encodings that were taken off the text before.
	unpacked int
}

// scan finds the secrets in a text, in order and without overlap. A text that is made
// to take long is one secret as a whole.
func scan(s string, how looking) []span {
	c := scanner{s: s, how: how, most: 8*len(s) + 1<<16}
	for i := 0; i < len(s); {
		if c.cost > c.most {
			return []span{{0, len(s)}}
		}
		i = c.step(i)
	}
	if at := strings.Index(s, decoderContext); at >= 0 {
		c.found = merge(c.found, []span{{at + len(decoderContext), len(s)}})
	}
	if how.commands && strings.Contains(s, " ") {
		c.found = merge(c.found, commandLine(s, 0))
	}
	if how.unpacked < mostUnpacked && len(s) >= leastToken {
		c.found = merge(c.found, unpack(s, how))
	}
	return c.found
}

// decoderContext stands before the part of a body that a decoder of an API server
// quotes when it fails.
const decoderContext = " byte of ...|"

// scanner is a look through one text.
type scanner struct {
	s     string
	how   looking
	found []span
	// cost is how many bytes were looked at ahead of the place, or behind it.
	cost, most int
}

// add notes a secret and gives its end.
func (c *scanner) add(from, to int) int {
	if c.s[from:to] != bulwark.Redacted {
		c.found = append(c.found, span{from, to})
	}
	return to
}

// step looks at what stands at i, and gives where to go on.
func (c *scanner) step(i int) int {
	from, to := 0, 0
	switch b := c.s[i]; {
	case alnum(b): // a word begins
		if from, to = c.known(i); from < to {
			break
		}
		begin := i
		for i++; i < len(c.s) && alnum(c.s[i]); {
			i++
		}
		if i-begin != bootstrapID {
			return i
		}
		if from, to = begin, begin+bootstrapToken(c.s[begin:]); begin > 0 && strings.IndexByte("._-/", c.s[begin-1]) >= 0 || from == to {
			return i
		}
	case b == '-':
		from, to = i, i+privateKey(c.s[i:])
	case b == ':' && strings.HasPrefix(c.s[i:], "://"):
		from, to = c.userinfo(i + 3)
	case b == ':' && c.how.assigned:
		from, to = c.colon(i)
	case b == '=' && c.how.assigned:
		from, to = c.equals(i)
	case b == '@':
		// The colon before it may have been the end of a name.
		if from, to = c.dsn(i); from < to && (len(c.found) == 0 || c.found[len(c.found)-1].to <= from) {
			c.add(from, to)
		}
		return i + 1
	case (b == '\'' || b == '"') && c.how.assigned:
		from, to = i+1, sql(c.s, i)
	case b == '>' && c.how.assigned:
		from, to = c.element(i)
	case b == '$':
		from, to = i, i+passwordHash(c.s[i:])
	}
	if from < to {
		return c.add(from, to)
	}
	return i + 1
}

// known finds a token that begins with the word at i. The first two bytes say no of
// nearly all words.
func (c *scanner) known(i int) (int, int) {
	from := i
	if i > 0 && c.s[i-1] == '\\' {
		from++ // what a backslash escapes is no part of it
	}
	if from+8 > len(c.s) {
		return 0, 0
	}
	if strings.HasPrefix(c.s[from:], webSocketProtocol) {
		from += len(webSocketProtocol)
		return from, from + run(c.s[from:], word)
	}
	switch uint16(c.s[from])<<8 | uint16(c.s[from+1]) {
	case 'e'<<8 | 'y', 'A'<<8 | 'K', 'A'<<8 | 'S', 'A'<<8 | 'I', 'A'<<8 | 'G', 'g'<<8 | 'h', 'g'<<8 | 'i', 'g'<<8 | 'l', 'x'<<8 | 'o', 'x'<<8 | 'a',
		's'<<8 | 'k', 's'<<8 | '.', 'r'<<8 | 'k', 'h'<<8 | 'v', 'h'<<8 | 'o', 'n'<<8 | 'p', 'p'<<8 | 'y', 'd'<<8 | 'o', 'd'<<8 | 'c', 'd'<<8 | 'i', 'y'<<8 | 'a',
		'G'<<8 | 'O', 'S'<<8 | 'G', 'L'<<8 | 'S', 'B'<<8 | 'e', 'b'<<8 | 'e', 'B'<<8 | 'E', 'B'<<8 | 'a', 'b'<<8 | 'a', 'B'<<8 | 'A':
	default:
		return 0, 0
	}
	n := tokenAt(c.s[from:])
	if n == 0 {
		c.cost += run(c.s[from:], base)
		return 0, 0
	}
	if b := c.s[from]; b != 'B' && b != 'b' {
		return from, from + n
	}
	return from + strings.IndexByte(c.s[from:from+n], ' ') + 1, from + n // the scheme's name stays
}

// merge puts spans in order and joins those that overlap.
func merge(a, b []span) []span {
	if len(b) == 0 {
		return a
	}
	all := append(slices.Clip(a), b...)
	sortSpans(all)
	out := all[:1]
	for _, s := range all[1:] {
		if last := &out[len(out)-1]; s.from < last.to {
			last.to = max(last.to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// cut replaces spans of a text.
func cut(s string, found []span) string {
	if len(found) == 0 {
		return s
	}
	var b strings.Builder
	done := 0
	for _, f := range found {
		b.WriteString(s[done:f.from])
		b.WriteString(bulwark.Redacted)
		done = f.to
	}
	b.WriteString(s[done:])
	return b.String()
}

// privateKey gives the length of a private key in PEM or of PGP; one without an end
// goes on to the end of the text.
func privateKey(s string) int {
	const begin = "-----BEGIN "
	if !strings.HasPrefix(s, begin) {
		return 0
	}
	head := s[:min(len(s), 80)]
	if i := strings.Index(head[len(begin):], "PRIVATE KEY"); i < 0 || strings.Contains(head[len(begin):len(begin)+i], "-----") {
		return 0
	}
	end := strings.Index(s, "-----END ")
	if end < 0 {
		return len(s)
	}
	if close := strings.Index(s[end+len("-----END "):], "-----"); close >= 0 {
		return end + len("-----END ") + close + len("-----")
	}
	return len(s)
}

// userinfo finds the password in a URL whose authority begins at from.
func (c *scanner) userinfo(from int) (int, int) {
	s := c.s
	stop := func(i int, set string) int {
		if j := strings.IndexAny(s[i:], set); j >= 0 {
			return i + j
		}
		return len(s)
	}
	const ends = " \t\r\n\"'<>`"
	all := stop(from, ends)
	c.cost += all - from
	at := strings.IndexByte(s[from:all], '@')
	if at < 0 {
		return 0, 0
	}
	at += from
	colon := strings.IndexByte(s[from:at], ':')
	slash := strings.IndexByte(s[from:at], '/')
	if colon < 0 || slash >= 0 && slash < colon {
		// A token alone may stand where the user does; git is what people mostly write.
		if slash < 0 && at-from >= 20 && mixed(s[from:at]) {
			return from, at
		}
		return 0, 0
	}
	colon += from
	if slash >= 0 && run(s[colon+1:], digit) == from+slash-colon-1 {
		return 0, 0 // a port, and the @ stands in the path
	}
	// The last @ of the authority ends the password, which may have one in it.
	authority := min(stop(at, "/?#"), all)
	last := at + strings.LastIndexByte(s[at:authority], '@')
	if !worth(s[colon+1 : last]) {
		return 0, 0
	}
	return colon + 1, last
}

// dsn finds the password in user:password@tcp(host), where there is no scheme, and in
// jdbc:oracle:thin:user/password@host.
func (c *scanner) dsn(at int) (int, int) {
	s := c.s
	oracle := strings.Contains(s[max(0, at-near):at], "jdbc:oracle:")
	if !oracle && !strings.HasPrefix(s[at:], "@tcp(") && !strings.HasPrefix(s[at:], "@unix(") {
		return 0, 0
	}
	begin := strings.LastIndexAny(s[:at], " \t\r\n\"'=") + 1
	c.cost += at - begin
	sign := byte(':')
	if oracle {
		sign = '/'
	}
	i := strings.IndexByte(s[begin:at], sign)
	if i < 0 {
		return 0, 0
	}
	return begin + i + 1, at
}

// sql gives the end of a quoted password in a statement; the quote is at i.
func sql(s string, i int) int {
	before := s[max(0, i-96):i]
	if n := len(before); n > 1 && strings.IndexByte("EeNn", before[n-1]) >= 0 && strings.IndexByte(" (=", before[n-2]) >= 0 {
		before = before[:n-1] // the quotes of PostgreSQL's escapes and of wide texts
	}
	bare := strings.TrimRight(before, " (=")
	if len(bare) == len(before) {
		return 0 // the end of a name, mostly
	}
	bare = strings.ToLower(bare)
	if !strings.HasSuffix(bare, "password") && (!strings.HasSuffix(bare, " by") || !strings.Contains(bare, "identified")) {
		return 0
	}
	if end := strings.IndexByte(s[i+1:], s[i]); end >= 0 {
		return i + 1 + end
	}
	return len(s)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
