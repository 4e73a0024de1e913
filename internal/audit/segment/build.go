package segment

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// absent stands for null in a decoded or collected column of integers. A file that has
// it as a value is refused.
const absent = math.MinInt64

// builder collects one column of a row group.
type builder struct {
	// Text and small columns: codes are 0 for null, else 1 + the place in dict.
	codes []int32
	dict  []string
	index map[string]int32
	// last is the code of the text before: events come in runs.
	last int32
	// Integer columns, absent for null.
	ints []int64
	// Fixed and blob columns: the values end to end, nulls left out.
	data    []byte
	present []byte // 1 for a value, 0 for null: as definition levels
	nulls   int
	// texts is how many bytes dict has.
	texts int
}

func (b *builder) reset() {
	b.codes, b.ints, b.data, b.present = b.codes[:0], b.ints[:0], b.data[:0], b.present[:0]
	clear(b.dict)
	clear(b.index)
	b.dict, b.last, b.nulls, b.texts = b.dict[:0], 0, 0, 0
}

func (b *builder) null() {
	b.nulls++
	b.codes = append(b.codes, 0)
}

// text adds s.
func (b *builder) text(s string) {
	if b.last != 0 && b.dict[b.last-1] == s {
		b.codes = append(b.codes, b.last)
		return
	}
	code, ok := b.index[s]
	if !ok {
		code = b.define(s)
	}
	b.last = code
	b.codes = append(b.codes, code)
}

// bytes adds a text whose memory is used again.
func (b *builder) bytes(s []byte) {
	if b.last != 0 && b.dict[b.last-1] == string(s) {
		b.codes = append(b.codes, b.last)
		return
	}
	code, ok := b.index[string(s)]
	if !ok {
		code = b.define(string(s))
	}
	b.last = code
	b.codes = append(b.codes, code)
}

func (b *builder) define(s string) int32 {
	if b.index == nil {
		b.index = map[string]int32{}
	}
	b.dict = append(b.dict, s)
	b.texts += len(s)
	code := count32(len(b.dict))
	b.index[s] = code
	return code
}

// optional adds s, or null where it is empty.
func (b *builder) optional(s string) {
	if s == "" {
		b.null()
		return
	}
	b.text(s)
}

func (b *builder) integer(v int64) {
	if v == absent {
		b.nulls++
	}
	b.ints = append(b.ints, v)
}

func (b *builder) instant(t time.Time) {
	if t.IsZero() {
		b.integer(absent)
		return
	}
	b.integer(t.UnixMicro())
}

func (b *builder) fixed(value []byte) {
	if value == nil {
		b.nulls++
		b.present = append(b.present, 0)
		return
	}
	b.present = append(b.present, 1)
	b.data = append(b.data, value...)
}

// blob adds a text with its length before it, as PLAIN has it; empty is null.
func (b *builder) blob(value []byte) {
	if len(value) == 0 {
		b.nulls++
		b.present = append(b.present, 0)
		return
	}
	b.present = append(b.present, 1)
	b.data = appendLength(b.data, len(value))
	b.data = append(b.data, value...)
}

// group collects the columns of a row group.
type group struct {
	specs   [columnCount]columnSpec
	columns [columnCount]builder
	rows    int
	scratch []byte
	keys    []string
}

// newGroup makes room for rows.
func newGroup(rows int) *group {
	g := &group{specs: columnSpecs()}
	for id := range g.specs {
		switch b := &g.columns[id]; g.specs[id].shape {
		case shapeText, shapeSmall:
			b.codes = make([]int32, 0, rows)
		case shapeInt:
			b.ints = make([]int64, 0, rows)
		case shapeFixed, shapeBlob:
			b.present = make([]byte, 0, rows)
		}
	}
	return g
}

func (g *group) reset() {
	for i := range g.columns {
		g.columns[i].reset()
	}
	g.rows = 0
}

// size is how many bytes of text the row group holds.
func (g *group) size() int {
	var size int
	for i := range g.columns {
		size += g.columns[i].texts + len(g.columns[i].data)
	}
	return size
}

func (g *group) add(seq uint64, row *Row) error {
	c := &g.columns
	c[colSeq].integer(seqInt(seq))
	c[colTag].fixed(row.Leaf[:tagSize])
	g.rows++
	if row.Pruned {
		c[colLeaf].fixed(row.Leaf[:])
		g.addNulls()
		return nil
	}
	if row.Event == nil {
		return fmt.Errorf("write event %d of a segment: there is no event, and the row is not pruned", seq)
	}
	if row.Event.Seq != 0 && row.Event.Seq != seq {
		return fmt.Errorf("write event %d of a segment: the event says it is number %d", seq, row.Event.Seq)
	}
	c[colLeaf].fixed(nil)
	before := g.size()
	g.addEvent(row.Event)
	if grown := g.size() - before; grown > maxText {
		return fmt.Errorf("write event %d of a segment: %d bytes of text are more than the %d that an event may have", seq, grown, maxText)
	}
	return nil
}

func (g *group) addNulls() {
	for id := range g.specs {
		spec, c := &g.specs[id], &g.columns[id]
		switch {
		case spec.required || columnID(id) == colLeaf:
		case spec.shape == shapeText || spec.shape == shapeSmall:
			c.null()
		case spec.shape == shapeInt:
			c.integer(absent)
		case spec.shape == shapeFixed:
			c.fixed(nil)
		case spec.shape == shapeBlob:
			c.blob(nil)
		}
	}
}

func (g *group) addEvent(e *audit.Event) {
	c := &g.columns
	c[colKind].optional(string(e.Kind))
	c[colSource].optional(e.Source)
	c[colCluster].optional(e.Cluster)
	c[colReceived].instant(e.Received)
	c[colStageAt].instant(e.StageAt)
	c[colRequestReceived].instant(e.RequestReceived)
	var id [16]byte
	if parseUUID(&id, e.AuditID) {
		c[colAuditID].fixed(id[:])
		c[colAuditIDText].null()
	} else {
		c[colAuditID].fixed(nil)
		c[colAuditIDText].optional(e.AuditID)
	}
	c[colLevel].optional(e.Level)
	c[colStage].optional(e.Stage)
	c[colVerb].optional(e.Verb)
	c[colSaidVerb].optional(e.SaidVerb)
	c[colRequestURI].optional(e.RequestURI)

	c[colUsername].optional(e.User.Username)
	c[colUID].optional(e.User.UID)
	g.list(colGroups, e.User.Groups)
	g.extra(colExtra, e.User.Extra)
	if as := e.Impersonated; as != nil {
		c[colAsUsername].text(as.Username)
		c[colAsUID].optional(as.UID)
		g.list(colAsGroups, as.Groups)
		g.extra(colAsExtra, as.Extra)
	} else {
		c[colAsUsername].null()
		c[colAsUID].null()
		c[colAsGroups].null()
		c[colAsExtra].null()
	}
	g.list(colSourceIPs, e.SourceIPs)
	c[colUserAgent].optional(e.UserAgent)
	g.addObject(&e.Object)

	if e.Status.Code == 0 {
		c[colCode].null()
	} else {
		g.scratch = strconv.AppendInt(g.scratch[:0], int64(e.Status.Code), 10)
		c[colCode].bytes(g.scratch)
	}
	c[colStatus].optional(e.Status.Status)
	c[colReason].optional(e.Status.Reason)
	c[colMessage].optional(e.Status.Message)
	g.addAnnotations(e.Annotations)

	c[colRequestObject].blob(e.RequestObject)
	c[colResponseObject].blob(e.ResponseObject)
	c[colMore].blob(e.More)
	g.scratch = appendRedactions(g.scratch[:0], e.Redactions)
	c[colRedactions].blob(g.scratch)
}

func (g *group) addObject(o *audit.ObjectRef) {
	c := &g.columns
	c[colAPIGroup].optional(o.APIGroup)
	c[colAPIVersion].optional(o.APIVersion)
	c[colResource].optional(o.Resource)
	c[colSubresource].optional(o.Subresource)
	c[colNamespace].optional(o.Namespace)
	c[colName].optional(o.Name)
	c[colObjectUID].optional(o.UID)
	if v, ok := parseNumber(o.ResourceVersion); ok {
		c[colResourceVersion].integer(v)
		c[colResourceVersionText].null()
	} else {
		c[colResourceVersion].integer(absent)
		c[colResourceVersionText].optional(o.ResourceVersion)
	}
}

func (g *group) addAnnotations(m map[string]string) {
	c := &g.columns
	rest := len(m)
	for i, key := range [...]string{keyDecision, keyDecisionReason} {
		id := [...]columnID{colDecision, colDecisionReason}[i]
		if value, ok := m[key]; ok {
			c[id].text(value)
			rest--
		} else {
			c[id].null()
		}
	}
	if rest == 0 {
		c[colAnnotations].null()
		return
	}
	g.keys = slices.DeleteFunc(sortedKeys(g.keys, m), func(key string) bool {
		return key == keyDecision || key == keyDecisionReason
	})
	g.scratch = appendTexts(g.scratch[:0], m, g.keys)
	c[colAnnotations].bytes(g.scratch)
}

func (g *group) list(id columnID, list []string) {
	if len(list) == 0 {
		g.columns[id].null()
		return
	}
	g.scratch = appendList(g.scratch[:0], list)
	g.columns[id].bytes(g.scratch)
}

func (g *group) extra(id columnID, m map[string][]string) {
	if len(m) == 0 {
		g.columns[id].null()
		return
	}
	g.keys = sortedKeys(g.keys, m)
	g.scratch = appendLists(g.scratch[:0], m, g.keys)
	g.columns[id].bytes(g.scratch)
}
