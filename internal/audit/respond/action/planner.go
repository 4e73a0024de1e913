package action

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// labelPrefix begins every label and annotation that is set; labelRun has the run's id.
const (
	labelPrefix = "bulwark.dev/"
	labelRun    = labelPrefix + "response"
	// mirror marks the image of a static pod, which its node puts back as it was.
	mirror = "kubernetes.io/config.mirror"
	// controlPlane marks nodes that carry the cluster itself.
	controlPlane = "node-role.kubernetes.io/control-plane"
	// bootstrapping marks what the API server puts back when it starts.
	bootstrapping = "kubernetes.io/bootstrapping"
	tokenType     = "kubernetes.io/service-account-token" // #nosec G101 -- a type
	accountOf     = "kubernetes.io/service-account.name"
	policyNotice  = "a NetworkPolicy is kept only where the cluster's network plug-in keeps them, and never for pods on their host's network"
)

func isForbidden(err error) bool { return apierrors.IsForbidden(err) }

// planner turns the steps of an action into changes.
type planner struct {
	engine *Engine
	action *Action
	run    *Run
	self   string
	// uid is what the evidence calls the object, if it does.
	uid string
}

func (p *planner) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(p.run.Warnings, w) {
		p.run.Warnings = append(p.run.Warnings, w)
	}
}

func (p *planner) breaks(format string, args ...any) {
	p.run.Breaks = append(p.run.Breaks, fmt.Sprintf(format, args...))
}

// value gives what a parameter's name, or one of the run's own words, stands for.
func (p *planner) value(name string) string {
	switch name {
	case valueRun:
		return p.run.ID
	case valueRunName:
		return "bulwark-response-" + p.run.ID
	}
	return p.run.Parameters[name]
}

func (p *planner) step(ctx context.Context, s *Step) error {
	switch s.Do {
	case DoCreate:
		return p.create(ctx, s)
	case DoDeny:
		return p.deny(ctx, s)
	}
	o := Object{APIVersion: s.Target.APIVersion, Resource: s.Target.Resource, Namespace: p.run.Parameters[s.Target.Namespace], Name: p.run.Parameters[s.Target.Name]}
	o.Kind = kindOf[s.Do][o.APIVersion+"/"+o.Resource]
	if o.Name == "" || o.Kind == "" || clusterWide(o.Resource) != (o.Namespace == "") {
		return refusef("the target is not complete: %s", o)
	}
	got, err := p.engine.cfg.Cluster.Get(ctx, o.APIVersion, o.Resource, o.Namespace, o.Name)
	switch {
	case apierrors.IsNotFound(err):
		return refusef("%s is not there", o)
	case err != nil:
		return fmt.Errorf("get %s: %w", o, err)
	case p.uid != "" && p.uid != string(got.GetUID()):
		return refusef("%s is not the one of the evidence: its uid is %s, not %s", o, got.GetUID(), p.uid)
	case got.GetDeletionTimestamp() != nil:
		return refusef("%s is being deleted", o)
	}
	c := &Change{Do: s.Do, Object: o, UID: string(got.GetUID())}
	switch s.Do {
	case DoLabels:
		err = p.labels(ctx, s, c, got)
	case DoCordon:
		err = p.cordon(ctx, c, got)
	case DoDelete:
		err = p.remove(c, got)
	case DoRecreate:
		err = p.recreate(ctx, c, got)
	default:
		err = refusef("%q is no kind of step", s.Do)
	}
	if err != nil {
		return err
	}
	if len(c.Fields) > 0 || c.Body != nil {
		p.run.Changes = append(p.run.Changes, c)
	}
	return nil
}

// labels plans labels of a pod.
func (p *planner) labels(ctx context.Context, s *Step, c *Change, pod *unstructured.Unstructured) error {
	if host, _, _ := unstructured.NestedBool(pod.Object, "spec", "hostNetwork"); host {
		return refusef("%s is on its host's network: no NetworkPolicy reaches it; cordon the node and delete the pod", c.Object)
	}
	if pod.GetAnnotations()[mirror] != "" {
		return refusef("%s is a static pod: its node puts its labels back", c.Object)
	}
	if phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase"); phase == "Succeeded" || phase == "Failed" {
		p.warn("%s has ended: its phase is %s", c.Object, phase)
	}
	before := pod.GetLabels()
	after := maps.Clone(before)
	if after == nil {
		after = map[string]string{}
	}
	for key, name := range s.Labels {
		after[key] = p.value(name)
	}
	for _, from := range s.ReleaseFrom {
		var err error
		if from == "services" {
			err = p.leaveServices(ctx, c.Object.Namespace, after)
		} else {
			err = p.leavePolicies(ctx, c.Object.Namespace, after)
		}
		if err != nil {
			return err
		}
	}
	keys := map[string]bool{}
	for key := range before {
		keys[key] = true
	}
	for key := range after {
		keys[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		was, had := before[key]
		is, has := after[key]
		if had == has && was == is {
			continue
		}
		f := Field{Path: []string{"metadata", "labels", key}}
		if had {
			f.Before = was
		}
		if has {
			f.After = is
		}
		c.Fields = append(c.Fields, f)
		if had && !has {
			for _, owner := range pod.GetOwnerReferences() {
				if owner.Controller != nil && *owner.Controller {
					p.breaks("%s %s may let go of the pod, since label %s is taken off, and start another in its place; when the label is back it may delete one of them", owner.Kind, owner.Name, key)
				}
			}
		}
	}
	return nil
}

// leave takes a label off so that a selector no longer holds, and says whether it could.
func leave(selector labels.Selector, from map[string]string) (key string, ok bool) {
	requirements, _ := selector.Requirements()
	var keys []string
	for _, r := range requirements {
		if _, has := from[r.Key()]; has && !strings.HasPrefix(r.Key(), labelPrefix) {
			keys = append(keys, r.Key())
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		less := maps.Clone(from)
		delete(less, key)
		if !selector.Matches(labels.Set(less)) {
			delete(from, key)
			return key, true
		}
	}
	return "", false
}

func (p *planner) leaveServices(ctx context.Context, namespace string, after map[string]string) error {
	services, err := p.engine.cfg.Cluster.List(ctx, "v1", "services", namespace)
	if err != nil {
		return fmt.Errorf("list Services of %s: %w", namespace, err)
	}
	for _, s := range services {
		selector, _, err := unstructured.NestedStringMap(s.Object, "spec", "selector")
		if err != nil || len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(after)) {
			continue
		}
		if key, ok := leave(labels.SelectorFromSet(selector), after); ok {
			p.breaks("Service %s/%s no longer sends to the pod: label %s is taken off", namespace, s.GetName(), key)
		} else {
			p.warn("Service %s/%s goes on sending to the pod", namespace, s.GetName())
		}
	}
	return nil
}

// leavePolicies takes labels off so that no NetworkPolicy that lets traffic through
// selects the pod: policies add up, and a refusal takes nothing away from the others.
func (p *planner) leavePolicies(ctx context.Context, namespace string, after map[string]string) error {
	open, err := p.openPolicies(ctx, namespace)
	if err != nil {
		return err
	}
	for _, n := range open {
		selector, err := metav1.LabelSelectorAsSelector(&n.Spec.PodSelector)
		if err != nil {
			p.warn("NetworkPolicy %s/%s cannot be read: %v", namespace, n.Name, err)
			continue
		}
		for tries := 0; selector.Matches(labels.Set(after)); tries++ {
			key, ok := leave(selector, after)
			if !ok {
				p.warn("NOT SEALED: NetworkPolicy %s/%s selects the pod whatever its labels are, and lets traffic through", namespace, n.Name)
				break
			}
			p.breaks("NetworkPolicy %s/%s no longer selects the pod: label %s is taken off", namespace, n.Name, key)
		}
	}
	return nil
}

// openPolicies lists the NetworkPolicies that let something through.
func (p *planner) openPolicies(ctx context.Context, namespace string) ([]networkingv1.NetworkPolicy, error) {
	list, err := p.engine.cfg.Cluster.List(ctx, "networking.k8s.io/v1", "networkpolicies", namespace)
	if err != nil {
		return nil, fmt.Errorf("list NetworkPolicies of %s: %w", namespace, err)
	}
	var out []networkingv1.NetworkPolicy
	for _, u := range list {
		var n networkingv1.NetworkPolicy
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &n); err != nil {
			p.warn("NetworkPolicy %s/%s cannot be read: %v", namespace, u.GetName(), err)
			continue
		}
		if len(n.Spec.Ingress) > 0 || len(n.Spec.Egress) > 0 {
			out = append(out, n)
		}
	}
	return out, nil
}

// create plans a new object.
func (p *planner) create(ctx context.Context, s *Step) error {
	u := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(s.Object)}
	for _, set := range s.Set {
		if err := unstructured.SetNestedField(u.Object, p.value(set.Value), set.Path...); err != nil {
			return fmt.Errorf("set %s: %w", strings.Join(set.Path, "/"), err)
		}
	}
	p.mark(u)
	o := Object{APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
	o.Resource = resourceOf(s.Do, o.APIVersion, o.Kind)
	space, err := p.engine.cfg.Cluster.Get(ctx, "v1", "namespaces", "", o.Namespace)
	switch {
	case apierrors.IsNotFound(err):
		return refusef("namespace %s is not there", o.Namespace)
	case err != nil:
		return fmt.Errorf("get namespace %s: %w", o.Namespace, err)
	case space.GetDeletionTimestamp() != nil:
		return refusef("namespace %s is being deleted", o.Namespace)
	}
	p.warn("%s", policyNotice)
	selector, _, _ := unstructured.NestedMap(u.Object, "spec", "podSelector")
	if len(selector) == 0 {
		open, err := p.openPolicies(ctx, o.Namespace)
		if err != nil {
			return err
		}
		for _, n := range open {
			p.warn("NOT SEALED: NetworkPolicy %s/%s goes on letting traffic through to the pods that it selects", o.Namespace, n.Name)
		}
		pods, err := p.engine.cfg.Cluster.List(ctx, "v1", "pods", o.Namespace)
		if err != nil {
			return fmt.Errorf("list pods of %s: %w", o.Namespace, err)
		}
		p.breaks("%d pods of namespace %s can neither be reached nor reach anything%s", len(pods), o.Namespace, some(pods))
	}
	p.run.Changes = append(p.run.Changes, &Change{Do: s.Do, Object: o, Body: u.Object})
	return nil
}

// mark says whose an object is.
func (p *planner) mark(u *unstructured.Unstructured) {
	l, a := u.GetLabels(), u.GetAnnotations()
	if l == nil {
		l = map[string]string{}
	}
	if a == nil {
		a = map[string]string{}
	}
	l[labelRun] = p.run.ID
	a[labelPrefix+"action"] = p.action.Name
	u.SetLabels(l)
	u.SetAnnotations(a)
}

// some names the first few objects.
func some(list []unstructured.Unstructured) string {
	const most = 8
	var names []string
	for _, u := range list[:min(len(list), most)] {
		names = append(names, u.GetName())
	}
	switch {
	case len(list) > most:
		return ": " + strings.Join(names, ", ") + " and more"
	case len(list) > 0:
		return ": " + strings.Join(names, ", ")
	}
	return ""
}

// cordon plans that a node takes no new pods.
func (p *planner) cordon(ctx context.Context, c *Change, node *unstructured.Unstructured) error {
	if _, is := node.GetLabels()[controlPlane]; is {
		return refusef("%s carries the control plane", c.Object)
	}
	if already, _, _ := unstructured.NestedBool(node.Object, "spec", "unschedulable"); already {
		return nil
	}
	nodes, err := p.engine.cfg.Cluster.List(ctx, "v1", "nodes", "")
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	open := 0
	for _, n := range nodes {
		if closed, _, _ := unstructured.NestedBool(n.Object, "spec", "unschedulable"); !closed && n.GetName() != c.Object.Name {
			open++
		}
	}
	if open == 0 {
		return refusef("%s is the last node that takes pods", c.Object)
	}
	if p.run.Automatic && 2*open < len(nodes) {
		return refusef("only %d of %d nodes would take pods: that is for a person to decide", open, len(nodes))
	}
	c.Fields = []Field{{Path: []string{"spec", "unschedulable"}, After: true}}
	return nil
}
