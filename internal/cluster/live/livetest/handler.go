package livetest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"bulwark.dev/bulwark/internal/cluster"
)

// bookmarks is how often watches are told the version they are at.
const bookmarks = 20 * time.Millisecond

// serve answers /api/v1/RESOURCE, /apis/GROUP/VERSION/RESOURCE, and for
// discovery /apis/GROUP and /apis/GROUP/VERSION.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if parts[0] == "api" {
		parts = slices.Insert(parts, 1, "")
	}
	switch len(parts) {
	case 2:
		s.group(w, parts[1])
	case 3:
		s.resources(w, parts[1], parts[2])
	case 4:
		s.objectsOf(w, r, parts[1], parts[2], parts[3])
	default:
		reply(w, http.StatusNotFound, status(http.StatusNotFound, "NotFound", "no such path"))
	}
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that left is no matter
}

func (s *Server) group(w http.ResponseWriter, group string) {
	var versions []string
	s.mu.Lock()
	for _, k := range cluster.Kinds() {
		if k.Group == group {
			versions = append(versions, s.served[k.Resource]...)
		}
	}
	s.mu.Unlock()
	slices.Sort(versions)
	versions = slices.Compact(versions)
	if len(versions) == 0 {
		reply(w, http.StatusNotFound, status(http.StatusNotFound, "NotFound", "no such group"))
		return
	}
	out := metav1.APIGroup{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroup"}, Name: group}
	for _, v := range versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: group + "/" + v, Version: v})
	}
	reply(w, http.StatusOK, out)
}

func (s *Server) resources(w http.ResponseWriter, group, version string) {
	out := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: group + "/" + version}
	s.mu.Lock()
	for _, k := range cluster.Kinds() {
		if k.Group == group && slices.Contains(s.served[k.Resource], version) {
			out.APIResources = append(out.APIResources, metav1.APIResource{Name: k.Resource, Kind: k.Name, Namespaced: k.Namespaced})
		}
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, out)
}

// request is one list or watch.
type request struct {
	group, version, resource string
	kind                     string
	pick                     func(map[string]any) bool
}

func (q *request) apiVersion() string { return strings.TrimPrefix(q.group+"/"+q.version, "/") }

// form gives an object as the request's version shows it.
func (q *request) form(o map[string]any) map[string]any {
	o = maps.Clone(o)
	o["apiVersion"], o["kind"] = q.apiVersion(), q.kind
	return o
}

func (s *Server) objectsOf(w http.ResponseWriter, r *http.Request, group, version, resource string) {
	q := &request{group: group, version: version, resource: resource}
	verb := "list"
	if r.URL.Query().Get("watch") != "" {
		verb = "watch"
	}
	selector, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		reply(w, http.StatusBadRequest, status(http.StatusBadRequest, "BadRequest", err.Error()))
		return
	}
	q.pick = func(o map[string]any) bool {
		text, _ := o["type"].(string)
		return selector.Matches(fields.Set{"type": text})
	}
	s.mu.Lock()
	s.requests[verb+" "+resource]++
	s.accepted[resource] = r.Header.Get("Accept")
	answer, gate := s.answers[verb+" "+resource], s.gates[resource]
	known := false
	for _, k := range cluster.Kinds() {
		if k.Group == group && k.Resource == resource && slices.Contains(s.served[resource], version) {
			known, q.kind = true, k.Name
		}
	}
	s.mu.Unlock()
	if gate != nil && verb == "list" {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case answer != 0:
		if answer == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		reply(w, answer, status(answer, reasons[answer], "told to"))
	case !known:
		// In text, as the server answers for paths that it does not have.
		http.Error(w, "404 page not found", http.StatusNotFound)
	case verb == "watch":
		s.watch(w, r, q)
	default:
		s.list(w, r, q)
	}
}

// reasons are those that the client asks for.
var reasons = map[int]string{
	http.StatusForbidden: string(metav1.StatusReasonForbidden), http.StatusUnauthorized: string(metav1.StatusReasonUnauthorized),
	http.StatusNotFound: string(metav1.StatusReasonNotFound), http.StatusTooManyRequests: string(metav1.StatusReasonTooManyRequests),
	http.StatusInternalServerError: string(metav1.StatusReasonInternalError), http.StatusServiceUnavailable: string(metav1.StatusReasonServiceUnavailable),
	http.StatusGone: string(metav1.StatusReasonExpired),
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, q *request) {
	s.mu.Lock()
	items := s.sorted(q.resource, q.pick)
	version, from := s.version, 0
	oldest, page := s.oldest, s.page
	s.mu.Unlock()
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if token := r.URL.Query().Get("continue"); token != "" {
		at, offset, _ := strings.Cut(token, ".")
		version, _ = strconv.Atoi(at)
		from, _ = strconv.Atoi(offset)
		if version < oldest {
			reply(w, http.StatusGone, status(http.StatusGone, string(metav1.StatusReasonExpired), "the list is too old to go on with"))
			return
		}
	}
	if limit > 0 && page > 0 {
		limit = min(limit, page)
	}
	meta := map[string]any{"resourceVersion": strconv.Itoa(version)}
	items = items[min(from, len(items)):]
	if limit > 0 && len(items) > limit {
		items = items[:limit]
		meta["continue"] = strconv.Itoa(version) + "." + strconv.Itoa(from+limit)
	}
	shown := make([]map[string]any, 0, len(items))
	for _, o := range items {
		shown = append(shown, q.form(o))
	}
	reply(w, http.StatusOK, map[string]any{"apiVersion": q.apiVersion(), "kind": q.kind + "List", "metadata": meta, "items": shown})
}

// stream is one watch.
type stream struct {
	q   *request
	enc *json.Encoder
	ctl *http.ResponseController
}

func (st *stream) send(kind string, o map[string]any) bool {
	return st.enc.Encode(map[string]any{"type": kind, "object": o}) == nil && st.ctl.Flush() == nil
}

func (st *stream) bookmark(version int, initial bool) bool {
	meta := map[string]any{"resourceVersion": strconv.Itoa(version)}
	if initial {
		meta["annotations"] = map[string]any{metav1.InitialEventsAnnotationKey: "true"}
	}
	return st.send("BOOKMARK", st.q.form(map[string]any{"metadata": meta}))
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, q *request) {
	query := r.URL.Query()
	s.mu.Lock()
	streaming, cut := s.streaming, s.cut
	at, oldest := s.version, s.oldest
	now := s.sorted(q.resource, q.pick)
	s.mu.Unlock()
	initial := query.Get("sendInitialEvents") == "true"
	if initial && !streaming {
		reply(w, http.StatusUnprocessableEntity, status(http.StatusUnprocessableEntity, string(metav1.StatusReasonInvalid), "sendInitialEvents is forbidden"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	st := &stream{q: q, enc: json.NewEncoder(w), ctl: http.NewResponseController(w)}
	if st.ctl.Flush() != nil {
		return
	}
	from, _ := strconv.Atoi(query.Get("resourceVersion"))
	switch {
	case initial || from == 0:
		for _, o := range now {
			if !st.send("ADDED", q.form(o)) {
				return
			}
		}
		if initial && !st.bookmark(at, true) {
			return
		}
	case from < oldest:
		st.send("ERROR", status(http.StatusGone, string(metav1.StatusReasonExpired), "too old resource version"))
		return
	default:
		at = from
	}
	s.follow(r, st, at, cut)
}

// follow tells of changes after a version until the watch ends.
func (s *Server) follow(r *http.Request, st *stream, at int, cut <-chan struct{}) {
	tick := time.NewTicker(bookmarks)
	defer tick.Stop()
	for told := at; ; {
		s.mu.Lock()
		moved, version, log, oldest := s.moved, s.version, s.log, s.oldest
		s.mu.Unlock()
		if at < oldest-1 {
			st.send("ERROR", status(http.StatusGone, string(metav1.StatusReasonExpired), "too old resource version"))
			return
		}
		for _, e := range log {
			if e.version > at && e.resource == st.q.resource && st.q.pick(e.object) && !st.send(e.kind, st.q.form(e.object)) {
				return
			}
		}
		at = version
		select {
		case <-r.Context().Done():
			return
		case <-cut:
			return
		case <-moved:
		case <-tick.C:
			if at != told && !st.bookmark(at, false) {
				return
			}
			told = at
		}
	}
}
