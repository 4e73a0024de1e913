package v1alpha1

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var rateForm = regexp.MustCompile(`^([1-9][0-9]{0,8})/(s|m|h|d)$`)

// ParseRate reads a RateLimit's rate, "<count>/<unit>" with a count from 1 to
// 999999999 and the unit one of s, m, h and d (24 hours): count requests may
// pass per period.
func ParseRate(s string) (count int, period time.Duration, err error) {
	m := rateForm.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, fmt.Errorf("rate %q is not <count>/<unit>, for example 600/m, with the unit one of s, m, h and d", s)
	}
	count, err = strconv.Atoi(m[1])
	if err != nil {
		return 0, 0, fmt.Errorf("rate %q: %w", s, err)
	}
	switch m[2] {
	case "s":
		period = time.Second
	case "m":
		period = time.Minute
	case "h":
		period = time.Hour
	default:
		period = 24 * time.Hour
	}
	return count, period, nil
}
