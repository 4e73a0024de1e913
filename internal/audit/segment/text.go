package segment

import (
	"context"
	"fmt"
	"slices"
)

// Text gives the rows in which find likes the canonical JSON of some column: of a text
// with its quotes, a list, a map, a body. It is asked once for each text of a dictionary.
// It is not asked of times, of resource versions that are numbers, or of the names of
// members that every event has: a caller whose text may stand there has to read the
// events.
func (r *Reader) Text(ctx context.Context, find func(json []byte) bool) ([]int32, error) {
	var found []int32
	for n := range r.starts {
		g := r.group(n)
		liked := make([]bool, g.rows)
		for id := range columnCount {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := r.like(g, id, find, liked); err != nil {
				return nil, fmt.Errorf("search the segment from event %d: %w", r.first, err)
			}
		}
		for i, yes := range liked {
			if yes {
				found = append(found, count32(g.first+i))
			}
		}
	}
	return found, nil
}

// keyOf begins the text of an annotation that has a column of its own.
func keyOf(dst []byte, id columnID) []byte {
	switch id { //nolint:exhaustive // the others have no key
	case colDecision:
		return append(appendString(dst, keyDecision), ':')
	case colDecisionReason:
		return append(appendString(dst, keyDecisionReason), ':')
	}
	return dst
}

// like marks the rows of which find likes the value of a column.
func (r *Reader) like(g *rowGroup, id columnID, find func(json []byte) bool, liked []bool) error {
	c := &g.columns[id]
	switch {
	case c.spec.shape == shapeText || c.spec.shape == shapeSmall:
		dict, err := r.loadDictionary(g, id)
		if err != nil {
			return err
		}
		verdict := make([]bool, 1+len(dict))
		var buf []byte
		for i, text := range dict {
			if c.spec.means == meansText {
				buf = appendString(keyOf(buf[:0], id), text)
			} else {
				buf = append(buf[:0], text...)
			}
			verdict[1+i] = find(buf)
		}
		if !slices.Contains(verdict, true) {
			return nil // its rows need not be unpacked
		}
		if err := r.load(g, id); err != nil {
			return err
		}
		for i := range liked {
			liked[i] = liked[i] || verdict[c.code(i)]
		}
	case c.spec.shape == shapeBlob:
		if err := r.load(g, id); err != nil {
			return err
		}
		for i := range liked {
			if body := c.blob(i); body != nil && !liked[i] {
				liked[i] = find(body)
			}
		}
	case id == colAuditID:
		if err := r.load(g, id); err != nil {
			return err
		}
		for i := range liked {
			if uuid := c.fixed(i); uuid != nil && !liked[i] {
				liked[i] = find([]byte(formatUUID(uuid)))
			}
		}
	}
	return nil
}
