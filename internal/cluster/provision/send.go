package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// fieldManager is the name under which the API server notes our fields.
const fieldManager = "bulwark"

func createOptions() metav1.CreateOptions { return metav1.CreateOptions{FieldManager: fieldManager} }

func patchOptions() metav1.PatchOptions { return metav1.PatchOptions{FieldManager: fieldManager} }

// exactly deletes an object only as it was seen.
func exactly(o metav1.Object) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{
		UID: new(o.GetUID()), ResourceVersion: new(o.GetResourceVersion()),
	}}
}

// errNotOurs says that a name is taken by an object of somebody else.
var errNotOurs = errors.New("the name is taken by an object that was not made for this Gateway: delete or rename it")

// put creates or patches one object, or finds that there is nothing to do.
func put[T metav1.Object](
	ctx context.Context, r *rounds, resource string, known *seen[T], label string, gw *gwv1.Gateway, want T,
	diff func(T) object, create func() (T, error), patch func([]byte) (T, error),
) *trouble {
	r.mu.Lock()
	have, there := known.get(keyOf(want))
	r.mu.Unlock()
	now := r.p.cfg.Now()
	if !there {
		return send(ctx, r, resource, known, "", now, create)
	}
	if !r.p.cfg.owned(have, label, gw) {
		return &trouble{err: errNotOurs}
	}
	changes := diff(have)
	if changes == nil || have.GetDeletionTimestamp() != nil {
		return nil
	}
	raw, err := json.Marshal(changes)
	if err != nil {
		return &trouble{err: fmt.Errorf("write a patch as JSON: %w", err)}
	}
	return send(ctx, r, resource, known, have.GetResourceVersion(), now, func() (T, error) { return patch(raw) })
}

// send does one write, counts it and remembers its answer. base is the
// resourceVersion that it is made from, "" for one that creates.
func send[T metav1.Object](
	ctx context.Context, r *rounds, resource string, known *seen[T], base string, now time.Time, write func() (T, error),
) *trouble {
	if err := ctx.Err(); err != nil {
		return &trouble{quiet: true, err: err}
	}
	o, err := write()
	if err == nil {
		r.mu.Lock()
		known.wrote(o, base, now)
		r.mu.Unlock()
	}
	return r.judge(resource, err)
}

// removed notes a deletion.
func removed[T metav1.Object](r *rounds, resource string, known *seen[T], o T, err error) []trouble {
	if err == nil || apierrors.IsNotFound(err) {
		known.removed(o)
	}
	if t := r.judge(resource, err); t != nil {
		t.object = resource + " " + o.GetNamespace() + "/" + o.GetName()
		return []trouble{*t}
	}
	return nil
}

// judge counts the outcome of a write, and tells whether it is a trouble.
func (r *rounds) judge(resource string, err error) *trouble {
	outcome, t := "written", (*trouble)(nil)
	switch {
	case err == nil:
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		// Somebody was faster; the next Snapshot shows what there is now.
		outcome, t = "conflict", &trouble{quiet: true, err: err}
	case apierrors.IsNotFound(err):
		outcome, t = "gone", &trouble{quiet: true, err: err}
	case apierrors.IsForbidden(err):
		outcome, t = "forbidden", &trouble{err: fmt.Errorf("no permission to write %s: %w", resource, err)}
	default:
		outcome, t = "failed", &trouble{err: err}
	}
	r.p.meters.writes.WithLabelValues(resource, outcome).Inc()
	return t
}
