package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Times are whole microseconds, as those of events are.
const tick = time.Microsecond

// longest is as far back as a relative time reaches.
const longest = 100 * 366 * 24 * time.Hour

// moment is a time as somebody says it: a day, a minute, an instant.
type moment struct {
	from time.Time
	to   time.Time // the first instant after it, as precisely as it was said
	day  bool      // a whole day was meant
	back bool      // it was said as a distance from now
}

// parseMoment reads "2h", "now", "today", "yesterday", a date, or a date and time.
func (env Env) parseMoment(text string) (moment, error) {
	now := env.Now.UTC().Truncate(tick)
	zone := env.Location
	if zone == nil {
		zone = time.UTC
	}
	dayOf := func(y int, m time.Month, d int) moment {
		return moment{from: time.Date(y, m, d, 0, 0, 0, 0, zone).UTC(), to: time.Date(y, m, d+1, 0, 0, 0, 0, zone).UTC(), day: true}
	}
	switch y, m, d := now.In(zone).Date(); text {
	case "now":
		return moment{from: now, to: now.Add(tick), back: true}, nil
	case "today":
		return dayOf(y, m, d), nil
	case "yesterday":
		return dayOf(y, m, d-1), nil
	}
	if d, ok := parseSpan(text); ok {
		at := now.Add(-d)
		return moment{from: at, to: at.Add(tick), back: true}, nil
	}
	if t, err := time.ParseInLocation("2006-01-02", text, zone); err == nil {
		if err := inEra(t); err != nil {
			return moment{}, err
		}
		return dayOf(t.Date()), nil
	}
	// RFC 3339 allows a space or a small t between date and time.
	said := text
	if len(said) > 10 && (said[10] == ' ' || said[10] == 't') {
		said = said[:10] + "T" + said[11:]
	}
	for _, form := range []struct {
		layout string
		length time.Duration
	}{
		{"2006-01-02T15:04Z07:00", time.Minute},
		{"2006-01-02T15:04", time.Minute},
		{"2006-01-02T15:04:05Z07:00", time.Second},
		{"2006-01-02T15:04:05", time.Second},
	} {
		t, err := time.ParseInLocation(form.layout, said, zone)
		if err != nil {
			continue
		}
		if err := inEra(t); err != nil {
			return moment{}, err
		}
		if strings.ContainsRune(said[10:], '.') || strings.ContainsRune(said[10:], ',') {
			form.length = tick
		}
		t = t.UTC().Truncate(tick)
		return moment{from: t, to: t.Add(form.length)}, nil
	}
	return moment{}, fmt.Errorf("%q is no time: use 2h (s, m, h, d, w), today, 2026-11-21, 2026-11-21T10:00 or 2026-11-21T10:00:00Z", shorten(text))
}

// inEra keeps times where every form of output can write them.
func inEra(t time.Time) error {
	if y := t.UTC().Year(); y < 1900 || y > 9990 {
		return fmt.Errorf("the year %d is out of range", y)
	}
	return nil
}

// parseRange reads two times with ".." between; either may be missing. The second
// may be a time of day: that of the first one's date.
func (env Env) parseRange(low, high string) (from, to time.Time, err error) {
	if low == "" && high == "" {
		return from, to, fmt.Errorf("a range needs a time before or after the two dots")
	}
	if low != "" {
		m, err := env.parseMoment(low)
		if err != nil {
			return from, to, err
		}
		from = m.from
	}
	if high == "" {
		return from, to, nil
	}
	if len(high) < 9 && strings.ContainsRune(high, ':') && len(low) > 10 && low[4] == '-' {
		zone := ""
		if at := strings.LastIndexAny(low[11:], "Z+-"); at >= 0 {
			zone = low[11+at:]
		}
		high = low[:11] + high + zone
	}
	m, err := env.parseMoment(high)
	if err != nil {
		return from, to, err
	}
	to = m.from
	if m.day {
		to = m.to // the day that was named is part of the range
	}
	if !from.IsZero() && !from.Before(to) {
		return from, to, fmt.Errorf("the range ends at %s, before it begins at %s", stamp(to), stamp(from))
	}
	return from, to, nil
}

// parseSpan reads a length of time such as "90s", "2h", "1d12h" or "2w".
func parseSpan(text string) (time.Duration, bool) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	var sum time.Duration
	for rest := text; rest != ""; {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if digits == 0 || digits > 10 || digits == len(rest) {
			return 0, false
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		unit := units[rest[digits]]
		if err != nil || unit == 0 || n > int64(longest/unit) {
			return 0, false
		}
		if sum += time.Duration(n) * unit; sum > longest {
			return 0, false
		}
		rest = rest[digits+1:]
	}
	return sum, text != ""
}

// spanText writes a length of time as parseSpan reads it.
func spanText(d time.Duration) string {
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// stamp writes a time so that parseMoment reads the same instant.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z07:00") }

// shorten keeps a quoted text in a message readable.
func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:39]) + "…"
	}
	return s
}
