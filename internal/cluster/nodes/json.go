package nodes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxDepth is how deep values may nest.
const MaxDepth = 64

// ParseJSON gives the roots of a stream of JSON values, as YAML nodes. The error
// is an *Error.
func ParseJSON(text []byte) ([]*yaml.Node, error) {
	r := &jsonReader{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1, column: 1}
	r.dec.UseNumber()
	var roots []*yaml.Node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, &Error{Line: r.line, Message: "is not JSON: " + strings.TrimPrefix(err.Error(), "json: ")}
		}
		roots = append(roots, n)
	}
}

// jsonReader builds nodes from tokens and counts lines on the way.
type jsonReader struct {
	text []byte
	dec  *json.Decoder
	// at is the end of what was read, at line and column.
	at, line, column int
	// startLine and startColumn are those of the last token's first character.
	startLine, startColumn int
}

func (r *jsonReader) token() (json.Token, error) {
	tok, err := r.dec.Token()
	if end := int(r.dec.InputOffset()); end > r.at && end <= len(r.text) {
		start := r.at
		for start < end && strings.IndexByte(" \t\r\n,:", r.text[start]) >= 0 {
			start++
		}
		r.move(start)
		r.startLine, r.startColumn = r.line, r.column
		r.move(end)
	}
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return tok, nil
}

func (r *jsonReader) move(end int) {
	passed := r.text[r.at:end]
	r.line += bytes.Count(passed, []byte("\n"))
	if i := bytes.LastIndexByte(passed, '\n'); i >= 0 {
		r.column, passed = 1, passed[i+1:]
	}
	r.column += utf8.RuneCount(passed)
	r.at = end
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
	if depth > MaxDepth {
		return nil, fmt.Errorf("nests more than %d deep", MaxDepth)
	}
	scalar := func(tag, value string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value, Line: r.startLine, Column: r.startColumn, Style: yaml.FlowStyle}
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
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: r.startLine, Column: r.startColumn}
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
