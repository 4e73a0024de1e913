package splice

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// ErrSame says that an edit changes nothing.
var ErrSame = errors.New("it says so already")

// Possible says of each edit alone, as far as one reading of the document tells,
// why it cannot be made: ErrSame if there is nothing to change, nil if it may go.
// It is quick; only Apply and Together prove.
func Possible(text []byte, edits []Edit) []error {
	out := make([]error, len(edits))
	d, err := open(text)
	var before any
	if err == nil {
		before, err = d.content()
	}
	for i, e := range edits {
		if out[i] = err; err == nil {
			_, out[i] = d.note(before, e)
			d.splices = nil
		}
		if out[i] != nil && !errors.Is(out[i], ErrSame) {
			out[i] = fmt.Errorf("change %s: %w", e.Path, out[i])
		}
	}
	return out
}

// note works out the splices of one edit and gives the content with it.
func (d *document) note(before any, e Edit) (any, error) {
	value, err := Normal(e.Value)
	if err != nil {
		return nil, err
	}
	e.Value = value
	want, err := Changed(before, e)
	if err != nil {
		return nil, err
	}
	if reflect.DeepEqual(before, want) {
		return before, ErrSame
	}
	return want, d.apply(e)
}

// Together is Apply for parts of a document that have nothing to do with each
// other, as the items of a list: the edits of each are applied in order. It reads
// the document as often as the longest part has edits, and not as all of them have.
func Together(text []byte, parts [][]Edit) ([]byte, error) {
	for round := 0; ; round++ {
		var edits []Edit
		for _, p := range parts {
			if round < len(p) {
				edits = append(edits, p[round])
			}
		}
		if len(edits) == 0 {
			return text, nil
		}
		next, err := several(text, edits)
		if err != nil { // one of them, or their places overlap: Apply knows which
			next, err = Apply(text, edits)
		}
		if err != nil {
			return nil, err
		}
		text = next
	}
}

// several makes edits in one go.
func several(text []byte, edits []Edit) ([]byte, error) {
	if len(edits) == 1 {
		return Apply(text, edits)
	}
	d, err := open(text)
	if err != nil {
		return nil, err
	}
	want, err := d.content()
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		next, err := d.note(want, e)
		if err != nil && !errors.Is(err, ErrSame) {
			return nil, err
		}
		want = next
	}
	slices.SortStableFunc(d.splices, func(a, b change) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(d.splices); i++ {
		if d.splices[i].from < d.splices[i-1].to {
			return nil, errors.New("two changes are in one place")
		}
	}
	out := d.joined()
	return out, proven(out, want)
}
