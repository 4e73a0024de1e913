package shop

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Order is one order of a user. Totals are in cents, so that sums are exact.
type Order struct {
	ID        string `json:"id"`
	ProductID string `json:"productId"`
	Quantity  int    `json:"quantity"`
	Total     int64  `json:"totalCents"`
	// PlacedBy is the name that the gateway vouched for when it was placed.
	PlacedBy string    `json:"placedBy"`
	PlacedAt time.Time `json:"placedAt"`
}

// Product is one thing on sale.
type Product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price int64  `json:"priceCents"`
}

// User is a customer. The e-mail address is what a reader without business here
// would be after.
type User struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

const (
	// maxEntries bounds each table: the example may run for days.
	maxEntries = 10_000
	// maxListeners bounds the open event streams.
	maxListeners = 64
)

// store keeps everything in memory. Its methods may be called by many
// goroutines and give copies.
type store struct {
	mu        sync.Mutex
	orders    map[string]Order
	products  map[string]Product
	users     map[string]User
	nextID    int
	reindexed int
	listeners map[chan Product]struct{}
}

func newStore(at time.Time) *store {
	s := &store{
		orders: map[string]Order{}, products: map[string]Product{}, users: map[string]User{},
		nextID: 1000, listeners: map[chan Product]struct{}{},
	}
	for _, p := range []Product{
		{"p1", "Desk lamp", 4900}, {"p2", "Notebook, squared", 650}, {"p3", "Fountain pen", 8200}, {"p4", "Ink, blue-black", 1450},
	} {
		s.products[p.ID] = p
	}
	for _, u := range []User{
		{"rita", "Rita Reader", "rita@shop.example"}, {"walt", "Walt Writer", "walt@shop.example"}, {"ada", "Ada Admin", "ada@shop.example"},
	} {
		s.users[u.ID] = u
	}
	for _, o := range []Order{
		{"o1", "p1", 1, 4900, "rita", at.Add(-48 * time.Hour)},
		{"o2", "p2", 4, 2600, "walt", at.Add(-26 * time.Hour)},
		{"o3", "p3", 1, 8200, "rita", at.Add(-3 * time.Hour)},
	} {
		s.orders[o.ID] = o
	}
	return s
}

// list gives the values of a table in the order of their ids.
func list[T any](mu *sync.Mutex, table map[string]T) []T {
	mu.Lock()
	defer mu.Unlock()
	out := make([]T, 0, len(table))
	for _, id := range slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	}) {
		out = append(out, table[id])
	}
	return out
}

// get gives one value.
func get[T any](mu *sync.Mutex, table map[string]T, id string) (T, bool) {
	mu.Lock()
	defer mu.Unlock()
	v, ok := table[id]
	return v, ok
}

// priced gives the total of an order, or why it cannot be.
func (s *store) priced(productID string, quantity int) (int64, error) {
	p, ok := s.products[productID]
	switch {
	case !ok:
		return 0, fmt.Errorf("there is no product %q", productID)
	case quantity < 1 || quantity > 1000:
		return 0, fmt.Errorf("quantity is %d; it must be 1 to 1000", quantity)
	}
	return p.Price * int64(quantity), nil
}

// addOrder prices and stores a new order, and gives it its id.
func (s *store) addOrder(o Order) (Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total, err := s.priced(o.ProductID, o.Quantity)
	if err != nil {
		return Order{}, err
	}
	if len(s.orders) >= maxEntries {
		return Order{}, errFull
	}
	s.nextID++
	o.ID, o.Total = fmt.Sprintf("o%d", s.nextID), total
	s.orders[o.ID] = o
	return o, nil
}

// changeOrder replaces product and quantity of an order that is there.
func (s *store) changeOrder(id, productID string, quantity int) (Order, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.orders[id]
	if !ok {
		return Order{}, false, nil
	}
	total, err := s.priced(productID, quantity)
	if err != nil {
		return Order{}, true, err
	}
	o.ProductID, o.Quantity, o.Total = productID, quantity, total
	s.orders[id] = o
	return o, true, nil
}

// removeOrder reports whether the order was there.
func (s *store) removeOrder(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.orders[id]
	delete(s.orders, id)
	return ok
}

// addProduct stores a product, gives it its id and tells the event streams. A
// stream that does not keep up misses it.
func (s *store) addProduct(p Product) (Product, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.products) >= maxEntries {
		return Product{}, errFull
	}
	s.nextID++
	p.ID = fmt.Sprintf("p%d", s.nextID)
	s.products[p.ID] = p
	for c := range s.listeners {
		select {
		case c <- p:
		default:
		}
	}
	return p, nil
}

// listen gives a channel of the products added from now on, and what ends it.
// It is false when too many listen.
func (s *store) listen() (<-chan Product, func(), bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) >= maxListeners {
		return nil, nil, false
	}
	c := make(chan Product, 16)
	s.listeners[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, c)
	}, true
}

// Report sums up the orders of one product.
type Report struct {
	ProductID string `json:"productId"`
	Orders    int    `json:"orders"`
	Quantity  int    `json:"quantity"`
	Total     int64  `json:"totalCents"`
}

// reports gives one line per product that was ordered.
func (s *store) reports() []Report {
	sums := map[string]*Report{}
	for _, o := range list(&s.mu, s.orders) {
		r := sums[o.ProductID]
		if r == nil {
			r = &Report{ProductID: o.ProductID}
			sums[o.ProductID] = r
		}
		r.Orders++
		r.Quantity += o.Quantity
		r.Total += o.Total
	}
	out := make([]Report, 0, len(sums))
	for _, id := range slices.Sorted(maps.Keys(sums)) {
		out = append(out, *sums[id])
	}
	return out
}

// Stats counts what the shop holds.
type Stats struct {
	Orders    int `json:"orders"`
	Products  int `json:"products"`
	Users     int `json:"users"`
	Reindexed int `json:"reindexed"`
}

// stats counts, and counts one re-index more where asked to.
func (s *store) stats(reindex bool) Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reindex {
		s.reindexed++
	}
	return Stats{len(s.orders), len(s.products), len(s.users), s.reindexed}
}
