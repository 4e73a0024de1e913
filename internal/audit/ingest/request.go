package ingest

import (
	"net/http"
	"net/url"
	slashed "path"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"bulwark.dev/bulwark/internal/audit"
)

// normalise fills in what the source left out and the request's address tells, and
// calls a stream what it is. Since kubectl 1.30 exec, attach and port-forward are
// upgrades of a GET, which the API server logs as verb get.
func normalise(e *audit.Event) {
	if e.Kind != audit.KindAPI {
		return
	}
	if e.Object == (audit.ObjectRef{}) && strings.HasPrefix(e.RequestURI, "/api") {
		method, said := methodOf(e.Verb)
		if verb, object, ok := target(method, e.RequestURI); ok {
			e.Object = object
			if said && verb != "" && verb != e.Verb {
				e.Verb, e.SaidVerb = verb, e.Verb
			}
		}
	}
	if e.Verb == "get" && streams(e) {
		if e.SaidVerb == "" {
			e.SaidVerb = e.Verb
		}
		e.Verb = "create"
	}
}

// methodOf gives the HTTP method that carries a verb, and whether the verb may be
// the method itself.
func methodOf(verb string) (method string, said bool) {
	switch method = strings.ToUpper(verb); method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return method, true
	case "CREATE":
		return http.MethodPost, false
	case "UPDATE":
		return http.MethodPut, false
	case "DELETECOLLECTION":
		return http.MethodDelete, false
	}
	return http.MethodGet, false
}

// streams reports whether a GET opens, or tries to open, a connection through which
// commands run or bytes flow.
func streams(e *audit.Event) bool {
	o := &e.Object
	switch o.Subresource {
	case "", "log": // a list, a watch or a log may come through a WebSocket, too
		return false
	case "exec", "attach", "portforward":
		if o.APIGroup == "" && o.Resource == "pods" {
			return true
		}
	case "proxy":
		if o.APIGroup == "" && o.Resource == "nodes" && kubeletStream(e.RequestURI) {
			return true
		}
	}
	return e.Status.Code == http.StatusSwitchingProtocols
}

// kubeletStream reports whether the address asks the kubelet, through the API
// server's proxy, to run something.
func kubeletStream(uri string) bool {
	where, _, ok := splitURI(uri)
	if !ok {
		return false
	}
	_, rest, ok := strings.Cut(where, "/proxy/")
	if !ok {
		return false
	}
	// The kubelet sends who asks for a//b or a/../b to the clean address.
	first, _, _ := strings.Cut(slashed.Clean("/" + rest)[1:], "/")
	switch first {
	case "exec", "run", "attach", "portForward":
		return true
	}
	return false
}

// splitURI cuts a request's address into its path, decoded, and its query, as the API
// server does.
func splitURI(uri string) (where, query string, ok bool) {
	if strings.HasPrefix(uri, "/") && strings.IndexFunc(uri, func(r rune) bool { return r == '%' || r < ' ' || r == 0x7f }) < 0 {
		where, query, _ = strings.Cut(uri, "?")
		return where, query, true
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return "", "", false
	}
	return u.Path, u.RawQuery, true
}

// target is what the API server itself makes of a method and an address: the rules
// of k8s.io/apiserver's RequestInfoFactory, which the test compares. It reports false
// for what is not about a resource.
func target(method, uri string) (verb string, o audit.ObjectRef, ok bool) {
	where, query, ok := splitURI(uri)
	if !ok {
		return "", o, false
	}
	parts := strings.Split(strings.Trim(where, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		parts = parts[1:]
	case len(parts) >= 4 && parts[0] == "apis":
		o.APIGroup = parts[1]
		parts = parts[2:]
	default:
		return "", audit.ObjectRef{}, false
	}
	o.APIVersion, parts = parts[0], parts[1:]

	switch first := parts[0]; {
	case first != "watch" && first != "proxy":
		verb = verbOf(method)
	case len(parts) < 2:
		return "", audit.ObjectRef{}, false
	default:
		verb, parts = first, parts[1:]
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		o.Namespace = parts[1]
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	o.Resource = parts[0]
	if len(parts) > 1 {
		o.Name = parts[1]
	}
	if len(parts) > 2 && verb != "proxy" {
		o.Subresource = parts[2]
	}
	switch {
	case o.Name == "" && verb == "get":
		verb, o.Name = collection(query)
	case o.Name == "" && verb == "delete":
		verb = "deletecollection"
	}
	return verb, o, true
}

func verbOf(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodGet, http.MethodHead:
		return "get"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

// collection tells a list from a watch, and the one name that a field selector asks
// for. One option that cannot be read makes the API server forget all but watch.
func collection(query string) (verb, name string) {
	if query == "" {
		return "list", ""
	}
	options, _ := url.ParseQuery(query) // with an error it gives what it could read, and so does the API server
	first := func(option string) string {
		if values := options[option]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
	watch, readable := false, true
	for _, option := range []string{"timeoutSeconds", "limit"} {
		if options.Has(option) {
			_, err := strconv.ParseInt(first(option), 10, 64)
			readable = readable && err == nil
		}
	}
	if _, err := labels.Parse(first("labelSelector")); err != nil {
		readable = false
	}
	selector, err := fields.ParseSelector(first("fieldSelector"))
	readable = readable && err == nil
	if options.Has("watch") {
		said := first("watch")
		watch = said != "0" && !strings.EqualFold(said, "false")
		if !readable { // here the API server compares in another way, which differs for one letter
			watch = said != "0" && strings.ToLower(said) != "false"
		}
	}
	if readable {
		if said, ok := selector.RequiresExactMatch("metadata.name"); ok && len(content.IsPathSegmentName(said)) == 0 {
			name = said
		}
	}
	if watch {
		return "watch", name
	}
	return "list", name
}
