package leak

import "strings"

// pairs finds names of secrets with their values in a longer text: properties,
// YAML, JSON, XML, connection strings, query strings, scripts. known are what was
// found there by format; their places are left alone.
func pairs(s *source, known []hit) []hit {
	text := s.text
	var out []hit
	var last label
	var words lookup
	k := 0
	for i := 0; i < len(text); i++ {
		var name string
		switch text[i] {
		case '=', ':':
			name = nameBefore(text, i)
			last.note(&words, s, name, i)
			name = last.of(name, i)
		case '>':
			name = element(text, i)
		case ' ':
			name = flagBefore(text, i)
		}
		if name == "" {
			continue
		}
		secret, password := words.secretName(name)
		if !secret {
			continue
		}
		value := words.valueAfter
		if text[i] == '>' {
			value = inside
		}
		begin, end := value(s, i+1)
		if begin == end || strings.EqualFold(text[begin:end], name) {
			continue
		}
		for k < len(known) && known[k].end <= begin {
			k++
		}
		if k < len(known) && known[k].at < end {
			i = max(i, min(end, known[k].end)-1)
			continue
		}
		kind, severity, ok := named(text[begin:end], password, true)
		if ok && !comment(text, i) {
			out = append(out, hit{kind + " named " + shown(name), severity, begin, end, end - begin})
			if len(out) >= maxPairs {
				break
			}
		}
		if ok {
			i = end - 1
		}
	}
	return out
}

// maxPairs is how many named secrets of one text are told of.
const maxPairs = 100

// label is the name in a pair of fields, name and value, as in lists of variables and
// in the configuration of Java.
type label struct {
	text string
	end  int
}

// note remembers the value of a field that is called name or key.
func (l *label) note(words *lookup, s *source, name string, sep int) {
	if !strings.EqualFold(name, "name") && !strings.EqualFold(name, "key") {
		return
	}
	begin, end := words.valueAfter(s, sep+1)
	l.text, l.end = s.text[begin:end], end
}

// of gives the label in place of the name of a field that is called value.
func (l *label) of(name string, sep int) string {
	const near = 120
	if !strings.EqualFold(name, "value") || l.text == "" || sep-l.end > near {
		return name
	}
	text := l.text
	l.text = ""
	return text
}

// element gives the name of an element of XML whose beginning ends at a place: what
// it is called or, for those that are all called alike, what its name or key says.
func element(text string, end int) string {
	const most = 160
	begin := end
	for begin > 0 && end-begin < most && text[begin-1] != '<' && text[begin-1] != '>' && text[begin-1] != '\n' {
		begin--
	}
	if begin == 0 || begin == end || text[begin-1] != '<' || strings.IndexByte("/!?-=%", text[begin]) >= 0 || strings.IndexByte("/-=?%", text[end-1]) >= 0 {
		return ""
	}
	name, attributes, _ := strings.Cut(text[begin:end], " ")
	for _, attribute := range [...]string{"name=\"", "key=\""} {
		if _, rest, ok := strings.Cut(attributes, attribute); ok {
			name, _, _ = strings.Cut(rest, "\"")
			break
		}
	}
	return name
}

// inside gives what stands in an element of XML, nothing if there are elements in it.
func inside(s *source, i int) (begin, end int) {
	rest := s.text[i:min(len(s.text), i+maxValue)]
	n := strings.IndexByte(rest, '<')
	s.look(max(n, 0))
	if n < 0 || !strings.HasPrefix(rest[n:], "</") {
		return i, i
	}
	value := strings.TrimSpace(rest[:n])
	begin = i + strings.Index(rest[:n], value)
	return begin, begin + len(value)
}

// flagBefore gives the name of an option whose value follows after a space, or of one
// of the settings that programs write so.
func flagBefore(text string, space int) string {
	begin := space
	for begin > 0 && space-begin < 64 && classes[text[begin-1]]&nameByte != 0 {
		begin--
	}
	word := text[begin:space]
	switch {
	case word == "requirepass" || word == "masterauth":
		if begin == 0 || text[begin-1] == '\n' {
			return word
		}
	case strings.HasPrefix(word, "--") && (begin == 0 || classes[text[begin-1]]&dot == 0):
		return strings.TrimLeft(word, "-")
	}
	return ""
}

// nameBefore gives the name that ends before a separator, quoted or not.
func nameBefore(text string, sep int) string {
	end := sep
	for end > 0 && sep-end < 4 && (text[end-1] == ' ' || text[end-1] == '"' || text[end-1] == '\'' || text[end-1] == '\\' || text[end-1] == ':') {
		end--
	}
	begin := end
	for begin > 0 && end-begin < 64 && (classes[text[begin-1]]&nameByte != 0 || text[begin-1] == '.') {
		begin--
	}
	return strings.TrimLeft(text[begin:end], "-.")
}

// maxValue bounds what is looked at behind a name.
const maxValue = 512

// lookup is what is known of a text while its pairs are read, so that a name or a
// stretch without an end is not looked at again and again.
type lookup struct {
	name             string
	secret, password bool
	// unended is up to where no unquoted value ends that begins before.
	unended int
}

func (l *lookup) secretName(name string) (is, password bool) {
	if name != l.name {
		l.secret, l.password = secretName(name)
		l.name = name
	}
	return l.secret, l.password
}

// valueAfter gives where the value behind a separator stands: a quoted text, or what
// comes up to the next space or mark.
func (l *lookup) valueAfter(s *source, i int) (begin, end int) {
	text := s.text
	limit := min(len(text), i+maxValue)
	for i < limit && (text[i] == ' ' || text[i] == '\t' || text[i] == '=' || text[i] == '>') {
		i++
	}
	for i < limit && text[i] == '\\' { // a quote within a quoted text
		i++
	}
	if i >= limit {
		return i, i
	}
	if q := text[i]; q == '"' || q == '\'' || q == '`' {
		begin = i + 1
		for end = begin; end < limit && text[end] != q && text[end] != '\n'; end++ {
			if text[end] == '\\' {
				return begin, end
			}
		}
		s.look(end - begin)
		if end >= limit || text[end] != q {
			return i, i
		}
		if rest := strings.TrimLeft(text[end+1:min(len(text), end+8)], " "); rest != "" && (rest[0] == '+' || rest[0] == '.' || rest[0] == '%') {
			return i, i // an expression
		}
		return begin, end
	}
	begin = i
	from := min(max(begin, l.unended), limit)
	defer func() { s.look(max(end-from, 0)) }()
	for end = from; end < limit; end++ {
		switch text[end] {
		case ' ', '\t', '\n', '\r', '"', '\'', ';', '&', '<', '|', '\\':
			return begin, end
		case ',':
			if end+1 >= len(text) || text[end+1] == ' ' || text[end+1] == '\n' {
				return begin, end
			}
		}
	}
	l.unended = end
	if end < len(text) { // too long to be a value
		return i, i
	}
	return begin, end
}

// comment reports whether the line of a place begins as a comment does.
func comment(text string, at int) bool {
	begin := strings.LastIndexByte(text[max(0, at-200):at], '\n') + 1 + max(0, at-200)
	l := strings.TrimLeft(text[min(begin, at):at], " \t")
	return strings.HasPrefix(l, "#") || strings.HasPrefix(l, "//") || strings.HasPrefix(l, "* ")
}

// shown gives a name in a form that is safe to print: names are short and of words,
// and of what only looks like one, the last word.
func shown(name string) string {
	const most, manyDigits = 40, 4
	n := 0
	for i := range len(name) {
		if classes[name[i]]&digits != 0 {
			n++
		}
	}
	words := split(name)
	if last := len(words) - 1; n > manyDigits && last > 0 {
		name = "…" + words[last]
	}
	if len(name) > most {
		name = "…" + name[len(name)-most+1:]
	}
	return name
}
