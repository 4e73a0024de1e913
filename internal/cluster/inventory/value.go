package inventory

import "strings"

// What follows reads and sets fields of content whatever is there: values of the
// wrong type count as not there, and are left alone.

// object gives the object that is a field, or nil.
func object(m map[string]any, key string) map[string]any {
	v, _ := m[key].(map[string]any)
	return v
}

// need gives the object that is a field, made if the field is not there or null;
// nil if it is something else.
func need(m map[string]any, key string) map[string]any {
	if m == nil {
		return nil
	}
	if m[key] == nil {
		m[key] = map[string]any{}
	}
	return object(m, key)
}

// each calls f with the objects of the list that is a field.
func each(m map[string]any, key string, f func(map[string]any)) {
	all, _ := m[key].([]any)
	for _, v := range all {
		if v, ok := v.(map[string]any); ok {
			f(v)
		}
	}
}

// text gives the string that is a field, or "".
func text(m map[string]any, key string) string {
	v, _ := m[key].(string)
	return v
}

// zero reports whether v is what a Go field that is no pointer has by default.
func zero(v any) bool {
	return v == nil || v == "" || v == int64(0) || v == float64(0)
}

// fill sets a field that is not there, null, "" or 0: those that the API keeps
// without a pointer, so that it cannot tell these from each other.
func fill(m map[string]any, key string, value any) {
	if m != nil && zero(m[key]) {
		m[key] = value
	}
}

// fillNil sets a field that is not there or null: those that the API keeps as
// pointers.
func fillNil(m map[string]any, key string, value any) {
	if m != nil && m[key] == nil {
		m[key] = value
	}
}

// dropEmpty takes away fields that are empty objects.
func dropEmpty(m map[string]any, keys ...string) {
	for _, key := range keys {
		if v, ok := m[key].(map[string]any); ok && len(v) == 0 {
			delete(m, key)
		}
	}
}

// Endless reports whether text is a number with an exponent that the API's library
// for quantities computes with for minutes, or until there is no memory left: no real
// quantity has more than two digits there.
func Endless(text string) bool {
	digits := 0
	for digits < len(text) && '0' <= text[len(text)-1-digits] && text[len(text)-1-digits] <= '9' {
		digits++
	}
	if digits < 4 || digits == len(text) {
		return false
	}
	number := strings.TrimRight(text[:len(text)-digits], "+-")
	if number == "" || number[len(number)-1]|0x20 != 'e' {
		return false
	}
	mantissa := number[:len(number)-1]
	return mantissa != "" && strings.Trim(mantissa, "+-.0123456789") == ""
}
