package leak

import "strings"

// pairs finds names of secrets with their values in a longer text: properties,
// YAML, JSON, connection strings, query strings, scripts. known are what was found
// there by format; their places are left alone.
func pairs(text string, known []hit) []hit {
	var out []hit
	k := 0
	for i := 0; i < len(text); i++ {
		if c := text[i]; c != '=' && c != ':' {
			continue
		}
		name := nameBefore(text, i)
		if name == "" {
			continue
		}
		secret, password := secretName(name)
		if !secret {
			continue
		}
		begin, end := valueAfter(text, i+1)
		if begin == end {
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
			if len(out) >= maxHits {
				break
			}
		}
		if ok {
			i = end - 1
		}
	}
	return out
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

// valueAfter gives where the value behind a separator stands: a quoted text, or what
// comes up to the next space or mark.
func valueAfter(text string, i int) (begin, end int) {
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
		if end >= limit || text[end] != q {
			return i, i
		}
		if rest := strings.TrimLeft(text[end+1:min(len(text), end+8)], " "); rest != "" && (rest[0] == '+' || rest[0] == '.' || rest[0] == '%') {
			return i, i // an expression
		}
		return begin, end
	}
	begin = i
	for end = begin; end < limit; end++ {
		switch text[end] {
		case ' ', '\t', '\n', '\r', '"', '\'', ';', '&', '<', '|', '\\':
			return begin, end
		case ',':
			if end+1 >= len(text) || text[end+1] == ' ' || text[end+1] == '\n' {
				return begin, end
			}
		}
	}
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

// shown gives a name in a form that is safe to print: names are short and of plain
// letters, and what only looks like one is cut.
func shown(name string) string {
	if len(name) > 40 {
		name = "…" + name[len(name)-39:]
	}
	return name
}
