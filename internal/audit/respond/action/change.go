package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// errChanged says that an object is not what it was when it was looked at.
var errChanged = errors.New("it was changed by somebody else since")

// writeTries is how often a write is tried that meets another one.
const writeTries = 8

// rehearse has the API server check a change, and what takes it back as far as that can
// be checked before there is something to take back.
func (e *Engine) rehearse(ctx context.Context, c *Change) error {
	cl, o := e.cfg.Cluster, c.Object
	switch c.Do {
	case DoCreate:
		made, err := cl.Create(ctx, o.Resource, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(c.Body)}, true)
		if err != nil {
			return err
		}
		// With what the API server adds by default, so that its undoing can tell what
		// somebody else has changed.
		if spec, ok := made.Object["spec"]; ok {
			c.Body["spec"] = spec
		}
		// Rights are checked before the name is looked up.
		if err := cl.Delete(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name, "", true); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("take it back: %w", err)
		}
		return nil
	case DoDelete, DoRecreate:
		if err := cl.Delete(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name, c.UID, true); err != nil {
			return err
		}
		again := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(c.Body)}
		again.SetName("bulwark-rehearsal-" + strings.ToLower(c.UID))
		if _, err := cl.Create(ctx, o.Resource, again, true); err != nil {
			return fmt.Errorf("put it back: %w", err)
		}
		return nil
	}
	return e.do(ctx, c, true)
}

// do carries a change out.
func (e *Engine) do(ctx context.Context, c *Change, dryRun bool) error {
	cl, o := e.cfg.Cluster, c.Object
	switch c.Do {
	case DoLabels, DoCordon, DoDeny:
		return e.edit(ctx, c, dryRun, apply)
	case DoCreate:
		made, err := cl.Create(ctx, o.Resource, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(c.Body)}, dryRun)
		if err != nil {
			return fmt.Errorf("create %s: %w", o, err)
		}
		c.NewUID = string(made.GetUID())
		return nil
	case DoDelete, DoRecreate:
		now, err := cl.Get(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name)
		if err != nil {
			return fmt.Errorf("get %s: %w", o, err)
		}
		if string(now.GetUID()) != c.UID || !same(kept(now), c.Body) {
			return fmt.Errorf("%s: %w", o, errChanged)
		}
		if err := cl.Delete(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name, c.UID, dryRun); err != nil {
			return fmt.Errorf("delete %s: %w", o, err)
		}
		if c.Do == DoDelete {
			return nil
		}
		made, err := cl.Create(ctx, o.Resource, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(c.Body)}, dryRun)
		if err != nil && apierrors.IsAlreadyExists(err) {
			// A controller was quicker: the one of a namespace's default account is.
			if made, err = cl.Get(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name); err == nil && string(made.GetUID()) == c.UID {
				err = errors.New("it is still there")
			}
		}
		if err != nil {
			return fmt.Errorf("make %s again: %w", o, err)
		}
		c.NewUID = string(made.GetUID())
		return nil
	}
	return fmt.Errorf("%q is no kind of change", c.Do)
}

// direction is one way of an edit: what of an object's fields is to be written. left
// says what is not, because somebody else has changed it.
type direction func(c *Change, now *unstructured.Unstructured) (patch map[string]any, left string)

// edit writes fields of an object that is there, and only over the version of it that
// was looked at.
func (e *Engine) edit(ctx context.Context, c *Change, dryRun bool, which direction) error {
	cl, o := e.cfg.Cluster, c.Object
	var last error
	for range writeTries {
		now, err := cl.Get(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name)
		if err != nil {
			return fmt.Errorf("get %s: %w", o, err)
		}
		if string(now.GetUID()) != c.UID {
			return fmt.Errorf("%s: %w: it is another object of the same name", o, errChanged)
		}
		patch, left := which(c, now)
		var changed error
		if left != "" {
			changed = fmt.Errorf("%s: %w: %s", o, errChanged, left)
		}
		if len(patch) == 0 {
			return changed
		}
		meta, _ := patch["metadata"].(map[string]any)
		if meta == nil {
			meta = map[string]any{}
			patch["metadata"] = meta
		}
		meta["uid"], meta["resourceVersion"] = c.UID, now.GetResourceVersion()
		text, err := json.Marshal(patch)
		if err != nil {
			return fmt.Errorf("change %s: %w", o, err)
		}
		_, err = cl.Patch(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name, text, dryRun)
		if err == nil {
			return changed
		}
		last = fmt.Errorf("change %s: %w", o, err)
		if !apierrors.IsConflict(err) {
			return last
		}
	}
	return last
}

// apply writes what a change is to bring.
func apply(c *Change, now *unstructured.Unstructured) (map[string]any, string) {
	if c.Do == DoDeny {
		rules, ok := rulesOf(now)
		switch {
		case !ok:
			return nil, "it has no authorization any more"
		case ruleAt(rules, c.Rule["name"]) >= 0:
			return nil, ""
		case len(rules) >= maxRules:
			return nil, "it has as many rules as it may have"
		}
		return rulesPatch(slices.Concat([]any{c.Rule}, rules)), ""
	}
	patch := map[string]any{}
	for _, f := range c.Fields {
		if at := fieldAt(now.Object, f.Path); !same(at, f.Before) {
			return nil, fmt.Sprintf("%s is %s", strings.Join(f.Path, "."), text(at))
		}
		put(patch, f.Path, f.After)
	}
	return patch, ""
}

// revert writes what was there before, unless somebody else has written since.
func revert(c *Change, now *unstructured.Unstructured) (map[string]any, string) {
	if c.Do == DoDeny {
		rules, _ := rulesOf(now)
		i := ruleAt(rules, c.Rule["name"])
		switch {
		case i < 0:
			return nil, ""
		case !same(rules[i], c.Rule):
			return nil, fmt.Sprintf("its rule %v was changed: take it out by hand", c.Rule["name"])
		case len(rules) == 1:
			return nil, fmt.Sprintf("its rule %v is the only one that is left: take it out by hand", c.Rule["name"])
		}
		return rulesPatch(slices.Delete(rules, i, i+1)), ""
	}
	patch := map[string]any{}
	var left []string
	for _, f := range c.Fields {
		switch at := fieldAt(now.Object, f.Path); {
		case same(at, f.Before):
		case same(at, f.After):
			put(patch, f.Path, f.Before)
		default:
			left = append(left, fmt.Sprintf("%s is %s", strings.Join(f.Path, "."), text(at)))
		}
	}
	return patch, strings.Join(left, "; ")
}

// undo takes a change back. A non-empty left says why it was left as it is, for good; an
// error that it can be tried again.
func (e *Engine) undo(ctx context.Context, c *Change) (left string, err error) {
	cl, o := e.cfg.Cluster, c.Object
	now, err := cl.Get(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name)
	gone := apierrors.IsNotFound(err)
	if err != nil && !gone {
		return "", fmt.Errorf("get %s: %w", o, err)
	}
	switch c.Do {
	case DoLabels, DoCordon, DoDeny:
		if gone || string(now.GetUID()) != c.UID {
			return "", nil // what was changed is not there any more
		}
		err := e.edit(ctx, c, false, revert)
		switch {
		case errors.Is(err, errChanged):
			return err.Error(), nil
		case apierrors.IsNotFound(err):
			return "", nil
		}
		return "", err
	case DoCreate:
		switch {
		case gone:
			return "", nil
		case now.GetLabels()[labelRun] != fmt.Sprint(fieldAt(c.Body, []string{"metadata", "labels", labelRun})) || c.NewUID != "" && string(now.GetUID()) != c.NewUID:
			return fmt.Sprintf("%s is another object of the same name", o), nil
		case !same(now.Object["spec"], c.Body["spec"]):
			return fmt.Sprintf("%s was changed by somebody else since: delete it by hand", o), nil
		}
		if err := cl.Delete(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name, string(now.GetUID()), false); err != nil && !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("delete %s: %w", o, err)
		}
		return "", nil
	case DoDelete, DoRecreate:
		switch {
		case gone:
			if _, err := cl.Create(ctx, o.Resource, &unstructured.Unstructured{Object: runtime.DeepCopyJSON(c.Body)}, false); err != nil {
				return "", fmt.Errorf("put %s back: %w", o, err)
			}
			return "", nil
		case c.Do == DoRecreate || string(now.GetUID()) == c.UID || same(kept(now), c.Body):
			return "", nil
		}
		return fmt.Sprintf("another %s of the same name was made since", o), nil
	}
	return "", fmt.Errorf("%q is no kind of change", c.Do)
}

func rulesPatch(rules []any) map[string]any {
	return map[string]any{"spec": map[string]any{"authorization": map[string]any{"rules": rules}}}
}

// fieldAt gives a field, nil where it is not there.
func fieldAt(object map[string]any, path []string) any {
	v, ok, err := unstructured.NestedFieldNoCopy(object, path...)
	if !ok || err != nil {
		return nil
	}
	return v
}

// put writes a field into a merge patch; null takes it away.
func put(patch map[string]any, path []string, v any) {
	for _, key := range path[:len(path)-1] {
		next, ok := patch[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			patch[key] = next
		}
		patch = next
	}
	patch[path[len(path)-1]] = v
}

// same compares as JSON: numbers that were kept in a file have another type.
func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// text is a value as a person reads it.
func text(v any) string {
	if v == nil {
		return "absent"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "unreadable"
	}
	return string(raw)
}
