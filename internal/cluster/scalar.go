package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// describe names what is there. It shows no content of a Secret.
func (d *decoder) describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode, yaml.AliasNode, yaml.DocumentNode:
	}
	kind := map[string]string{"!!int": "the number", "!!float": "the number", "!!bool": "the boolean", "!!timestamp": "the time", "!!null": "null"}[n.Tag]
	switch {
	case n.Tag == "!!null":
		return kind
	case kind == "":
		kind = "the text"
	}
	if d.secret || len(n.Value) > 64 {
		return kind + " on this line"
	}
	if kind == "the text" {
		return fmt.Sprintf("%s %q", kind, n.Value)
	}
	return kind + " " + n.Value
}

// plain reports whether n was written without quotes.
func plain(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

var sexagesimal = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

// surprise gives why an unquoted scalar is no safe text: YAML 1.1 readers, and
// so kubectl, take it for something else. It gives "" for safe text.
func surprise(n *yaml.Node) string {
	if !plain(n) {
		return ""
	}
	switch strings.ToLower(n.Value) {
	case "y", "n", "yes", "no", "on", "off":
		return fmt.Sprintf("%s is a boolean to YAML 1.1 readers such as kubectl; write %q, in quotes, for the text", n.Value, n.Value)
	}
	switch {
	case n.Tag == "!!str" && sexagesimal.MatchString(n.Value):
		return fmt.Sprintf("%s is a base-60 number to YAML 1.1 readers such as kubectl; write %q, in quotes, for the text", n.Value, n.Value)
	case n.Tag == "!!int", n.Tag == "!!float", n.Tag == "!!bool", n.Tag == "!!null":
		return fmt.Sprintf("%s is not text; write %q, in quotes", n.Value, n.Value)
	}
	return ""
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, s *schema) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!timestamp" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			hint = "; put it in quotes"
		}
		d.problem(n.Line, "is %s; expected text%s", d.describe(n), hint)
		return
	}
	if msg := surprise(n); msg != "" {
		if d.secret {
			msg = "is not read as text by every YAML reader; put it in quotes"
		}
		d.problem(n.Line, "%s", msg)
		return
	}
	if msg := s.checkString(n.Value); msg != "" {
		d.problem(n.Line, "%s", msg)
	}
	v.SetString(n.Value)
}

func (d *decoder) boolean(n *yaml.Node, v reflect.Value) {
	switch {
	case n.Kind == yaml.ScalarNode && plain(n) && strings.EqualFold(n.Value, "true"):
		v.SetBool(true)
	case n.Kind == yaml.ScalarNode && plain(n) && strings.EqualFold(n.Value, "false"):
		v.SetBool(false)
	default:
		d.problem(n.Line, "is %s; expected true or false", d.describe(n))
	}
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

func (d *decoder) integer(n *yaml.Node, v reflect.Value, s *schema) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || !decimal.MatchString(n.Value) {
		d.problem(n.Line, "is %s; expected a whole decimal number", d.describe(n))
		return
	}
	i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
	if err != nil {
		d.problem(n.Line, "%s is out of range; expected a number of %d bits", n.Value, v.Type().Bits())
		return
	}
	if msg := s.checkInt(i); msg != "" {
		d.problem(n.Line, "%s", msg)
	}
	v.SetInt(i)
}

func (d *decoder) bytes(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		d.problem(n.Line, "is %s; expected base64 text", d.describe(n))
		return
	}
	b, err := base64.StdEncoding.Strict().DecodeString(n.Value)
	if err != nil {
		hint := ""
		if len(d.path) > 0 && d.path[0].name == "data" && strings.HasPrefix(d.object, "Secret") {
			hint = `; plain text belongs under "stringData"`
		}
		d.problem(n.Line, "is not base64%s", hint)
		return
	}
	v.SetBytes(b)
}

var intOrString = reflect.TypeFor[intstr.IntOrString]()

// wants says what text a type with an own JSON reader expects, or "" for a type
// that reads anything.
func wants(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[metav1.Duration]():
		return "a duration such as 30s or 5m"
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return "a time such as 2026-01-31T12:00:00Z (RFC 3339)"
	case intOrString:
		return "a number or a name"
	default:
		return ""
	}
}

// json gives n as JSON, without regard to a Go type.
func (d *decoder) json(n *yaml.Node, number bool) ([]byte, bool) {
	var b bytes.Buffer
	ok := d.writeJSON(&b, n, number)
	return b.Bytes(), ok
}

func (d *decoder) writeJSON(b *bytes.Buffer, n *yaml.Node, number bool) bool {
	n, done := d.resolve(n)
	defer done()
	if n == nil {
		return false
	}
	ok := true
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		first := true
		ok = d.entries(n, "", func(key, value *yaml.Node) {
			if !first {
				b.WriteByte(',')
			}
			first = false
			d.push(crumb{name: key.Value, how: 'k'})
			ok = d.writeText(b, key.Value) && ok
			b.WriteByte(':')
			ok = d.writeJSON(b, value, true) && ok
			d.pop()
		}) && ok
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			d.push(crumb{index: i, how: 'i'})
			ok = d.writeJSON(b, item, true) && ok
			d.pop()
		}
		b.WriteByte(']')
	case yaml.ScalarNode, yaml.AliasNode, yaml.DocumentNode:
		switch {
		case n.Tag == "!!null":
			b.WriteString("null")
		case n.Tag == "!!bool":
			b.WriteString(strings.ToLower(n.Value))
		case (n.Tag == "!!int" || n.Tag == "!!float") && number:
			if !json.Valid([]byte(n.Value)) {
				d.problem(n.Line, "is %s; expected a decimal number", d.describe(n))
				return false
			}
			b.WriteString(n.Value)
		default:
			ok = d.writeText(b, n.Value)
		}
	}
	return ok
}

func (d *decoder) writeText(b *bytes.Buffer, s string) bool {
	text, err := json.Marshal(s)
	if err != nil {
		return false
	}
	b.Write(text)
	return true
}
