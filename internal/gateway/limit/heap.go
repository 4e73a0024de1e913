package limit

// indexed is a binary heap whose items know their place, so that any of them
// can be moved or taken out.
type indexed[T any] struct {
	items []T
	less  func(a, b T) bool
	place func(T) *int
}

func (h *indexed[T]) push(x T) {
	h.items = append(h.items, x)
	*h.place(x) = len(h.items) - 1
	h.up(len(h.items) - 1)
}

// fix puts an item right whose order changed.
func (h *indexed[T]) fix(x T) {
	i := *h.place(x)
	if !h.down(i) {
		h.up(i)
	}
}

func (h *indexed[T]) remove(x T) {
	i, last := *h.place(x), len(h.items)-1
	h.swap(i, last)
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	if i < last && !h.down(i) {
		h.up(i)
	}
}

func (h *indexed[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.place(h.items[i]) = i
	*h.place(h.items[j]) = j
}

func (h *indexed[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.items[i], h.items[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *indexed[T]) down(i int) (moved bool) {
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			return moved
		}
		if r := child + 1; r < len(h.items) && h.less(h.items[r], h.items[child]) {
			child = r
		}
		if !h.less(h.items[child], h.items[i]) {
			return moved
		}
		h.swap(i, child)
		i, moved = child, true
	}
}
