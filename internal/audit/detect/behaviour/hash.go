package behaviour

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// key is what hashes are made with. It comes from the first event that a Memory sees,
// whose times and audit id nobody could choose before: who cannot read the trail
// cannot work out which names have the same hash, and the same events give the same
// hashes all the same.
type key struct{ a, b uint64 }

func keyOf(e *audit.Event) key {
	h := sha256.New()
	for _, text := range []string{e.AuditID, e.Cluster, e.User.Username, e.User.UID, e.RequestURI} {
		h.Write([]byte(strconv.Itoa(len(text)) + ":" + text))
	}
	for _, t := range []time.Time{e.RequestReceived, e.StageAt, e.Received} {
		h.Write(strconv.AppendInt(nil, t.UnixNano(), 10))
	}
	sum := h.Sum(nil)
	return key{binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])}
}

// Keys is the key of all Memories that look at the same events, and the identities that
// they have worked out of the event at hand.
type Keys struct {
	key   key
	set   bool
	turn  uint64
	lists []string // what identities are made of
	known []identity
}

type identity struct{ turn, hash uint64 }

// NewKeys makes Keys without a key: it comes from the first event.
func NewKeys() *Keys { return &Keys{} }

// Next goes on to the next event.
func (k *Keys) Next() { k.turn++ }

// list gives the number of a list of fields.
func (k *Keys) list(names []string) int {
	text := strings.Join(names, "\n")
	n := slices.Index(k.lists, text)
	if n < 0 {
		n = len(k.lists)
		k.lists, k.known = append(k.lists, text), append(k.known, identity{})
	}
	return n
}

// sum is SipHash-1-3 of a text: who chooses the text is never shown its hash.
func (k key) sum(p []byte) uint64 {
	s := sip{k.a ^ 0x736f6d6570736575, k.b ^ 0x646f72616e646f6d, k.a ^ 0x6c7967656e657261, k.b ^ 0x7465646279746573}
	rest := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		s.d ^= m
		s.round()
		s.a ^= m
	}
	for i, c := range p {
		rest |= uint64(c) << (8 * i)
	}
	s.d ^= rest
	s.round()
	s.a ^= rest
	s.c ^= 0xff
	s.round()
	s.round()
	s.round()
	return s.a ^ s.b ^ s.c ^ s.d
}

// sip is the inner state of SipHash.
type sip struct{ a, b, c, d uint64 }

func (s *sip) round() {
	s.a += s.b
	s.b = bits.RotateLeft64(s.b, 13) ^ s.a
	s.a = bits.RotateLeft64(s.a, 32)
	s.c += s.d
	s.d = bits.RotateLeft64(s.d, 16) ^ s.c
	s.a += s.d
	s.d = bits.RotateLeft64(s.d, 21) ^ s.a
	s.c += s.b
	s.b = bits.RotateLeft64(s.b, 17) ^ s.c
	s.c = bits.RotateLeft64(s.c, 32)
}

// appendText appends a text so that no two lists of texts look the same.
func appendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// appendField appends all values of a field.
func appendField(dst []byte, fields Fields, n int) []byte {
	count := fields.Len(n)
	dst = binary.AppendUvarint(dst, uint64(count)) //nolint:gosec // a length
	for i := range count {
		dst = appendText(dst, fields.Text(n, i))
	}
	return dst
}
