package redact

import (
	"cmp"
	"slices"
	"strings"
)

// nameBefore gives where the name begins and ends that stands before i, and whether
// quotes are around it.
func nameBefore(s string, i int) (from, to int, isQuoted bool) {
	to = i
	for to > 0 && (s[to-1] == ' ' || s[to-1] == '\t') {
		to--
	}
	for to > 0 && strings.IndexByte("\"'\\]", s[to-1]) >= 0 {
		isQuoted = isQuoted || s[to-1] != ']'
		to--
	}
	from = to
	for from > 0 && to-from < 128 && (alnum(s[from-1]) || strings.IndexByte("_-./", s[from-1]) >= 0) {
		from--
	}
	return from, to, isQuoted
}

// equals finds the value of a sensitive name before the = at i.
func (c *scanner) equals(i int) (int, int) {
	s, names := c.s, c.how.names
	if i+1 < len(s) && s[i+1] == '=' || i > 0 && strings.IndexByte("=!<>", s[i-1]) >= 0 {
		return 0, 0 // a comparison
	}
	end := i
	if i > 0 && s[i-1] == ':' {
		end--
	}
	from, to, _ := nameBefore(s, end)
	name := s[from:to]
	if name == "value" {
		name = c.attribute(from)
	}
	if !sensitive(name, names) {
		return 0, 0
	}
	begin := i + 1
	if begin < len(s) && s[begin] == '>' {
		begin++
	}
	spaced := begin < len(s) && s[begin] == ' '
	begin += run(s[begin:], blank)
	if begin+1 < len(s) && s[begin+1] == '\'' && strings.IndexByte("EeNn", s[begin]) >= 0 {
		begin++ // as SQL writes some texts
	}
	if from, to, ok := quotedValue(s, begin); ok {
		c.cost += to - from
		return worthy(s, from, to)
	}
	stop := "&; \t\r\n\"'`"
	if firstInLine(s, from) {
		stop = " \t\r\n"
		if spaced {
			stop = "\r\n" // as in an INI file
		}
	}
	value := begin + run(s[begin:], func(c byte) bool { return strings.IndexByte(stop, c) < 0 })
	c.cost += value - begin
	return worthy(s, begin, value)
}

// colon finds the value of a sensitive name before the colon at i, as in YAML, JSON
// and headers. Prose has colons too, so the name must begin a line or an element.
func (c *scanner) colon(i int) (int, int) {
	s, names := c.s, c.how.names
	from, to, isQuoted := nameBefore(s, i)
	name := strings.TrimPrefix(s[from:to], "-H")
	if name == "value" {
		name = c.pairName(from)
	}
	header := headerName(name)
	if !header && !sensitive(name, names) {
		return 0, 0
	}
	open, flow := byte(0), isQuoted
	if before := strings.TrimRight(s[:from], " \t"); before != "" {
		switch last := before[len(before)-1]; last {
		case '{', ',', '[', '(':
			flow = true
		case '"', '\'', '`':
			open = last
		case '\n', '-':
		default:
			if !header {
				return 0, 0
			}
		}
	}
	begin := i + 1
	tight := begin < len(s) && !blank(s[begin]) && strings.IndexByte("\n\"'\\", s[begin]) < 0
	if tight && !header && !isQuoted && names == narrow {
		return 0, 0
	}
	begin += run(s[begin:], blank)
	if begin >= len(s) || s[begin] == '{' || s[begin] == '[' {
		return 0, 0
	}
	if c.how.prose && !header && !tight && strings.IndexByte("\"'\\", s[begin]) < 0 {
		return 0, 0 // secrets "db-password": the object has been modified
	}
	if from, to, ok := quotedValue(s, begin); ok {
		c.cost += to - from
		return worthy(s, from, to)
	}
	if s[begin] == '\n' && !flow {
		next, _, _ := strings.Cut(s[begin+1:min(len(s), begin+1+near)], "\n")
		if c.cost += len(next); strings.IndexByte(next, ':') >= 0 {
			return 0, 0 // an object
		}
		from, to := block(s, from, begin)
		c.cost += max(to-from, 0)
		return from, to
	}
	if s[begin] == '|' || s[begin] == '>' {
		from, to := block(s, from, begin)
		c.cost += to - from
		return from, to
	}
	stop := "\r\n"
	if flow {
		stop += ",}]"
	}
	if open != 0 && !isQuoted {
		stop += string(open)
	}
	end := begin + run(s[begin:], func(c byte) bool { return strings.IndexByte(stop, c) < 0 })
	c.cost += end - begin
	if comment := strings.Index(s[begin:end], " #"); comment >= 0 {
		end = begin + comment
	}
	end = begin + len(strings.TrimRight(s[begin:end], " \t\",'"))
	if strings.HasSuffix(strings.ToLower(name), "authorization") {
		if space := strings.IndexByte(s[begin:end], ' '); space > 0 && space <= len("AWS4-HMAC-SHA256") {
			begin += space + 1 // the scheme stays
		}
	}
	return worthy(s, begin, end)
}

// headerName tells headers that carry credentials.
func headerName(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "x-vault-token",
		"private-token", "x-gitlab-token", "x-amz-security-token", "x-access-token", "x-csrf-token", "apikey", "api-key":
		return true
	}
	return false
}

// pairName gives the name of a YAML object whose value stands at i, in the same line or
// the one before: - name: password.
func (c *scanner) pairName(i int) string {
	before := c.s[max(0, i-near):i]
	line := max(strings.LastIndexByte(before, '\n'), 0)
	before = before[strings.LastIndexByte(before[:line], '\n')+1:]
	at := max(strings.LastIndex(before, "name:"), strings.LastIndex(before, "key:"))
	c.cost += len(before)
	if at < 0 {
		return ""
	}
	_, text, _ := strings.Cut(before[at:], ":")
	end := strings.IndexAny(text, "\n,")
	if end < 0 || strings.Trim(text[end+1:], " \t\"'") != "" {
		return ""
	}
	return strings.Trim(text[:end], " \t\r\"'")
}

// quotedValue gives what is between quotes that open at i, also with backslashes before
// them, as JSON in a JSON string has it. Without an end it is all the rest.
func quotedValue(s string, i int) (from, to int, ok bool) {
	if i >= len(s) {
		return 0, 0, false
	}
	depth := run(s[i:], backslash)
	at := i + depth
	if at >= len(s) || s[at] != '"' && s[at] != '\'' && s[at] != '`' {
		return 0, 0, false
	}
	quote := s[at]
	from = at + 1
	for to = from; to < len(s); to++ {
		if s[to] == quote {
			break
		}
		if s[to] != '\\' || quote == '\'' && depth == 0 {
			continue
		}
		n := run(s[to:], backslash)
		if end := to + n; end < len(s) && s[end] == quote && (depth > 0 && n <= depth || depth == 0 && n%2 == 0) {
			if depth == 0 {
				to = end
			}
			break
		}
		to += n // and what they escape
	}
	to = min(to, len(s))
	if depth > 0 || quote == '`' || to+1 >= len(s) {
		return from, to, true
	}
	if next := s[to+1]; alnum(next) || strings.IndexByte("\"'\\", next) >= 0 { // a shell goes on with the word
		end := to + 1 + run(s[to+1:], func(c byte) bool { return strings.IndexByte(" \t\r\n;,(){}[]&|<>", c) < 0 })
		to = max(to, from+len(strings.TrimRight(s[from:end], "\"'")))
	}
	return from, to, true
}

func backslash(c byte) bool { return c == '\\' }

// element finds the value of an element of XML whose opening tag ends at i.
func (c *scanner) element(i int) (int, int) {
	s := c.s
	from, to, _ := nameBefore(s, i)
	if to != i || from == to || from == 0 || s[from-1] != '<' {
		return 0, 0
	}
	if name := s[from:to]; !sensitive(name, c.how.names) {
		if name != "value" {
			return 0, 0
		}
		// <name>password</name><value>...
		near := s[max(0, from-near):from]
		at := strings.LastIndex(near, "<name>")
		c.cost += len(near) - max(at, 0)
		if at < 0 {
			return 0, 0
		}
		called, _, _ := strings.Cut(near[at+len("<name>"):], "<")
		if !sensitive(called, broad) {
			return 0, 0
		}
	}
	end := i + 1 + run(s[i+1:], func(c byte) bool { return c != '<' })
	c.cost += end - i
	if !strings.HasPrefix(s[end:], "</") {
		return 0, 0
	}
	return worthy(s, i+1, end)
}

// near is how far before a value its name is looked for.
const near = 256

// attribute gives the name that a tag says its value has: <add key="password" value=.
func (c *scanner) attribute(i int) string {
	before := c.s[max(0, i-near):i]
	tag := before[strings.LastIndexByte(before, '<')+1:]
	c.cost += len(tag)
	for _, name := range [...]string{" name=", " key="} {
		at := strings.LastIndex(tag, name)
		if at < 0 {
			continue
		}
		if from, to, ok := quotedValue(tag, at+len(name)); ok {
			return tag[from:to]
		}
	}
	return ""
}

// block gives the lines of a YAML block below a name: those indented further.
func block(s string, name, begin int) (int, int) {
	first := strings.IndexByte(s[begin:], '\n')
	if first < 0 {
		return worthy(s, begin, len(s))
	}
	if strings.Trim(s[begin:begin+first], "|>+-0123456789 \t\r") != "" {
		return worthy(s, begin, begin+first) // no block: a value that begins so
	}
	line := strings.LastIndexByte(s[:name], '\n') + 1
	indent := run(s[line:], blank)
	from := begin + first + 1
	to := from
	for to < len(s) {
		next := len(s)
		if i := strings.IndexByte(s[to:], '\n'); i >= 0 {
			next = to + i + 1
		}
		if strings.TrimSpace(s[to:next]) != "" && run(s[to:], blank) <= indent {
			break
		}
		to = next
	}
	from += run(s[from:to], blank)
	return worthy(s, from, from+len(strings.TrimRight(s[from:to], " \t\r\n")))
}

// firstInLine reports whether nothing that counts stands before i in its line.
func firstInLine(s string, i int) bool {
	const most = 64 // indentation that is looked at
	near := s[max(0, i-most):i]
	line := strings.LastIndexByte(near, '\n') + 1
	if line == 0 && i > most {
		return false
	}
	switch strings.Trim(near[line:], " \t-") {
	case "", "export", "set", "ENV", "ARG":
		return true
	}
	return false
}

// worthy is the span of a value, or none where it cannot be a secret: references to
// variables are none.
func worthy(s string, from, to int) (int, int) {
	if from >= to || !worth(s[from:to]) {
		return 0, 0
	}
	v := strings.TrimRight(s[from:to], ";&")
	if len(v) > 1 && v[0] == '$' && (v[1] == '(' || run(v[1:], func(c byte) bool { return c == '_' || upper(c) }) == len(v)-1) {
		return 0, 0
	}
	return from, to
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func sortSpans(spans []span) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from-b.from, a.to-b.to) })
}
