// Package segment keeps a closed run of events in one Parquet file, which is both
// the truth and the index: every event's canonical bytes are rebuilt from the columns
// exactly, and the same columns answer searches, ours and those of DuckDB, Trino,
// Spark or ClickHouse.
//
// Writing uses the format definitions and encoders of parquet-go. Reading is our own,
// because a segment that somebody edited is an enemy's input: that library allocates
// what a length in the file says, and a file of a few bytes may say terabytes. The
// reader here takes only the encodings that Write uses, bounds each size before it
// allocates, and has no unsafe code.
package segment

import (
	"errors"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Version is the version of the files that Write makes. Open takes no other.
const Version = 1

// Limits of a file. Write refuses what Open would refuse.
const (
	// groupRows is how many rows share a row group, and so a dictionary.
	groupRows = 1 << 16
	// groupBytes ends a row group before groupRows, so that a page of bodies stays small
	// enough to be held in memory.
	groupBytes = 32 << 20
	// maxText is the longest text of one event; a row group may be larger than groupBytes by
	// one of them.
	maxText = 64 << 20
	// maxPage is the most that one page may unpack to.
	maxPage = groupBytes + 2*maxText
	// maxRows is how many rows a file may have.
	maxRows = 1 << 24
	// maxGroups is how many row groups a file may have, and maxNotes how many notes.
	maxGroups = 1 << 12
	maxNotes  = 1 << 8
	// maxGroup is the most that a row group may unpack to: groupBytes and one event of maxText,
	// and as much again for codes, numbers and lengths.
	maxGroup = 256 << 20
	// maxHeld is how much a Reader keeps unpacked.
	maxHeld = 512 << 20
	// maxFooter is the longest footer.
	maxFooter = 64 << 20
	// blockRows is how many leaves one block root of Meta covers.
	blockRows = 256
	// tagSize is how much of each leaf hash a row carries, to tell which row was edited.
	tagSize = 4
)

// ErrFormat is wrapped by every error that says that a file is not a segment as Write
// makes them: truncated, edited, or something else.
var ErrFormat = errors.New("not a sound segment")

// Row is one event of a segment.
type Row struct {
	// Event is nil in a pruned row.
	Event *audit.Event
	// Leaf is the RFC 6962 leaf hash of the event's canonical bytes. Write needs it in every
	// row. Rows gives it only in pruned rows: a file has no more than Tag of the others, whose
	// hash follows from the event.
	Leaf [32]byte
	// Tag is the beginning of the leaf hash as the file has it. Write ignores it.
	Tag [tagSize]byte
	// Pruned says that retention took the event away, so that only its leaf hash is left.
	Pruned bool
}

// Meta is what a file says of itself besides its rows. None of it is proof: Check compares
// it with the rows, and the log's root with both.
type Meta struct {
	// Notes are the writer's own, for example the log's origin. The rest is made by Write.
	Notes map[string]string
	// Blocks are the RFC 6962 roots of each 256 leaves, counted from the segment's first; the
	// last may be of fewer. An inclusion proof needs them and the rows of one block.
	Blocks [][32]byte
	// Kinds counts the events of each kind; pruned rows are of none.
	Kinds map[audit.Kind]int
	// From and To are the earliest and latest Event.Time; zero when every row is pruned.
	From, To time.Time
}

// Query selects rows. The zero Query selects every row that is not pruned.
type Query struct {
	// From and To bound Event.Time: From <= time < To. Zero is no bound.
	From, To time.Time
	// Conditions must all be met.
	Conditions []Condition
}

// Condition is met by a row when Test likes a value of the field; or, with Absent, when
// the field has no value. Pruned rows meet no condition, not even with Not.
type Condition struct {
	// Field is a path as audit.ParseField takes it, one that Decides says yes to.
	Field string
	// Test is asked once per distinct text where the column has a dictionary. It may be asked
	// of texts that no selected row has. Nil likes none.
	Test func(text string) bool
	// Absent makes rows in which the field has no value meet the condition.
	Absent bool
	// Not turns the whole condition round: no value that Test likes, and, with Absent, a value
	// at all.
	Not bool
}
