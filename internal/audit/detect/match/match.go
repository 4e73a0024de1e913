package match

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// Program is a compiled expression.
type Program struct {
	op   sigma.Op
	args []*Program
	item *item
	cost int
}

// Eval reports whether the event at hand meets the expression.
func (p *Program) Eval(v *View) bool {
	switch p.op {
	case sigma.OpItem:
		return p.item.holds(v)
	case sigma.OpNot:
		return !p.args[0].Eval(v)
	case sigma.OpOr:
		for _, a := range p.args {
			if a.Eval(v) {
				return true
			}
		}
		return false
	case sigma.OpAnd, sigma.OpSearch:
	}
	for _, a := range p.args {
		if !a.Eval(v) {
			return false
		}
	}
	return len(p.args) > 0
}

// item is a compiled sigma.Item.
type item struct {
	slot            int
	all, not, cased bool
	unit            sigma.Unit
	// exact has the texts of an item that has nothing else.
	exact  map[string]struct{}
	values [][]test
	// What came out for the event of this turn.
	turn uint64
	held bool
}

// test is a compiled sigma.Test.
type test struct {
	kind   sigma.Kind
	glob   glob
	number sigma.Number
	op     sigma.Relation
	want   bool
	re     *regexp.Regexp
	start  string // every match begins with it, at the start of the text
	// starts are all that re says, where it names only beginnings of the text.
	starts []start
	prefix netip.Prefix
	ref    int
	place  sigma.Place
}

func (it *item) holds(v *View) bool {
	if it.turn != v.turn {
		it.turn, it.held = v.turn, it.met(v) != it.not
	}
	return it.held
}

func (it *item) met(v *View) bool {
	values := v.values(it.slot)
	if it.exact != nil {
		for i := range values {
			if _, ok := it.exact[it.text(&values[i])]; ok && !values[i].null {
				return true
			}
		}
		return false
	}
	for _, tests := range it.values {
		met := false
		for i := range tests {
			if it.try(&tests[i], values, v) {
				met = true
				break
			}
		}
		if met != it.all {
			return met
		}
	}
	return it.all
}

func (it *item) text(v *value) string {
	if it.cased {
		return v.text
	}
	return v.fold()
}

// try reports whether a value of the field meets the test.
func (it *item) try(t *test, values []value, v *View) bool {
	switch t.kind {
	case sigma.KindExists:
		return len(values) > 0 == t.want
	case sigma.KindNull:
		for i := range values {
			if values[i].null || values[i].text == "" {
				return true
			}
		}
		return len(values) == 0
	case sigma.KindPattern, sigma.KindNumber, sigma.KindCompare, sigma.KindRegexp, sigma.KindCIDR, sigma.KindFieldRef:
	}
	for i := range values {
		if !values[i].null && it.one(t, &values[i], v) {
			return true
		}
	}
	return false
}

func (it *item) one(t *test, val *value, v *View) bool {
	switch t.kind {
	case sigma.KindPattern:
		return t.glob.match(it.text(val))
	case sigma.KindNumber:
		if val.text == t.number.Text {
			return true
		}
		n, ok := sigma.ParseNumber(val.text)
		return ok && n.Compare(t.number) == 0
	case sigma.KindCompare:
		if it.unit != "" {
			part, ok := datePart(val.text, it.unit)
			return ok && part.Holds(t.op, t.number)
		}
		n, ok := sigma.ParseNumber(val.text)
		return ok && n.Holds(t.op, t.number)
	case sigma.KindRegexp:
		if t.starts != nil {
			return slices.ContainsFunc(t.starts, func(s start) bool { return s.met(val.text) })
		}
		return strings.HasPrefix(val.text, t.start) && t.re.MatchString(val.text)
	case sigma.KindCIDR:
		return t.prefix.Contains(val.address())
	case sigma.KindFieldRef:
		others := v.values(t.ref)
		for i := range others {
			if !others[i].null && placed(t.place, it.text(val), it.text(&others[i])) {
				return true
			}
		}
	case sigma.KindExists, sigma.KindNull:
	}
	return false
}

func placed(place sigma.Place, text, other string) bool {
	switch place {
	case sigma.Start:
		return strings.HasPrefix(text, other)
	case sigma.End:
		return strings.HasSuffix(text, other)
	case sigma.Within:
		return strings.Contains(text, other)
	}
	return text == other
}

// datePart takes a part out of a date, in the time zone that it is written in.
func datePart(text string, unit sigma.Unit) (sigma.Number, bool) {
	var at time.Time
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		t, err := time.Parse(form, text)
		if err == nil {
			at = t
			break
		}
	}
	if at.IsZero() {
		return sigma.Number{}, false
	}
	n := 0
	switch unit {
	case sigma.Minute:
		n = at.Minute()
	case sigma.Hour:
		n = at.Hour()
	case sigma.Day:
		n = at.Day()
	case sigma.Week:
		_, n = at.ISOWeek()
	case sigma.Month:
		n = int(at.Month())
	case sigma.Year:
		n = at.Year()
	}
	return sigma.Number{Int: int64(n), Float: float64(n), Whole: true}, true
}

// glob is a compiled pattern. The common forms need no parts.
type glob struct {
	form  globForm
	text  string
	parts sigma.Pattern
}

type globForm uint8

const (
	globParts globForm = iota
	globExact
	globStart
	globEnd
	globWithin
	globAny
)

func compileGlob(p sigma.Pattern, cased bool) glob {
	parts := make(sigma.Pattern, len(p))
	for i, part := range p {
		if !cased {
			part.Text = strings.ToLower(part.Text)
		}
		parts[i] = part
	}
	kind := func(i int) sigma.PartKind { return parts[i].Kind }
	switch {
	case len(parts) == 0:
		return glob{form: globExact}
	case len(parts) == 1 && kind(0) == sigma.PartText:
		return glob{form: globExact, text: parts[0].Text}
	case len(parts) == 1 && kind(0) == sigma.PartAny:
		return glob{form: globAny}
	case len(parts) == 2 && kind(0) == sigma.PartText && kind(1) == sigma.PartAny:
		return glob{form: globStart, text: parts[0].Text}
	case len(parts) == 2 && kind(0) == sigma.PartAny && kind(1) == sigma.PartText:
		return glob{form: globEnd, text: parts[1].Text}
	case len(parts) == 3 && kind(0) == sigma.PartAny && kind(1) == sigma.PartText && kind(2) == sigma.PartAny:
		return glob{form: globWithin, text: parts[1].Text}
	}
	return glob{parts: parts}
}

func (g *glob) match(s string) bool {
	switch g.form {
	case globExact:
		return s == g.text
	case globStart:
		return strings.HasPrefix(s, g.text)
	case globEnd:
		return strings.HasSuffix(s, g.text)
	case globWithin:
		return strings.Contains(s, g.text)
	case globAny:
		return true
	case globParts:
	}
	return matchParts(g.parts, s)
}

// matchParts goes back only to the last PartAny, which is enough: what was before it
// matched already, and it can take as much as is needed.
func matchParts(parts sigma.Pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0
	for {
		if p < len(parts) && parts[p].Kind == sigma.PartAny {
			star, from = p, i
			p++
			continue
		}
		if p == len(parts) && i == len(s) {
			return true
		}
		if p < len(parts) {
			if n, ok := takes(parts[p], s[i:]); ok {
				p, i = p+1, i+n
				continue
			}
		}
		if star < 0 || from >= len(s) {
			return false
		}
		// Let the PartAny take one character more, or all up to the next text after it.
		_, size := utf8.DecodeRuneInString(s[from:])
		from += size
		if next := star + 1; next < len(parts) && parts[next].Kind == sigma.PartText {
			skip := strings.Index(s[from:], parts[next].Text)
			if skip < 0 {
				return false
			}
			from += skip
		}
		p, i = star+1, from
	}
}

// takes reports how many bytes at the start of s a part stands for.
func takes(part sigma.Part, s string) (int, bool) {
	switch part.Kind {
	case sigma.PartText:
		return len(part.Text), strings.HasPrefix(s, part.Text)
	case sigma.PartOne:
		_, n := utf8.DecodeRuneInString(s)
		return n, n > 0
	case sigma.PartDash:
		r, n := utf8.DecodeRuneInString(s)
		return n, n > 0 && strings.ContainsRune(sigma.Dashes, r)
	case sigma.PartAny, sigma.PartPlaceholder:
	}
	return 0, false
}
