// Package nodes reads YAML and JSON text as YAML nodes, which know their place,
// and finds fields in them. The strict reader of policies and the lenient one of
// posture share it.
package nodes

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Chunk is the text of one document.
type Chunk struct {
	// First is the number of its first line in the file, from 1.
	First int
	Text  []byte
}

// Split cuts YAML at its document markers. A "---" or "..." at the start of a
// line is one wherever it stands (YAML 1.2.2, c-forbidden), so no parsing is
// needed, and each document can be read, and remembered, by itself.
func Split(text []byte) []Chunk {
	var out []Chunk
	start, first, line := 0, 1, 0
	flush := func(end, next, nextLine int) {
		if c := bytes.TrimSpace(text[start:end]); len(c) > 0 && string(c) != "---" {
			out = append(out, Chunk{First: first, Text: text[start:end]})
		}
		start, first = next, nextLine
	}
	for at := 0; at < len(text); {
		line++
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		switch l := text[at:end]; {
		case marker(l, "---"):
			flush(at, at, line)
		case marker(l, "..."):
			flush(at, end, line+1)
		}
		at = end
	}
	flush(len(text), len(text), line)
	return out
}

func marker(line []byte, mark string) bool {
	if !bytes.HasPrefix(line, []byte(mark)) {
		return false
	}
	return len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0
}

// CheckText refuses what is not text, before any parser sees it, and gives the
// line. It returns 0 and "" for good text.
func CheckText(text []byte) (line int, message string) {
	for i := 0; i < len(text); {
		if c := text[i]; c != 0 && c < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			return 1 + bytes.Count(text[:i], []byte("\n")), "is not UTF-8; save the file as UTF-8"
		case r == 0:
			return 1 + bytes.Count(text[:i], []byte("\n")), "holds a NUL byte; is it a text file, and UTF-8?"
		}
		i += size
	}
	return 0, ""
}

// Error is a syntax mistake at a line of the text, from 1.
type Error struct {
	Line    int
	Message string
}

// Error gives the message.
func (e *Error) Error() string { return e.Message }

// ParseYAML gives the root of one document, or nil for one without content. The
// error is an *Error.
func ParseYAML(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil //nolint:nilnil // no content is neither a document nor a mistake
		}
		return nil, Explain(text, err)
	}
	// A line separator that is not a line feed can hide a document marker from
	// Split; what stands behind it must not be dropped.
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, &Error{Line: max(next.Line, 1), Message: `hides a second document; write "---" on a line of its own, with plain line feeds`}
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil, nil //nolint:nilnil // as above
	}
	if root := doc.Content[0]; root.Kind != yaml.ScalarNode || root.Tag != "!!null" {
		return root, nil
	}
	return nil, nil //nolint:nilnil // as above
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// Explain makes an *Error of a YAML library's, and adds what that cannot say.
func Explain(text []byte, err error) error {
	e := &Error{Line: 1, Message: err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.Message = "is not YAML: " + m[2]
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			e.Line = n
		}
	}
	// The parser counts some mistakes from the line before, so look around.
	lines := bytes.Split(text, []byte("\n"))
	for i := max(e.Line-2, 0); i < min(e.Line+1, len(lines)); i++ {
		if indent := len(lines[i]) - len(bytes.TrimLeft(lines[i], " \t")); bytes.IndexByte(lines[i][:indent], '\t') >= 0 {
			return &Error{Line: i + 1, Message: "is indented with a tab; YAML wants spaces"}
		}
	}
	return e
}
