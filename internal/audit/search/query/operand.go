package query

import (
	"math"
	"net/netip"
	"strconv"
	"strings"

	"bulwark.dev/bulwark"
)

// number is a whole number, or another one.
type number struct {
	whole bool
	i     int64
	f     float64
}

// parseNumber reads a decimal number. Words that Go takes for numbers are none.
func parseNumber(s string) (number, bool) {
	if s == "" || len(s) > 40 {
		return number{}, false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return number{}, false
		}
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return number{whole: true, i: i}, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return number{}, false
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return number{whole: true, i: int64(f)}, true
	}
	return number{f: f}, true
}

func (n number) compare(o number) int {
	if n.whole && o.whole {
		switch {
		case n.i < o.i:
			return -1
		case n.i > o.i:
			return 1
		}
		return 0
	}
	switch a, b := n.float(), o.float(); {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (n number) float() float64 {
	if n.whole {
		return float64(n.i)
	}
	return n.f
}

func (n number) String() string {
	if n.whole {
		return strconv.FormatInt(n.i, 10)
	}
	return strconv.FormatFloat(n.f, 'g', -1, 64)
}

// form is how an operand is compared.
type form uint8

const (
	formText    form = iota + 1
	formPresent      // *: there is a value
	formAbsent       // "": there is none
	formNumber
	formRange // of numbers
	formAddress
	formNetwork
)

// operand is one value that a field is compared with.
type operand struct {
	form    form
	glob    glob // formText
	test    func(string) bool
	low     number // formNumber, formRange
	high    number // formRange
	noLow   bool
	noHigh  bool
	network netip.Prefix // formNetwork
	address netip.Addr   // formAddress
}

// finds reports whether a value of an event, which is not empty, is the operand.
// fold says that s is in lower case. formPresent is every value; formAbsent is none.
func (o *operand) finds(s string) bool {
	switch o.form {
	case formPresent:
		return true
	case formText:
		return o.test(s)
	case formNumber:
		n, ok := parseNumber(s)
		return ok && n.compare(o.low) == 0
	case formRange:
		n, ok := parseNumber(s)
		return ok && (o.noLow || n.compare(o.low) >= 0) && (o.noHigh || n.compare(o.high) <= 0)
	case formAddress:
		a, err := netip.ParseAddr(s)
		return err == nil && a.Unmap() == o.address
	case formNetwork:
		a, err := netip.ParseAddr(s)
		return err == nil && o.network.Contains(a.Unmap().WithZone(""))
	case formAbsent:
	}
	return false
}

func (o *operand) write(b *strings.Builder) {
	switch o.form {
	case formPresent:
		b.WriteByte('*')
	case formAbsent:
		b.WriteString(`""`)
	case formText:
		o.glob.write(b, false)
	case formNumber:
		b.WriteString(o.low.String())
	case formRange:
		if !o.noLow {
			b.WriteString(o.low.String())
		}
		b.WriteString("..")
		if !o.noHigh {
			b.WriteString(o.high.String())
		}
	case formAddress:
		b.WriteString(o.address.String())
	case formNetwork:
		b.WriteString(o.network.String())
	}
}

// rank puts severities in order, as bulwark has them and as Sigma calls its lowest.
func rank(s string) (int, bool) {
	if s == "informational" {
		s = "info"
	}
	v, err := bulwark.ParseSeverity(s)
	return int(v), err == nil
}
