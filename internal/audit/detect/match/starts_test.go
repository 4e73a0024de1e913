package match

import (
	"regexp"
	"slices"
	"testing"
)

// The beginnings say the same as the expression, of every text around them.
func TestLiteralStarts(t *testing.T) {
	t.Parallel()
	texts := []string{"", "a", "ab", "abc", "abcd", "b", "system:", "system:x", "System:x", " system:", "eks:", "eks", "aksService", "aksServiceX", "aksService\n", "x\naksService", "é", "éa", "\xff", "ac", "system:\n"}
	for text, want := range map[string]int{
		`^(system:|eks:|aksService$)`:    3,
		`^system:`:                       1,
		`^(ab|ac)$`:                      0, // Go makes a class of the second letter
		`^(a|é)(b|$)`:                    0,
		`^(ab|cd)(ef|$)`:                 4,
		`^ab$`:                           1,
		`^$`:                             1,
		`^`:                              0,
		`^ab\z`:                          1,
		`^a$b`:                           0,
		`^(?i)system:`:                   0,
		`^(?i:system:)|eks`:              0,
		`^system:|eks:`:                  0,
		`^(system:.*|eks:)`:              0,
		`(?m)^system:`:                   0,
		`(?m)^aksService$`:               0,
		`system:`:                        0,
		`^(?:system:)?eks:`:              0,
		`^(?P<n>system:)(?:x|yy|)`:       3,
		`^(a1|b2|c3|d4|e5)(a1|b2|c3|d4)`: 0,
	} {
		re := regexp.MustCompile(text)
		found := literalStarts(re)
		if len(found) != want {
			t.Errorf("%s: %d beginnings %v, want %d", text, len(found), found, want)
		}
		if found == nil {
			continue
		}
		for _, s := range texts {
			if got := slices.ContainsFunc(found, func(b start) bool { return b.met(s) }); got != re.MatchString(s) {
				t.Errorf("%s, %q: %t, and the expression says otherwise", text, s, got)
			}
		}
	}
}
