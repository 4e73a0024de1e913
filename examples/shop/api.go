package shop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// maxBody is the largest request body in bytes.
	maxBody = 64 << 10
	// heartbeat is how often an event stream sends a comment, so that neither
	// side takes a quiet stream for a dead one.
	heartbeat = 15 * time.Second
)

var errFull = errors.New("the shop is full")

// api serves one store.
type api struct {
	*store
	now func() time.Time
}

// NewAPI makes a shop with its seed data. now dates the orders. The handler
// identifies nobody: it takes the X-User field for the name of the caller, so
// only a gateway that sets that field itself may reach it.
func NewAPI(now func() time.Time) http.Handler {
	a := &api{store: newStore(now()), now: now}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /whoami", whoami)

	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, list(&a.mu, a.orders))
	})
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) { one(w, r, a.store, a.orders) })
	mux.HandleFunc("POST /orders", a.postOrder)
	mux.HandleFunc("PUT /orders/{id}", a.putOrder)
	mux.HandleFunc("DELETE /orders/{id}", a.deleteOrder)

	mux.HandleFunc("GET /products", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, list(&a.mu, a.products))
	})
	mux.HandleFunc("GET /products/{id}", func(w http.ResponseWriter, r *http.Request) { one(w, r, a.store, a.products) })
	mux.HandleFunc("GET /products/events", a.productEvents)
	mux.HandleFunc("POST /products", a.postProduct)

	mux.HandleFunc("GET /users", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, list(&a.mu, a.users))
	})
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) { one(w, r, a.store, a.users) })

	mux.HandleFunc("GET /reports", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, a.reports())
	})
	mux.HandleFunc("GET /admin/stats", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, a.stats(false))
	})
	mux.HandleFunc("POST /admin/reindex", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusAccepted, a.stats(true))
	})
	return mux
}

// whoami tells which identity fields arrived: through the gateway only those
// that the gateway set itself.
func whoami(w http.ResponseWriter, r *http.Request) {
	seen := map[string]string{}
	for name, values := range r.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-") || lower == "forwarded" || lower == "authorization" {
			seen[lower] = strings.Join(values, ", ")
		}
	}
	if seen["authorization"] != "" {
		seen["authorization"] = "(present)" // a credential is not echoed
	}
	if seen["x-api-key"] != "" {
		seen["x-api-key"] = "(present)"
	}
	reply(w, http.StatusOK, map[string]any{"user": r.Header.Get("X-User"), "headers": seen})
}

// one answers with the entry that the path names.
func one[T any](w http.ResponseWriter, r *http.Request, s *store, table map[string]T) {
	v, ok := get(&s.mu, table, r.PathValue("id"))
	if !ok {
		fail(w, http.StatusNotFound, "there is no such entry")
		return
	}
	reply(w, http.StatusOK, v)
}

// orderInput is what a client may say about an order.
type orderInput struct {
	ProductID string `json:"productId"`
	Quantity  int    `json:"quantity"`
}

func (a *api) postOrder(w http.ResponseWriter, r *http.Request) {
	var in orderInput
	if !decode(w, r, &in) {
		return
	}
	o, err := a.addOrder(Order{ProductID: in.ProductID, Quantity: in.Quantity, PlacedBy: r.Header.Get("X-User"), PlacedAt: a.now()})
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Location", "/orders/"+o.ID)
	reply(w, http.StatusCreated, o)
}

func (a *api) putOrder(w http.ResponseWriter, r *http.Request) {
	var in orderInput
	if !decode(w, r, &in) {
		return
	}
	o, ok, err := a.changeOrder(r.PathValue("id"), in.ProductID, in.Quantity)
	switch {
	case err != nil:
		refuse(w, err)
	case !ok:
		fail(w, http.StatusNotFound, "there is no such entry")
	default:
		reply(w, http.StatusOK, o)
	}
}

func (a *api) deleteOrder(w http.ResponseWriter, r *http.Request) {
	if !a.removeOrder(r.PathValue("id")) {
		fail(w, http.StatusNotFound, "there is no such entry")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) postProduct(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name  string `json:"name"`
		Price int64  `json:"priceCents"`
	}
	if !decode(w, r, &in) {
		return
	}
	if in.Name == "" || len(in.Name) > 200 || in.Price < 0 {
		fail(w, http.StatusUnprocessableEntity, "a product needs a name of at most 200 bytes and a price")
		return
	}
	p, err := a.addProduct(Product{Name: in.Name, Price: in.Price})
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Location", "/products/"+p.ID)
	reply(w, http.StatusCreated, p)
}

// productEvents streams added products as server-sent events until the client
// leaves.
func (a *api) productEvents(w http.ResponseWriter, r *http.Request) {
	added, stop, ok := a.listen()
	if !ok {
		fail(w, http.StatusServiceUnavailable, "too many event streams")
		return
	}
	defer stop()
	flusher := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	send := func(format string, args ...any) bool {
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return flusher.Flush() == nil
	}
	if !send("event: ready\ndata: {}\n\n") {
		return
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			if !send(": still here\n\n") {
				return
			}
		case p := <-added:
			data, err := json.Marshal(p)
			if err != nil || !send("event: product\nid: %s\ndata: %s\n\n", p.ID, data) {
				return
			}
		}
	}
}

// decode reads one JSON value without unknown fields. It answers itself, and
// gives false, if there is none.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		fail(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return false
	case err != nil:
		fail(w, http.StatusBadRequest, "the body is not the JSON that is expected here")
		return false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		fail(w, http.StatusBadRequest, "the body holds more than one JSON value")
		return false
	}
	return true
}

// refuse answers for an entry that the store did not take.
func refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, errFull) {
		fail(w, http.StatusInsufficientStorage, err.Error())
		return
	}
	fail(w, http.StatusUnprocessableEntity, err.Error())
}

func fail(w http.ResponseWriter, status int, detail string) {
	reply(w, status, map[string]string{"error": detail})
}

// reply sends v as JSON. A client that has gone is nobody's error.
func reply(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer could not be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
