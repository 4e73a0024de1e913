package status

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// outcome is what became of a write.
type outcome string

const (
	outcomeWritten   outcome = "written"
	outcomeConflict  outcome = "conflict"  // the object is another by now
	outcomeGone      outcome = "gone"      // the object was deleted
	outcomeForbidden outcome = "forbidden" // a permission is missing
	outcomeRefused   outcome = "refused"   // this status will never be taken
	outcomeFailed    outcome = "failed"    // may work next time
)

// write does one job and puts down what became of it.
func (w *Writer) write(ctx context.Context, j *job) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": j.base},
		"status":   j.kind.fields(j.want),
	})
	if err != nil {
		j.outcome, j.err = outcomeRefused, fmt.Errorf("write the status of %s as JSON: %w", j.ref, err)
		return
	}
	raw, err := w.client.Patch(types.MergePatchType).AbsPath(j.kind.path(j.ref.namespace, j.ref.name)...).
		Param("fieldManager", fieldManager).Body(patch).Do(ctx).Raw()
	if err != nil {
		j.outcome, j.err = judge(err), fmt.Errorf("patch the status of %s: %w", j.ref, err)
		return
	}
	var o struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	status, err := j.kind.decode(raw)
	if err == nil {
		err = json.Unmarshal(raw, &o)
	}
	if err != nil || o.Metadata.ResourceVersion == "" {
		j.outcome, j.err = outcomeFailed, fmt.Errorf("read the answer to the patch of %s: %w", j.ref, err)
		return
	}
	j.outcome = outcomeWritten
	j.stored = answer{o.Metadata.UID, j.base, o.Metadata.ResourceVersion, status}
}

// fieldManager is the name under which the API server notes our fields.
const fieldManager = "bulwark"

// judge tells what an error means for a write.
func judge(err error) outcome {
	switch {
	case apierrors.IsConflict(err):
		return outcomeConflict
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return outcomeGone
	case apierrors.IsForbidden(err):
		return outcomeForbidden
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err),
		apierrors.IsUnsupportedMediaType(err), apierrors.IsMethodNotSupported(err), apierrors.IsNotAcceptable(err):
		return outcomeRefused
	}
	return outcomeFailed
}
