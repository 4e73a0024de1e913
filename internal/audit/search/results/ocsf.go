package results

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/query"
)

// OCSFVersion is the version of the Open Cybersecurity Schema that is written.
const OCSFVersion = "1.3.0"

// The classes that events become.
const (
	ocsfAPI       = 6003 // API Activity: requests
	ocsfDetection = 2004 // Detection Finding: alerts
	ocsfBase      = 0    // Base Event: what is neither
)

// ocsf writes one event a line.
type ocsf struct {
	version string // of the program
}

func newOCSF(version string) *ocsf { return &ocsf{version: or(version, "devel")} }

func (o *ocsf) begin(*bufio.Writer) error { return nil }

func (o *ocsf) groups(*bufio.Writer, *search.Groups) error { return errNoGroups }

func (o *ocsf) event(w *bufio.Writer, e *audit.Event) error {
	return writeJSON(w, o.record(e))
}

// The longest texts that the schema takes, in bytes.
const (
	longestText    = 65535
	longestAddress = 40
)

// cut makes a text short enough for the schema, and shows that it did.
func cut(s string) string {
	if len(s) <= longestText/3 { // each byte that is no text is written as three
		return s
	}
	if s = strings.ToValidUTF8(s, "\ufffd"); len(s) <= longestText {
		return s
	}
	const mark = "…"
	end := longestText - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// bound cuts the texts of a record. What is unmapped has no bounds.
func (o object) bound() object {
	for name, value := range o {
		switch v := value.(type) {
		case string:
			o[name] = cut(v)
		case object:
			if name != "unmapped" {
				v.bound()
			}
		case []object:
			for _, inner := range v {
				inner.bound()
			}
		}
	}
	return o
}

// object is a JSON object of the schema; what is empty is not put in.
type object map[string]any

func (o object) put(name string, value any) {
	switch v := value.(type) {
	case string:
		if v == "" {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	case []object:
		if len(v) == 0 {
			return
		}
	case json.RawMessage:
		if len(v) == 0 {
			return
		}
	case object:
		if len(v) == 0 {
			return
		}
	}
	o[name] = value
}

// record makes an event a record of the schema, which testdata/ocsf has.
func (o *ocsf) record(e *audit.Event) object {
	switch e.Kind {
	case audit.KindAlert:
		return o.detection(e).bound()
	case audit.KindAPI, audit.KindGateway, audit.KindAccess:
		return o.api(e).bound()
	case audit.KindAction, audit.KindSystem:
	}
	r := o.base(e, ocsfBase, 0, "Base Event", "Uncategorized", 99, or(e.Verb, "Other"), "Base Event: Other")
	r.put("message", or(moreText(e, "summary"), or(moreText(e, "message"), e.Status.Message)))
	r["severity_id"], r["severity"] = 1, "Informational"
	return r.bound()
}

// base makes what every class has.
func (o *ocsf) base(e *audit.Event, class, category int, className, categoryName string, activity int, activityName, typeName string) object {
	meta := object{
		"version":  OCSFVersion,
		"product":  object{"name": "Bulwark", "vendor_name": "Bulwark", "version": o.version},
		"uid":      strconv.FormatUint(e.Seq, 10),
		"sequence": e.Seq,
	}
	meta.put("log_name", e.Source)
	meta.put("correlation_uid", e.AuditID)
	meta.put("original_time", when(e.Time()))
	if !e.Received.IsZero() {
		meta["logged_time"] = e.Received.UnixMilli()
	}
	r := object{
		"class_uid": class, "class_name": className, "category_uid": category, "category_name": categoryName,
		"activity_id": activity, "activity_name": activityName, "type_uid": class*100 + activity, "type_name": typeName,
		"time": e.Time().UnixMilli(), "metadata": meta,
	}
	r.put("unmapped", o.unmapped(e))
	return r
}

// unmapped has what the schema has no place for.
func (o *ocsf) unmapped(e *audit.Event) object {
	u := object{"kind": string(e.Kind)}
	u.put("cluster", e.Cluster)
	u.put("level", e.Level)
	u.put("stage", e.Stage)
	u.put("saidVerb", e.SaidVerb)
	if e.Impersonated != nil {
		u.put("impersonatedUser", ocsfUser(e.Impersonated))
	}
	if len(e.User.Extra) > 0 {
		u["userExtra"] = e.User.Extra
	}
	if len(e.Annotations) > 0 {
		u["annotations"] = e.Annotations
	}
	if len(e.Redactions) > 0 {
		var list []object
		for _, r := range e.Redactions {
			list = append(list, object{"path": r.Path, "commitment": r.Commitment})
		}
		u["redactions"] = list
	}
	u.put("more", e.More)
	return u
}

// ocsfActivity says what a verb does.
func ocsfActivity(verb string) (id int, name string) {
	switch verb {
	case "":
		return 0, "Unknown"
	case "create", "post":
		return 1, "Create"
	case "get", "list", "watch", "head", "options":
		return 2, "Read"
	case "update", "patch", "put":
		return 3, "Update"
	case "delete", "deletecollection":
		return 4, "Delete"
	}
	return 99, "Other"
}

func (o *ocsf) api(e *audit.Event) object {
	id, name := ocsfActivity(strings.ToLower(e.Verb))
	said := name
	if id == 99 {
		said = e.Verb // the schema wants the source's word then
	}
	r := o.base(e, ocsfAPI, 6, "API Activity", "Application Activity", id, said, "API Activity: "+name)
	r["severity_id"], r["severity"] = 1, "Informational"
	r["actor"], r["api"], r["src_endpoint"] = ocsfActor(e), ocsfCall(e), ocsfSource(e)
	r.put("http_request", ocsfHTTP(e))
	r.put("resources", ocsfResources(e))
	switch {
	case e.Status.Code == 0 && e.Status.Status == "" && e.Decision() == "":
		r["status_id"], r["status"] = 0, "Unknown"
	case e.Succeeded():
		r["status_id"], r["status"] = 1, "Success"
	default:
		r["status_id"], r["status"] = 2, "Failure"
	}
	r.put("status_code", code(e))
	r.put("status_detail", or(e.Status.Message, e.Status.Reason))
	return r
}

func ocsfUser(u *audit.User) object {
	out := object{}
	out.put("name", u.Username)
	out.put("uid", u.UID)
	if u.Username != "" {
		out["type_id"], out["type"] = 1, "User"
		if strings.HasPrefix(u.Username, "system:") {
			out["type_id"], out["type"] = 3, "System"
		}
	}
	var groups []object
	for _, g := range u.Groups {
		if g != "" {
			groups = append(groups, object{"name": g})
		}
	}
	out.put("groups", groups)
	return out
}

func ocsfActor(e *audit.Event) object {
	user := ocsfUser(&e.User)
	if e.User.Username == "" && e.User.UID == "" {
		user["name"] = "unknown" // an actor is somebody
	}
	actor := object{"user": user}
	if d := e.Decision(); d != "" {
		actor["authorizations"] = []object{{"decision": d}}
	}
	return actor
}

func ocsfCall(e *audit.Event) object {
	api := object{"operation": or(e.Verb, "unknown")}
	api.put("version", e.Object.APIVersion)
	if e.Object.APIGroup != "" {
		api["group"] = object{"name": e.Object.APIGroup}
	}
	if e.Cluster != "" {
		api["service"] = object{"name": e.Cluster}
	}
	if e.AuditID != "" {
		request := object{"uid": e.AuditID}
		request.put("data", ocsfData(e.RequestObject))
		api["request"] = request
	}
	response := object{}
	if e.Status.Code != 0 {
		response["code"] = e.Status.Code
	}
	response.put("error", e.Status.Reason)
	response.put("error_message", e.Status.Message)
	response.put("data", ocsfData(e.ResponseObject))
	api.put("response", response)
	return api
}

// ocsfData is a body as the schema has it: an object.
func ocsfData(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	return raw
}

func ocsfSource(e *audit.Event) object {
	out := object{}
	var ips []string
	for _, s := range e.SourceIPs {
		if a, err := netip.ParseAddr(s); err == nil {
			text := a.String()
			if len(text) > longestAddress { // a zone may have any name
				text = a.WithZone("").String()
			}
			ips = append(ips, text)
		}
	}
	if len(ips) == 0 {
		out["name"] = or(first(e.SourceIPs), "unknown") // an endpoint is something
		return out
	}
	out["ip"] = ips[0]
	out.put("intermediate_ips", ips[1:])
	return out
}

func ocsfHTTP(e *audit.Event) object {
	out := object{}
	out.put("user_agent", e.UserAgent)
	out.put("uid", e.AuditID)
	out.put("url", ocsfURL(e.RequestURI))
	return out
}

// ocsfURL takes a request's URI apart. A path alone is no URL, and the schema wants none as
// url_string.
func ocsfURL(uri string) object {
	out := object{}
	if u, err := url.Parse(uri); err == nil && u.Scheme != "" && u.Host != "" {
		out["url_string"] = uri
		out.put("path", u.EscapedPath())
		out.put("query_string", u.RawQuery)
		return out
	}
	path, query, _ := strings.Cut(uri, "?")
	out.put("path", or(path, uri)) // one of the two must be there
	out.put("query_string", query)
	return out
}

func ocsfResources(e *audit.Event) []object {
	if e.Object.Resource == "" {
		return nil
	}
	// A resource has a name or uid. A list has none of its own: its type stands in.
	out := object{"type": query.ResourceOf(e), "name": or(e.Object.Name, query.ResourceOf(e))}
	out.put("uid", e.Object.UID)
	out.put("namespace", e.Object.Namespace)
	out.put("version", e.Object.APIVersion)
	return []object{out}
}
