package v1alpha1

import (
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// and joins names as a sentence does.
func and(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// short prints d without the zero units that time.Duration prints.
func short(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if cut, ok := strings.CutSuffix(s, "h0m"); ok {
		return cut + "h"
	}
	return s
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// runes counts as OpenAPI's maxLength does: characters, not bytes.
func runes(s string) int { return utf8.RuneCountInString(s) }

// control reports whether s holds an ASCII control character, which would let
// a policy write lines into logs and headers, or is not UTF-8.
func control(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// token reports whether s is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// validateText accepts any text of at most limit characters without control
// characters.
func validateText(s string, limit int, path *field.Path) field.ErrorList {
	if runes(s) > limit {
		return field.ErrorList{field.TooLong(path, "", limit)}
	}
	if control(s) {
		return field.ErrorList{field.Invalid(path, s, "must hold no control characters")}
	}
	return nil
}

// validateTexts checks a list of distinct, non-empty texts.
func validateTexts(list []string, count, limit int, path *field.Path) field.ErrorList {
	errs := validateCount(len(list), 0, count, path)
	seen := map[string]bool{}
	for i, s := range list {
		at := path.Index(i)
		if blank(s) {
			errs = append(errs, field.Required(at, "must not be empty"))
			continue
		}
		errs = append(errs, validateText(s, limit, at)...)
		if seen[s] {
			errs = append(errs, field.Duplicate(at, s))
		}
		seen[s] = true
	}
	return errs
}

// validateNotEmptied refuses a list that is written but empty: one reader takes
// it for "nothing" and the next for "not set, so everything".
func validateNotEmptied(list []string, path *field.Path) field.ErrorList {
	if list != nil && len(list) == 0 {
		return field.ErrorList{field.Invalid(path, "[]", "name at least one, or leave the field out")}
	}
	return nil
}
