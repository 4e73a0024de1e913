package reconcile

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
)

// sideOf is what a record in the API server's words says of a request.
func sideOf(e *audit.Event) *side {
	s := &side{Seq: e.Seq, Source: e.Source, Actor: e.Actor().Username, Request: request(e), Verb: e.Verb, Path: pathOf(e.RequestURI), Asked: e.RequestReceived}
	if e.SaidVerb != "" {
		s.Verb = e.SaidVerb // the one that its method gave
	}
	return s
}

// throughGateway is what the gateway says of a request that it stamped, and the stamp.
// Without a stamp the request was not for an API server, or did not get as far.
func (r *Reconciler) throughGateway(e *audit.Event) (id string, _ *side) {
	if !bytes.Contains(e.More, []byte(`"auditId"`)) {
		return "", nil
	}
	var more struct {
		Gateway struct {
			ID   string `json:"auditId"`
			Path string `json:"sentPath"`
		} `json:"gateway"`
	}
	if json.Unmarshal(e.More, &more) != nil || more.Gateway.ID == "" {
		return "", nil
	}
	path := more.Gateway.Path
	if path == "" {
		path = e.RequestURI
	}
	s := &side{Seq: e.Seq, Source: e.Source, Actor: e.Actor().Username, Verb: e.Verb, Path: pathOf(path), Method: true, Asked: e.RequestReceived}
	s.Request = e.Verb + " " + s.Path
	// Where the gateway itself gave up, the server may not have been asked. One that ends
	// or is overloaded refuses before it records anything.
	s.Unsure = e.Decision() != "allow" || e.Status.Code == 429 || e.Status.Code == 503 || e.Status.Code == 0 || matches(r.cfg.Unrecorded, s.Path)
	return more.Gateway.ID, s
}

// pathOf is the path of a URI, unescaped: the gateway and the API server may spell it
// differently.
func pathOf(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		return plain
	}
	return path
}

// agrees reports whether two sides tell of the same request. The gateway knows methods
// and paths, and callers by names of its own; all else is told in the same words.
func (s *side) agrees(other *side) bool {
	switch {
	case s.Method == other.Method:
		return s.Request == other.Request && s.Actor == other.Actor
	case s.Method:
		return s.Path == other.Path && carries(s.Verb, other.Verb)
	}
	return s.Path == other.Path && carries(other.Verb, s.Verb)
}

// carries reports whether an API server calls a request of that method by that verb.
func carries(method, verb string) bool {
	switch method {
	case "get", "head":
		return verb == "get" || verb == "list" || verb == "watch" || verb == "proxy" || verb == "head"
	case "post":
		return verb == "create" || verb == "post" || verb == "proxy"
	case "put":
		return verb == "update" || verb == "put" || verb == "proxy"
	case "delete":
		return verb == "delete" || verb == "deletecollection" || verb == "proxy"
	}
	return verb == method || verb == "proxy"
}
