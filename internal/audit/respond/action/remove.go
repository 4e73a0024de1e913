package action

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// kept is what is put back of an object: nothing that the API server makes, and of a
// Secret neither data nor what may hold a copy of it.
func kept(u *unstructured.Unstructured) map[string]any {
	out := runtime.DeepCopyJSON(u.Object)
	delete(out, "status")
	meta, _ := out["metadata"].(map[string]any)
	for _, key := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		delete(meta, key)
	}
	if u.GetKind() == "Secret" {
		delete(out, "data")
		delete(out, "stringData")
		name := u.GetAnnotations()[accountOf]
		meta["annotations"] = map[string]any{accountOf: name}
		// Kubernetes notes here when a token was used last.
		if l, ok := meta["labels"].(map[string]any); ok {
			delete(l, "kubernetes.io/legacy-token-last-used")
			delete(l, "kubernetes.io/legacy-token-invalid-since")
			if len(l) == 0 {
				delete(meta, "labels")
			}
		}
	}
	return out
}

// remove plans a deletion.
func (p *planner) remove(c *Change, u *unstructured.Unstructured) error {
	if f := u.GetFinalizers(); len(f) > 0 {
		return refusef("%s has finalizers (%s): deleting it would take effect at a time that nobody knows", c.Object, strings.Join(f, ", "))
	}
	var err error
	if c.Object.Kind == "Secret" {
		err = p.tokenSecret(c, u)
	} else {
		err = p.binding(c, u)
	}
	if err != nil {
		return err
	}
	c.Body = kept(u)
	return nil
}

func (p *planner) tokenSecret(c *Change, u *unstructured.Unstructured) error {
	typ, _, _ := unstructured.NestedString(u.Object, "type")
	account := u.GetAnnotations()[accountOf]
	if typ != tokenType || account == "" {
		return refusef("%s is of type %q: only the token of a ServiceAccount can be made anew when it is taken back", c.Object, typ)
	}
	if err := p.engine.identity(accountPrefix+c.Object.Namespace+":"+account, p.self); err != nil {
		return err
	}
	p.breaks("whoever uses the token of ServiceAccount %s/%s in %s is refused", c.Object.Namespace, account, c.Object)
	return nil
}

// createdBefore is by how much a binding may seem older than the request that made it: the
// API server notes whole seconds, and requests wait.
const createdBefore = 5 * time.Second

// binding refuses what would lock out who must get in.
func (p *planner) binding(c *Change, u *unstructured.Unstructured) error {
	if u.GetLabels()[bootstrapping] != "" || strings.HasPrefix(u.GetName(), "system:") {
		return refusef("%s belongs to Kubernetes itself", c.Object)
	}
	if since := p.run.since; p.run.Automatic && (since.IsZero() || u.GetCreationTimestamp().Time.Before(since.Add(-createdBefore))) {
		return refusef("%s was there before what the alert tells of: others may need it, and that is for a person to decide", c.Object)
	}
	raw, _, _ := unstructured.NestedSlice(u.Object, "subjects")
	for _, r := range raw {
		var s rbacv1.Subject
		m, ok := r.(map[string]any)
		if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(m, &s) != nil {
			return refusef("%s has a subject that cannot be read", c.Object)
		}
		var err error
		switch {
		case s.Kind == rbacv1.ServiceAccountKind:
			space := s.Namespace
			if space == "" {
				space = c.Object.Namespace
			}
			err = p.engine.identity(accountPrefix+space+":"+s.Name, p.self)
		case s.Kind == rbacv1.GroupKind:
			err = p.engine.group(s.Name)
		case s.Name != "system:anonymous":
			err = p.engine.identity(s.Name, p.self)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Object, err)
		}
		p.breaks("%s %q loses what %s grants", s.Kind, s.Name, c.Object)
	}
	return nil
}

// recreate plans that an object is deleted and made again.
func (p *planner) recreate(ctx context.Context, c *Change, u *unstructured.Unstructured) error {
	if err := p.engine.identity(accountPrefix+c.Object.Namespace+":"+c.Object.Name, p.self); err != nil {
		return err
	}
	if f := u.GetFinalizers(); len(f) > 0 {
		return refusef("%s has finalizers (%s)", c.Object, strings.Join(f, ", "))
	}
	pods, err := p.engine.cfg.Cluster.List(ctx, "v1", "pods", c.Object.Namespace)
	if err != nil {
		return fmt.Errorf("list pods of %s: %w", c.Object.Namespace, err)
	}
	pods = slices.DeleteFunc(pods, func(pod unstructured.Unstructured) bool {
		name, _, _ := unstructured.NestedString(pod.Object, "spec", "serviceAccountName")
		return name != c.Object.Name
	})
	if len(pods) > 0 {
		p.breaks("%d pods hold tokens that stop working; restart them%s", len(pods), some(pods))
	}
	c.Body = kept(u)
	return nil
}
