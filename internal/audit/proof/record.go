package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RecordVersion is the form of records that this Bulwark writes.
const RecordVersion = 1

// recordHead is the first line of a record.
const recordHead = "bulwark.dev/audit/segment/v1"

// recordTime is the form of times in a record: UTC, whole microseconds.
const recordTime = "2006-01-02T15:04:05.000000Z"

// Record is what a sealed segment leaves in the ledger.
type Record struct {
	// Version is RecordVersion.
	Version int
	// Number counts segments from 1; the record is leaf Number-1 of the ledger.
	Number uint64
	// First and Last are the numbers of the segment's first and last event; Events is
	// how many there are, which is all between.
	First, Last, Events uint64
	// Root is the Merkle root over the leaf hashes of the events.
	Root Hash
	// Chain is the chain's link at Last.
	Chain Hash
	// Previous is the Hash of the record before; zero for the first.
	Previous Hash
	// From and To are when the earliest and the latest of the events were received.
	From, To time.Time

	// Blocks, which may be left out, are Tree.Blocks of the segment. They are no part of
	// the record's bytes: the ledger keeps them beside it, so that verification can say
	// which events of a segment are wrong even when its whole file was written anew. They
	// need no signature, because they have to fold to Root.
	Blocks []Hash `json:"-"`
}

// check says what makes a record one that cannot be.
func (r *Record) check() error {
	switch {
	case r.Version != RecordVersion:
		return fmt.Errorf("version %d is not known", r.Version)
	case r.Number == 0 || r.First == 0:
		return errors.New("numbers of segments and events begin at 1")
	case r.First < r.Number:
		return fmt.Errorf("segment %d cannot begin with event %d: each before it has one at least", r.Number, r.First)
	case r.Last < r.First || r.Events != r.Last-r.First+1:
		return fmt.Errorf("events %d to %d are not %d", r.First, r.Last, r.Events)
	case (r.Number == 1) != (r.First == 1):
		return fmt.Errorf("segment %d cannot begin with event %d", r.Number, r.First)
	case (r.Number == 1) != (r.Previous == Hash{}):
		return errors.New("the first record, and only that, has no previous one")
	case r.To.Before(r.From):
		return errors.New("the times are the wrong way round")
	}
	for _, t := range []time.Time{r.From, r.To} {
		if y := t.UTC().Year(); y < 1 || y > 9999 || t.Nanosecond()%1000 != 0 {
			return fmt.Errorf("time %s is not one of whole microseconds within years 1 to 9999", t)
		}
	}
	return nil
}

// AppendText appends the record's canonical bytes: lines of a word, a space and a
// value, always the same words in the same order.
func (r Record) AppendText(dst []byte) ([]byte, error) {
	if err := r.check(); err != nil {
		return dst, fmt.Errorf("record %d: %w", r.Number, err)
	}
	return fmt.Appendf(dst, "%s\nnumber %d\nfirst %d\nlast %d\nevents %d\nroot %x\nchain %x\nprevious %x\nfrom %s\nto %s\n",
		recordHead, r.Number, r.First, r.Last, r.Events, r.Root, r.Chain, r.Previous,
		r.From.UTC().Format(recordTime), r.To.UTC().Format(recordTime)), nil
}

// RecordHash is the hash of a record's canonical bytes, which the next record names.
func RecordHash(canonical []byte) Hash { return sha256.Sum256(canonical) }

// ParseRecord reads a record's canonical bytes, and takes nothing else.
func ParseRecord(canonical []byte) (Record, error) {
	lines := strings.Split(string(canonical), "\n")
	if len(lines) != 11 || lines[0] != recordHead {
		return Record{}, fmt.Errorf("parse record: %d lines that begin with %.40q are no record", len(lines), lines[0])
	}
	p := recordParser{lines: lines[1:]}
	r := Record{
		Version: RecordVersion,
		Number:  p.number("number"), First: p.number("first"), Last: p.number("last"), Events: p.number("events"),
		Root: p.hash("root"), Chain: p.hash("chain"), Previous: p.hash("previous"),
		From: p.time("from"), To: p.time("to"),
	}
	if p.err != nil {
		return Record{}, fmt.Errorf("parse record: %w", p.err)
	}
	again, err := r.AppendText(nil)
	if err != nil {
		return Record{}, fmt.Errorf("parse record: %w", err)
	}
	if !bytes.Equal(again, canonical) {
		return Record{}, errors.New("parse record: not in canonical form")
	}
	return r, nil
}

// recordParser takes one line after the other and keeps the first error.
type recordParser struct {
	lines []string
	err   error
}

func (p *recordParser) value(word string) string {
	line := p.lines[0]
	p.lines = p.lines[1:]
	value, ok := strings.CutPrefix(line, word+" ")
	if !ok && p.err == nil {
		p.err = fmt.Errorf("no %q where it should stand", word)
	}
	return value
}

func (p *recordParser) number(word string) uint64 {
	n, err := strconv.ParseUint(p.value(word), 10, 64)
	p.keep(word, err)
	return n
}

func (p *recordParser) hash(word string) Hash {
	raw, err := hex.DecodeString(p.value(word))
	if err == nil && len(raw) != sha256.Size {
		err = fmt.Errorf("%d bytes are no hash", len(raw))
	}
	p.keep(word, err)
	if p.err != nil {
		return Hash{}
	}
	return Hash(raw)
}

func (p *recordParser) time(word string) time.Time {
	t, err := time.Parse(recordTime, p.value(word))
	p.keep(word, err)
	return t
}

func (p *recordParser) keep(word string, err error) {
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("%s: %w", word, err)
	}
}
