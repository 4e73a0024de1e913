package query

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit/search/plain"
)

// Error says what is wrong with a query, and where.
type Error struct {
	Query   string
	At      int // byte of Query
	Problem string
}

func (e *Error) Error() string {
	return fmt.Sprintf("query, character %d: %s", 1+utf8.RuneCountInString(e.Query[:min(e.At, len(e.Query))]), e.Problem)
}

// around is how much of a long query is shown on each side of the fault.
const around = 60

// Caret shows the query, or the part of it around the fault, and under it a mark at
// the fault. The text is safe for a terminal.
func (e *Error) Caret() string {
	at := min(e.At, len(e.Query))
	before, after := []rune(e.Query[:at]), []rune(e.Query[at:])
	head, tail := "", ""
	if len(before) > around {
		head, before = "…", before[len(before)-around:]
	}
	if len(after) > around {
		tail, after = "…", after[:around]
	}
	lead := head + plain.Text(string(before))
	return lead + plain.Text(string(after)) + tail + "\n" + strings.Repeat(" ", plain.Cells(lead)) + "^"
}

// near gives the names that somebody may have meant, the nearest first.
func near(name string, names []string) []string {
	type guess struct {
		name     string
		distance int
	}
	var guesses []guess
	low := strings.ToLower(name)
	for _, known := range names {
		other := strings.ToLower(known)
		d := distance(low, other)
		switch {
		case low == other:
			d = 0
		case d <= 1+len(low)/4: // close enough to be a slip
		case strings.HasSuffix(other, "."+low) || strings.HasPrefix(other, low) && len(low) > 2 || strings.HasPrefix(low, other) && len(other) > 3:
			d = 3 + max(len(low)-len(other), len(other)-len(low))
		default:
			continue
		}
		guesses = append(guesses, guess{known, d})
	}
	slices.SortFunc(guesses, func(a, b guess) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, g := range guesses[:min(3, len(guesses))] {
		out = append(out, g.name)
	}
	return out
}

// distance counts the letters to change, add or leave out between two names. Long
// texts are no slips of a name and count as far away.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j]+1, last+1)
		}
	}
	return row[len(b)]
}
