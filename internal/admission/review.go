package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// maxReview bounds a review: the API server takes objects of up to 3 MiB, and an
// update has two.
const maxReview = 8 << 20

// request is a review that was read.
type request struct {
	*admissionv1.AdmissionRequest
	// object and old are nil where the review has none.
	object, old *inventory.Object
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
		return nil, http.StatusRequestEntityTooLarge
	}
	if err != nil {
		return nil, http.StatusBadRequest
	}
	var review admissionv1.AdmissionReview
	if json.Unmarshal(text, &review) != nil || review.APIVersion != admissionv1.SchemeGroupVersion.String() ||
		review.Kind != "AdmissionReview" || review.Request == nil || review.Request.UID == "" {
		return nil, http.StatusBadRequest
	}
	out := &request{AdmissionRequest: review.Request}
	if out.object, err = objectOf(review.Request, review.Request.Object.Raw); err != nil {
		return nil, http.StatusBadRequest
	}
	if out.old, err = objectOf(review.Request, review.Request.OldObject.Raw); err != nil {
		return nil, http.StatusBadRequest
	}
	return out, http.StatusOK
}

// judged are the subresources by which an object as a whole is written.
func judged(subresource string) bool {
	return slices.Contains([]string{"", "ephemeralcontainers", "resize"}, subresource)
}

// objectOf reads the object of a request that is judged. It must be what the
// request says that it is: controls choose by the object's kind, exemptions by the
// request's namespace.
func objectOf(r *admissionv1.AdmissionRequest, text []byte) (*inventory.Object, error) {
	if len(text) == 0 || string(text) == "null" || r.Operation != admissionv1.Create && r.Operation != admissionv1.Update || !judged(r.SubResource) {
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
