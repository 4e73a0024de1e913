package detect

import (
	"container/list"
	"strings"
)

// holder remembers which alerts were raised, to hold back those alike for a time.
type holder struct {
	most  int
	order list.List // of *held, the latest in front
	keys  map[string]*list.Element
}

type held struct {
	Key   string
	At    int64 // of the alert that was raised
	Count int   // of those held back since
}

func newHolder(most int) *holder { return &holder{most: most, keys: map[string]*list.Element{}} }

// pass reports whether an alert may be raised, and how many alike were held back since
// the last one.
func (h *holder) pass(key string, at, span int64) (count int, ok bool) {
	if el := h.keys[key]; el != nil {
		last, _ := el.Value.(*held)
		h.order.MoveToFront(el)
		if abs(at-last.At) < span {
			last.Count++
			return 0, false
		}
		count = last.Count
		last.At, last.Count = at, 0
		return count, true
	}
	h.put(&held{Key: key, At: at})
	return 0, true
}

func (h *holder) put(one *held) {
	h.keys[one.Key] = h.order.PushFront(one)
	for h.order.Len() > h.most {
		last := h.order.Back()
		if gone, ok := h.order.Remove(last).(*held); ok {
			delete(h.keys, gone.Key)
		}
	}
}

// likeness is what alerts of a rule have in common that are held back together.
func (g *Engine) likeness(r *running) string {
	values := make([]string, 0, len(r.by))
	for _, n := range r.by {
		values = append(values, g.view.Joined(n))
	}
	// What somebody does as another is never held back for what the other did.
	if e := g.view.Event(); e.Impersonated != nil {
		values = append(values, e.User.Username)
	}
	return strings.ToValidUTF8(r.Key, "\uFFFD") + separator + groupKey(values)
}
