package behaviour

import "slices"

// A value is remembered in one word: the upper 48 bits are a hash, the lower 16 the day
// on which it was last seen, counted from 1970.
//
// The hash is of 48 bits: among 200 values of an identity, one more is taken for known
// by accident once in 10^12 cases. Who wants that to happen has to know the key; who
// has to try meets an alert with every try that fails.
type word uint64

const (
	dayBits = 16
	hashMax = 1<<48 - 1
	// memberBit tells the members of a group from what they did.
	memberBit = 1 << 47
)

func (w word) hash() uint64 { return uint64(w) >> dayBits }

func (w word) day() int { return int(w & (1<<dayBits - 1)) }

func wordOf(hash uint64, day int) word { return word(hash<<dayBits | uint64(day)) } //nolint:gosec // dayOf has bounded it

// short makes the hash of a value, which is never 0, of one of 64 bits.
func short(sum uint64) uint64 { return max(sum&(memberBit-1), 1) }

// table is a set of words with open addressing.
type table struct {
	words []word // a power of two of them; 0 is free
	used  int
}

// find gives the place of a hash, or that of the free word where it would stand.
func (t *table) find(hash uint64) int {
	mask := len(t.words) - 1
	i := int(hash) & mask //nolint:gosec // only its lower bits count
	for t.words[i] != 0 && t.words[i].hash() != hash {
		i = (i + 1) & mask
	}
	return i
}

// seen reports whether a hash was seen at most span days before, and marks it as seen.
func (t *table) seen(hash uint64, day, span int) bool {
	if t.used == 0 {
		return false
	}
	i := t.find(hash)
	w := t.words[i]
	if w == 0 || day-w.day() > span {
		return false
	}
	if day > w.day() {
		t.words[i] = wordOf(hash, day)
	}
	return true
}

// add remembers a hash.
func (t *table) add(hash uint64, day int) {
	if 4*(t.used+1) > 3*len(t.words) {
		old := t.words
		t.words, t.used = make([]word, max(8, 2*len(old))), 0
		for _, w := range old {
			if w != 0 {
				t.words[t.find(w.hash())] = w
				t.used++
			}
		}
	}
	i := t.find(hash)
	if t.words[i] == 0 {
		t.used++
	}
	t.words[i] = wordOf(hash, day)
}

// has reports whether a hash stands there, however old.
func (t *table) has(hash uint64) bool { return t.used > 0 && t.words[t.find(hash)] != 0 }

// purge forgets what was not seen for more than span days.
func (t *table) purge(day, span int) {
	var stay []word
	for _, w := range t.words {
		if w != 0 && day-w.day() <= span {
			stay = append(stay, w)
		}
	}
	if len(stay) == t.used {
		return
	}
	clear(t.words)
	t.used = 0
	for _, w := range stay {
		t.add(w.hash(), w.day())
	}
}

// members counts the members, however old.
func (t *table) members() int {
	n := 0
	for _, w := range t.words {
		if w.hash()&memberBit != 0 {
			n++
		}
	}
	return n
}

// count counts the members, and the values that are none.
func (t *table) count(day, span int) (members, values int) {
	for _, w := range t.words {
		switch {
		case w == 0 || day-w.day() > span:
		case w.hash()&memberBit != 0:
			members++
		default:
			values++
		}
	}
	return members, values
}

// sorted lists the words by day and hash.
func (t *table) sorted() []word {
	out := make([]word, 0, t.used)
	for _, w := range t.words {
		if w != 0 {
			out = append(out, w<<48|w>>dayBits)
		}
	}
	slices.Sort(out)
	for i, w := range out {
		out[i] = w<<dayBits | w>>48
	}
	return out
}

const (
	second = int64(1_000_000) // of microseconds
	oneDay = 24 * 60 * 60 * second
)

// dayOf is the day of a time, which fits into a word.
func dayOf(at int64) int { return int(min(max(at/oneDay, 0), 1<<dayBits-1)) }
