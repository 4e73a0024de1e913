// Package query reads the query of a request target as
// application/x-www-form-urlencoded, the one way the whole gateway judges it.
// What servers read in different ways is an error: bad escapes, and ";", which
// some take for a separator.
package query

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// maxPairs bounds the parameters of one query.
const maxPairs = 1024

var errSemicolon = errors.New("query: a semicolon is read as a separator by some servers")

// Each calls f with every parameter in the order they stand. It gives an error
// where the query can be read in more than one way; f may have been called
// before.
func Each(raw string, f func(name, value string)) error {
	if raw == "" {
		return nil
	}
	if strings.IndexByte(raw, ';') >= 0 {
		return errSemicolon
	}
	n := 0
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		if n++; n > maxPairs {
			return fmt.Errorf("query: more than %d parameters", maxPairs)
		}
		name, value, err := decode(pair)
		if err != nil {
			return err
		}
		f(name, value)
	}
	return nil
}

func decode(pair string) (name, value string, err error) {
	name, value, _ = strings.Cut(pair, "=")
	if name, err = url.QueryUnescape(name); err != nil {
		return "", "", fmt.Errorf("query: parameter name: %w", err)
	}
	if value, err = url.QueryUnescape(value); err != nil {
		return "", "", fmt.Errorf("query: value of parameter %q: bad escape", name)
	}
	return name, value, nil
}

// Get gives the first value of a parameter and how often it occurs.
func Get(raw, name string) (value string, count int, err error) {
	err = Each(raw, func(n, v string) {
		if n != name {
			return
		}
		if count == 0 {
			value = v
		}
		count++
	})
	return value, count, err
}

// Without gives the query without a parameter, every other byte as it was.
// Pairs that cannot be decoded stay.
func Without(raw, name string) string {
	var b strings.Builder
	for pair := range strings.SplitSeq(raw, "&") {
		if n, _, err := decode(pair); err == nil && n == name && pair != "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pair)
	}
	return b.String()
}
