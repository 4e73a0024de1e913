package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// chunk is the text of one document.
type chunk struct {
	// first is the number of its first line in the file, from 1.
	first int
	text  []byte
}

// split cuts YAML at its document markers. A "---" or "..." at the start of a
// line is one wherever it stands (YAML 1.2.2, c-forbidden), so no parsing is
// needed, and each document can be read, and remembered, by itself.
func split(text []byte) []chunk {
	var out []chunk
	start, first, line := 0, 1, 0
	flush := func(end, next, nextLine int) {
		if c := bytes.TrimSpace(text[start:end]); len(c) > 0 && string(c) != "---" {
			out = append(out, chunk{first: first, text: text[start:end]})
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

// checkText refuses what is not text, before any parser sees it, and gives the
// line. It returns 0 and "" for good text.
func checkText(text []byte) (line int, message string) {
	for i := 0; i < len(text); {
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

// parseError is a syntax mistake at a line of the chunk, from 1.
type parseError struct {
	line    int
	message string
}

func (e *parseError) Error() string { return e.message }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// parseYAML gives the root of one document, or nil for one without content. The
// error is a *parseError.
func parseYAML(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil //nolint:nilnil // no content is neither a document nor a mistake
		}
		return nil, explainYAML(text, err)
	}
	// A line separator that is not a line feed can hide a document marker from
	// split; what stands behind it must not be dropped.
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, &parseError{line: max(next.Line, 1), message: `hides a second document; write "---" on a line of its own, with plain line feeds`}
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil, nil //nolint:nilnil // as above
	}
	if root := doc.Content[0]; root.Kind != yaml.ScalarNode || root.Tag != "!!null" {
		return root, nil
	}
	return nil, nil //nolint:nilnil // as above
}

// explainYAML adds what the parser cannot say.
func explainYAML(text []byte, err error) error {
	e := &parseError{line: 1, message: err.Error()}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.message = "is not YAML: " + m[2]
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			e.line = n
		}
	}
	// The parser counts some mistakes from the line before, so look around.
	lines := bytes.Split(text, []byte("\n"))
	for i := max(e.line-2, 0); i < min(e.line+1, len(lines)); i++ {
		if indent := len(lines[i]) - len(bytes.TrimLeft(lines[i], " \t")); bytes.IndexByte(lines[i][:indent], '\t') >= 0 {
			return &parseError{line: i + 1, message: "is indented with a tab; YAML wants spaces"}
		}
	}
	return e
}

// parseJSON gives the roots of a stream of JSON values, as YAML nodes. The
// error is a *parseError.
func parseJSON(text []byte) ([]*yaml.Node, error) {
	r := &jsonReader{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1}
	r.dec.UseNumber()
	var roots []*yaml.Node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, &parseError{line: r.line, message: "is not JSON: " + strings.TrimPrefix(err.Error(), "json: ")}
		}
		roots = append(roots, n)
	}
}

// jsonReader builds nodes from tokens and counts lines on the way.
type jsonReader struct {
	text []byte
	dec  *json.Decoder
	at   int
	line int
}

func (r *jsonReader) token() (json.Token, error) {
	tok, err := r.dec.Token()
	if end := int(r.dec.InputOffset()); end > r.at && end <= len(r.text) {
		r.line += bytes.Count(r.text[r.at:end], []byte("\n"))
		r.at = end
	}
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return tok, nil
}

func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	tok, err := r.token()
	if err != nil {
		if depth > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return r.node(tok, depth)
}

func (r *jsonReader) node(tok json.Token, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nests more than %d deep", maxDepth)
	}
	scalar := func(tag, value string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value, Line: r.line, Style: yaml.FlowStyle}
	}
	switch t := tok.(type) {
	case nil:
		return scalar("!!null", "null"), nil
	case bool:
		return scalar("!!bool", strconv.FormatBool(t)), nil
	case json.Number:
		if strings.ContainsAny(t.String(), ".eE") {
			return scalar("!!float", t.String()), nil
		}
		return scalar("!!int", t.String()), nil
	case string:
		n := scalar("!!str", t)
		n.Style = yaml.DoubleQuotedStyle
		return n, nil
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: r.line}
	if tok == json.Delim('[') {
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	}
	for r.dec.More() {
		child, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
		if n.Kind == yaml.MappingNode {
			if child, err = r.value(depth + 1); err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
	}
	_, err := r.token() // the closing delimiter
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
