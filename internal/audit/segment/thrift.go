package segment

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The footer and the page headers are Thrift in its compact form. thriftReader walks
// over them without a list or a text being allocated before its bytes are there.
type thriftReader struct {
	rest  []byte
	depth int
	err   error
}

// The wire types that the format uses.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftInt16  = 4
	thriftInt32  = 5
	thriftInt64  = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12
)

// maxDepth is how deep structs may stand in one another; a footer has less.
const maxDepth = 16

func (r *thriftReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrFormat, what)
		r.rest = nil
	}
}

func (r *thriftReader) unknown() { r.fail("a header has something that we do not write") }

func (r *thriftReader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("a header ends too early")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *thriftReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail("a header has a number that does not end")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *thriftReader) integer() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail("a header has a number that does not end")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count is an integer from 0 to most.
func (r *thriftReader) count(what string, most int) int {
	v := r.integer()
	if v < 0 || v > int64(most) {
		r.fail(fmt.Sprintf("%s is %d, not between 0 and %d", what, v, most))
		return 0
	}
	return int(v)
}

// most refuses more than a limit of something.
func (r *thriftReader) most(what string, n, limit int) {
	if n > limit {
		r.fail(fmt.Sprintf("more than %d %s", limit, what))
	}
}

func (r *thriftReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail("a header has a text longer than itself")
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// list calls item for each item of a list of the wanted type. Each item takes at least
// a byte, so a count beyond the bytes that are left is a lie.
func (r *thriftReader) list(wanted byte, item func()) {
	head := r.byte()
	n := uint64(head >> 4)
	if n == 15 {
		n = r.uvarint()
	}
	if n > uint64(len(r.rest)) {
		r.fail("a header has a list longer than itself")
		return
	}
	if head&15 != wanted && n > 0 {
		r.fail("a header has a list of something else")
		return
	}
	for i := uint64(0); i < n && r.err == nil; i++ {
		item()
	}
}

// object calls field for each field of a struct with its number and type; field must
// read the value, by skip where it does not know it.
func (r *thriftReader) object(field func(id int64, kind byte)) {
	r.depth++
	if r.depth > maxDepth {
		r.fail("a header is too deep")
	}
	var id int64
	for r.err == nil {
		head := r.byte()
		if head == 0 {
			break
		}
		before := id
		if d := int64(head >> 4); d != 0 {
			id += d
		} else {
			id = r.integer()
		}
		if id <= before || id > math.MaxInt16 { // one that stands twice is read in two ways
			r.fail("a header has a field of no sound number")
			return
		}
		field(id, head&15)
	}
	r.depth--
}

func (r *thriftReader) skip(kind byte) {
	switch kind {
	case thriftTrue, thriftFalse:
	case thriftByte:
		r.byte()
	case thriftInt16, thriftInt32, thriftInt64:
		r.integer()
	case thriftDouble:
		for range 8 {
			r.byte()
		}
	case thriftBinary:
		r.bytes()
	case thriftList, thriftSet:
		if len(r.rest) == 0 {
			r.fail("a header ends too early")
			return
		}
		of := r.rest[0] & 15
		r.depth++
		if r.depth > maxDepth {
			r.fail("a header is too deep")
		}
		r.list(of, func() {
			if of == thriftTrue || of == thriftFalse {
				r.byte() // in lists a truth value has a byte of its own
				return
			}
			r.skip(of)
		})
		r.depth--
	case thriftStruct:
		r.object(func(_ int64, kind byte) { r.skip(kind) })
	default:
		r.fail("a header has a value of no known type")
	}
}

// want reports whether a field has the type; else the header is not ours.
func (r *thriftReader) want(kind, wanted byte) bool {
	if kind != wanted {
		r.fail("a header has a field of another type")
		return false
	}
	return true
}
