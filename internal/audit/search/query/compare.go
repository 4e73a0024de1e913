package query

import (
	"net/netip"
	"strings"
)

// comparison reads what follows a field's name and operator.
func (p *parser) comparison(name string, start int, op string) (node, error) {
	negated := strings.HasPrefix(op, "!")
	op = strings.TrimPrefix(op, "!")
	if part, ok, err := p.timeWord(name, start, op, negated); ok || err != nil {
		return negate(part, negated), err
	}
	f, ok := lookup(name)
	if !ok {
		return nil, p.unknown(name, start)
	}
	if f.kind == kindTime {
		part, err := p.timeTerm(f, op)
		return negate(part, negated), err
	}
	n := &compare{field: f, order: equal}
	switch op {
	case "<":
		n.order = less
	case "<=":
		n.order = atMost
	case ">":
		n.order = more
	case ">=":
		n.order = atLeast
	case "~=":
		n.fold = true
	}
	if n.order != equal {
		if f.kind == kindText || f.kind == kindAddress {
			return nil, p.fail(start, "%s has no order: use = or !=, with wildcards or a list", name)
		}
		v, err := p.oneValue(op)
		if err != nil {
			return nil, err
		}
		o, err := p.limit(f, v)
		if err != nil {
			return nil, err
		}
		n.operands = []operand{o}
		return n, nil
	}
	if n.fold && (f.kind == kindNumber || f.kind == kindAddress) {
		return nil, p.fail(start, "%s has no letters: use =", name)
	}
	said, err := p.values(op)
	if err != nil {
		return nil, err
	}
	for _, v := range said {
		o, err := p.operand(f, v, n.fold)
		if err != nil {
			return nil, err
		}
		n.operands = append(n.operands, o)
	}
	return negate(n, negated), nil
}

func negate(part node, negated bool) node {
	if negated && part != nil {
		return noneOf{part}
	}
	return part
}

// unknown says what may have been meant.
func (p *parser) unknown(name string, start int) error {
	if name == "" {
		return p.fail(start, "expected a field's name")
	}
	hint := "; quote it to look for the text"
	names := append([]string{
		"since", "until", "at", "requestObject.", "responseObject.", "more.", "annotations.", "user.extra.", "impersonatedUser.extra.",
	}, fieldNames()...)
	if guesses := near(name, names); len(guesses) > 0 {
		hint = "; did you mean " + strings.Join(guesses, " or ") + "?"
	}
	return p.fail(start, "no field is called %q%s", shorten(name), hint)
}

// oneValue reads a value that must be there.
func (p *parser) oneValue(op string) (said, error) {
	if p.more() && p.src[p.at] == '(' {
		return said{}, p.fail(p.at, "a list stands after = or != only")
	}
	v, err := p.value(false)
	if err == nil && v.raw == "" {
		err = p.fail(v.at, `expected a value right after %q, found %s; "" is for what is absent`, op, p.found())
	}
	return v, err
}

// values reads a value, or a list of them.
func (p *parser) values(op string) ([]said, error) {
	if !p.more() || p.src[p.at] != '(' {
		v, err := p.oneValue(op)
		return []said{v}, err
	}
	open := p.at
	p.at++
	var list []said
	for {
		p.space()
		v, err := p.value(true)
		if err != nil {
			return nil, err
		}
		if v.raw == "" {
			return nil, p.fail(v.at, "expected a value of the list, found %s", p.found())
		}
		if list = append(list, v); len(list) > maxOperands {
			return nil, p.fail(open, "a list may have %d values", maxOperands)
		}
		p.space()
		switch {
		case p.more() && p.src[p.at] == ',':
			p.at++
		case p.more() && p.src[p.at] == ')':
			p.at++
			return list, nil
		default:
			return nil, p.fail(p.at, `expected "," or ")" in the list, found %s`, p.found())
		}
	}
}

// operand makes of a value what the field is compared with.
func (p *parser) operand(f *Field, v said, fold bool) (operand, error) {
	text, literal := v.glob.literal()
	switch {
	case text == "" && literal:
		return operand{form: formAbsent}, nil
	case v.glob.anything():
		return operand{form: formPresent}, nil
	}
	if literal && !fold {
		switch f.kind {
		case kindNumber, kindAny:
			if o, ok, err := p.numbers(f, v); ok || err != nil {
				return o, err
			}
		case kindAddress:
			return p.address(v)
		case kindSeverity:
			if _, ok := rank(text); !ok {
				return operand{}, p.fail(v.at, "%q is no severity: use info, low, medium, high or critical", shorten(text))
			}
		case kindText, kindTime:
		}
	}
	o := operand{form: formText, glob: v.glob}
	if fold {
		o.test = v.glob.lower().test()
	} else {
		o.test = v.glob.test()
	}
	return o, nil
}

// numbers reads a number or a range of them. In a field that may be anything what
// is no range is a text.
func (p *parser) numbers(f *Field, v said) (operand, bool, error) {
	if low, high, ok := strings.Cut(v.raw, ".."); ok && v.bare {
		o := operand{form: formRange, noLow: low == "", noHigh: high == ""}
		var okLow, okHigh bool
		o.low, okLow = parseNumber(low)
		o.high, okHigh = parseNumber(high)
		switch {
		case (okLow || o.noLow) && (okHigh || o.noHigh) && (okLow || okHigh):
			if okLow && okHigh && o.low.compare(o.high) > 0 {
				return o, true, p.fail(v.at, "the range ends at %s, before it begins at %s", o.high, o.low)
			}
			return o, true, nil
		case f.kind == kindNumber:
			return o, true, p.fail(v.at, "%q is no range of numbers: write 400..499, 400.. or ..399", shorten(v.raw))
		}
	}
	if f.kind != kindNumber {
		return operand{}, false, nil
	}
	n, ok := parseNumber(v.text())
	if !ok {
		return operand{}, true, p.fail(v.at, "%s is a number, %q is none", f.name, shorten(v.text()))
	}
	return operand{form: formNumber, low: n}, true, nil
}

// limit makes the one value of an ordered comparison.
func (p *parser) limit(f *Field, v said) (operand, error) {
	text, literal := v.glob.literal()
	if f.kind == kindSeverity {
		if _, ok := rank(text); !literal || !ok {
			return operand{}, p.fail(v.at, "%q is no severity: use info, low, medium, high or critical", shorten(v.text()))
		}
		return operand{form: formText, glob: v.glob, test: v.glob.test()}, nil
	}
	n, ok := parseNumber(text)
	if !literal || !ok {
		return operand{}, p.fail(v.at, "an order is of numbers, and %q is none", shorten(v.text()))
	}
	return operand{form: formNumber, low: n}, nil
}

// address makes an operand of an address or network.
func (p *parser) address(v said) (operand, error) {
	text := v.text()
	if strings.Contains(text, "/") {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return operand{}, p.fail(v.at, "%q is no network: write it as 10.0.0.0/8 or 2001:db8::/32", shorten(text))
		}
		if a := network.Addr(); a.Is4In6() && network.Bits() >= 96 {
			network = netip.PrefixFrom(a.Unmap(), network.Bits()-96)
		}
		return operand{form: formNetwork, network: network.Masked()}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return operand{}, p.fail(v.at, "%q is no address: write one, a network such as 10.0.0.0/8, or a wildcard such as 10.1.*", shorten(text))
	}
	return operand{form: formAddress, address: a.Unmap()}, nil
}

// timeWord reads since, until and at.
func (p *parser) timeWord(name string, start int, op string, negated bool) (node, bool, error) {
	if name != "since" && name != "until" && name != "at" {
		return nil, false, nil
	}
	if op != "=" || negated {
		return nil, true, p.fail(start, "write %s=…", name)
	}
	f, _ := lookup("time")
	if name == "at" {
		part, err := p.timeTerm(f, "=")
		return part, true, err
	}
	m, err := p.moment(op)
	if err != nil {
		return nil, true, err
	}
	n := &within{field: f, from: m.from}
	if name == "until" {
		n = &within{field: f, to: m.from}
		if m.day {
			n.to = m.to
		}
	}
	return n, true, nil
}

// moment reads a value that is a time.
func (p *parser) moment(op string) (moment, error) {
	v, err := p.oneValue(op)
	if err != nil {
		return moment{}, err
	}
	m, err := p.env.parseMoment(v.text())
	if err != nil {
		err = p.fail(v.at, "%v", err)
	}
	return m, err
}

// timeTerm reads what a field that is a time is compared with.
func (p *parser) timeTerm(f *Field, op string) (node, error) {
	if op == "~=" {
		return nil, p.fail(p.at-len(op), "%s has no letters: use =", f.name)
	}
	if op == "=" {
		v, err := p.oneValue(op)
		if err != nil {
			return nil, err
		}
		if text, literal := v.glob.literal(); literal && text == "" {
			return noneOf{&within{field: f}}, nil
		}
		if v.glob.anything() {
			return &within{field: f}, nil
		}
		if low, high, ok := strings.Cut(v.raw, ".."); ok && v.bare {
			from, to, err := p.env.parseRange(low, high)
			if err != nil {
				return nil, p.fail(v.at, "%v", err)
			}
			return &within{field: f, from: from, to: to}, nil
		}
		m, err := p.env.parseMoment(v.text())
		if err != nil {
			return nil, p.fail(v.at, "%v", err)
		}
		if m.back {
			return nil, p.fail(v.at, "nothing happened at exactly that microsecond: write since=%s, or a range", v.text())
		}
		return &within{field: f, from: m.from, to: m.to}, nil
	}
	m, err := p.moment(op)
	if err != nil {
		return nil, err
	}
	after := m.from.Add(tick)
	if m.day {
		after = m.to
	}
	switch op {
	case "<":
		return &within{field: f, to: m.from}, nil
	case "<=":
		return &within{field: f, to: after}, nil
	case ">":
		return &within{field: f, from: after}, nil
	}
	return &within{field: f, from: m.from}, nil
}
