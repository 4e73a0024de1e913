package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

const (
	// maxReview bounds a review: the API server takes objects of up to 3 MiB, and an
	// update has two.
	maxReview = 8 << 20
	// maxValues bounds the fields and elements in a review: an empty object takes two
	// bytes of text, and fifty times as many of memory.
	maxValues = 300_000
)

// request is a review that was read.
type request struct {
	*admissionv1.AdmissionRequest
	// object and old are nil where the review has none.
	object, old *inventory.Object
	// size is about how much memory it takes to judge it.
	size int64
	// why is what hinders that, "" where nothing does.
	why string
}

// ref names the object for logs and exceptions.
func (r *request) ref() bulwark.ObjectRef {
	gv := metav1.GroupVersion{Group: r.Kind.Group, Version: r.Kind.Version}
	ref := bulwark.ObjectRef{APIVersion: gv.String(), Kind: r.Kind.Kind, Namespace: r.Namespace, Name: r.Name}
	if r.object != nil {
		ref.Name = r.object.Name
	}
	return ref
}

// readReview gives the request of a review, or the status to answer with.
func readReview(rw http.ResponseWriter, r *http.Request) (*request, int) {
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, http.StatusUnsupportedMediaType
	}
	text, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxReview))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return beginning(text)
	}
	if err != nil {
		return nil, http.StatusBadRequest
	}
	var review admissionv1.AdmissionReview
	if json.Unmarshal(text, &review) != nil || !valid(&review) {
		return nil, http.StatusBadRequest
	}
	n := values(text)
	const copies, perValue = 3, 100
	out := &request{AdmissionRequest: review.Request, size: int64(copies*len(text) + perValue*n)}
	if n > maxValues {
		out.why, out.size = fmt.Sprintf("the review has more than %d values", maxValues), 0
		return out, http.StatusOK
	}
	if out.object, err = objectOf(review.Request, review.Request.Object.Raw); err != nil {
		return nil, http.StatusBadRequest
	}
	if out.old, err = objectOf(review.Request, review.Request.OldObject.Raw); err != nil {
		return nil, http.StatusBadRequest
	}
	return out, http.StatusOK
}

func valid(r *admissionv1.AdmissionReview) bool {
	return r.APIVersion == admissionv1.SchemeGroupVersion.String() && r.Kind == "AdmissionReview" && r.Request != nil && r.Request.UID != ""
}

// beginning gives the request of a review of which only the beginning was read. What
// says who asks for what stands before the object. A bare status would be no answer:
// the API server would do as its failurePolicy says, and Ignore would let in whatever
// is made large enough.
func beginning(text []byte) (*request, int) {
	dec := json.NewDecoder(bytes.NewReader(text))
	var review admissionv1.AdmissionReview
	var r admissionv1.AdmissionRequest
	if fields(dec, map[string]any{"apiVersion": &review.APIVersion, "kind": &review.Kind}) == "request" {
		fields(dec, map[string]any{
			"uid": &r.UID, "kind": &r.Kind, "resource": &r.Resource, "subResource": &r.SubResource, "requestKind": &r.RequestKind,
			"requestResource": &r.RequestResource, "requestSubResource": &r.RequestSubResource, "name": &r.Name,
			"namespace": &r.Namespace, "operation": &r.Operation, "userInfo": &r.UserInfo,
		})
		review.Request = &r
	}
	if !valid(&review) {
		return nil, http.StatusRequestEntityTooLarge
	}
	return &request{AdmissionRequest: &r, why: fmt.Sprintf("the review is larger than %d bytes", maxReview)}, http.StatusOK
}

// fields reads those of the object that comes next, until one that is not asked for,
// and gives its name.
func fields(dec *json.Decoder, into map[string]any) string {
	if begin, err := dec.Token(); err != nil || begin != json.Delim('{') {
		return ""
	}
	for dec.More() {
		key, err := dec.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return ""
		}
		to, ok := into[name]
		if !ok {
			return name
		}
		if dec.Decode(to) != nil {
			return ""
		}
	}
	return ""
}

// values counts the fields and elements in a text, about.
func values(text []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}

// judged tells the requests that write what controls look at: an object as a whole,
// the containers of a pod, and the labels and annotations of the kinds that some
// control judges by them. The API server takes those with a status, too.
func judged(r *admissionv1.AdmissionRequest) bool {
	switch r.SubResource {
	case "", "ephemeralcontainers", "resize":
		return true
	case "finalize":
		return namespaceItself(r)
	case "status":
		return namespaceItself(r) || r.Kind.Group == "" && r.Kind.Kind == "Service" || r.Kind.Group == "networking.k8s.io" && r.Kind.Kind == "Ingress"
	}
	return false
}

// objectOf reads the object of a request that is judged. It must be what the
// request says that it is: controls choose by the object's kind, exemptions by the
// request's namespace.
func objectOf(r *admissionv1.AdmissionRequest, text []byte) (*inventory.Object, error) {
	if len(text) == 0 || string(text) == "null" || r.Operation != admissionv1.Create && r.Operation != admissionv1.Update || !judged(r) {
		return nil, nil //nolint:nilnil // no object is no error
	}
	o, err := inventory.New(text, nil)
	if err != nil {
		return nil, fmt.Errorf("read the object of a review: %w", err)
	}
	if o.Kind != r.Kind.Kind || o.Group() != r.Kind.Group {
		return nil, errors.New("the object of a review is of another kind than the review")
	}
	if o.Namespace == "" && r.Namespace != "" && !namespaceItself(r) {
		return placed(text, r.Namespace)
	}
	if o.Namespace != "" && o.Namespace != r.Namespace {
		return nil, errors.New("the object of a review is in another namespace than the review")
	}
	return o, nil
}

// namespaceItself reports whether a request is for a Namespace, whose review names
// it as the namespace too.
func namespaceItself(r *admissionv1.AdmissionRequest) bool {
	return r.Kind.Group == "" && r.Kind.Kind == "Namespace"
}

// placed gives an object with the namespace that its address has.
func placed(text []byte, namespace string) (*inventory.Object, error) {
	var top, meta map[string]json.RawMessage
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, fmt.Errorf("read the object of a review: %w", err)
	}
	if given, ok := top["metadata"]; ok {
		if err := json.Unmarshal(given, &meta); err != nil {
			return nil, fmt.Errorf("read the object of a review: %w", err)
		}
	}
	if meta == nil {
		meta = map[string]json.RawMessage{}
	}
	var err error
	if meta["namespace"], err = json.Marshal(namespace); err != nil {
		return nil, fmt.Errorf("write a namespace: %w", err)
	}
	if top["metadata"], err = json.Marshal(meta); err != nil {
		return nil, fmt.Errorf("write metadata: %w", err)
	}
	if text, err = json.Marshal(top); err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	return inventory.New(text, nil) //nolint:wrapcheck // it says what it was doing
}

// writeReview answers. There are never patches.
func writeReview(rw http.ResponseWriter, req *request, d *decision) error {
	out := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: &admissionv1.AdmissionResponse{
			UID: req.UID, Allowed: d.allowed, Warnings: d.warnings, AuditAnnotations: d.annotations,
		},
	}
	if !d.allowed {
		out.Response.Result = &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: d.message}
	}
	text, err := json.Marshal(out)
	if err != nil {
		http.Error(rw, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return fmt.Errorf("write a review: %w", err)
	}
	rw.Header().Set("Content-Type", "application/json")
	if _, err := rw.Write(text); err != nil {
		return fmt.Errorf("write a review: %w", err)
	}
	return nil
}
