package sigma

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// Number is a number as written, and its value.
type Number struct {
	Text  string
	Int   int64
	Float float64
	// Whole says that Int has it exactly.
	Whole bool
}

// ParseNumber reads a decimal number.
func ParseNumber(text string) (Number, bool) {
	if len(text) == 0 || len(text) > 64 {
		return Number{}, false
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return Number{Text: text, Int: i, Float: float64(i), Whole: true}, true
	}
	// Hexadecimal, inf and nan are texts to an event.
	if strings.ContainsAny(text, "xXnNiIpP_") {
		return Number{}, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return Number{Text: text, Float: f}, err == nil
}

// Compare is -1, 0 or 1 as n is less than, equal to or greater than m.
func (n Number) Compare(m Number) int {
	if n.Whole && m.Whole {
		switch {
		case n.Int < m.Int:
			return -1
		case n.Int > m.Int:
			return 1
		}
		return 0
	}
	switch {
	case n.Float < m.Float:
		return -1
	case n.Float > m.Float:
		return 1
	}
	return 0
}

// Holds reports whether n stands in a relation to m.
func (n Number) Holds(op Relation, m Number) bool {
	c := n.Compare(m)
	switch op {
	case Less:
		return c < 0
	case LessOrEqual:
		return c <= 0
	case Greater:
		return c > 0
	case GreaterOrEqual:
		return c >= 0
	case Equal:
		return c == 0
	case NotEqual:
		return c != 0
	}
	return false
}

// numberOf reads a number in any of YAML's spellings.
func numberOf(n *yaml.Node) (Number, error) {
	wrong := fmt.Errorf("expected a number, not %q", n.Value)
	switch n.ShortTag() {
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return Number{Text: strconv.FormatInt(i, 10), Int: i, Float: float64(i), Whole: true}, nil
		}
		var f float64 // a whole number that is larger
		if n.Decode(&f) != nil {
			return Number{}, wrong
		}
		return Number{Text: n.Value, Float: f}, nil
	case "!!float":
		var f float64
		if n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return Number{}, wrong
		}
		return Number{Text: n.Value, Float: f}, nil
	}
	return Number{}, wrong
}
