package audit

import "hash/maphash"

// Words remembers texts that were read lately, so that reading one again takes no new
// memory: most texts of events come again and again. It holds a thousand or so, none
// of them long. The zero Words is not ready; it is for one goroutine.
type Words struct {
	known [1024]string
	seed  maphash.Seed
}

// NewWords remembers nothing yet. Its seed is random, so that nobody can choose texts
// that push each other out.
func NewWords() *Words { return &Words{seed: maphash.MakeSeed()} }

// Text gives b as a string that shares no memory with it.
func (w *Words) Text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > 128 {
		return string(b)
	}
	slot := &w.known[maphash.Bytes(w.seed, b)%uint64(len(w.known))]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}
