// Package action takes reversible measures against what an alert told of: it plans
// them, shows what they would change, carries them out, and takes them back when their
// time is over.
//
// An Action is content: a YAML file that says which steps are taken on which objects.
// The kinds of steps, and the kinds of objects that each may touch, are a closed list
// here. Values that come from events are an attacker's choice. They are validated by
// kind and set into parsed objects as typed values; no text is ever put together to be
// parsed. Which object is meant is read from the evidence in the trail, never from the
// words of an alert.
//
// What stands is kept in one file for each run, written before anything is changed, so
// that a process that ends midway is followed by one that takes the rest back. Every
// plan, measure, undoing and failure is an event of the trail.
package action

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/audit"
)

// Action is one measure that can be taken.
type Action struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
	// Risk is how much harm a wrong use does: low, medium or high.
	Risk string `json:"risk"`
	// Breaks says what it costs, Undo how it is taken back and what that does not bring back.
	Breaks []string `json:"breaks"`
	Undo   string   `json:"undo"`
	// Parameters are what it must know.
	Parameters []Parameter `json:"parameters"`
	// From says where evidence has the parameters: "object" reads what was done to,
	// "caller" who did it. The first of these two that an action has is what it takes.
	From  map[string]Reading `json:"from"`
	Steps []Step             `json:"steps"`
	// RBAC is what it needs to be allowed.
	RBAC []rbacv1.PolicyRule `json:"rbac"`
}

// Parameter is one value that an action needs.
type Parameter struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`
	Description string `json:"description"`
	// Optional parameters may be empty.
	Optional bool `json:"optional,omitempty"`
}

// Reading says which fields of an event have the parameters.
type Reading struct {
	// Resource, where it is set, is what objectRef.resource must be, as
	// "group/resource", or "resource" for the core group.
	Resource string `json:"resource,omitempty"`
	// UID are fields that have the object's uid; where the first of them has one, an object
	// of another uid is left alone.
	UID []string `json:"uid,omitempty"`
	// Parameters maps each parameter to fields; the first with a value counts.
	Parameters map[string][]string `json:"parameters"`
}

// The readings that an action may have.
const (
	ReadObject = "object"
	ReadCaller = "caller"
)

// The kinds of steps.
const (
	DoLabels   = "kubernetes.patch-labels"
	DoCreate   = "kubernetes.create"
	DoDelete   = "kubernetes.delete"
	DoRecreate = "kubernetes.recreate"
	DoCordon   = "kubernetes.cordon"
	DoDeny     = "gateway.deny-identity"
)

// Step is one step of an action.
type Step struct {
	// Do is its kind.
	Do string `json:"do"`
	// Target is the object of all kinds but create and deny-identity.
	Target *Target `json:"target,omitempty"`
	// Labels are set by patch-labels: the value is a parameter's name, or "run".
	Labels map[string]string `json:"labels,omitempty"`
	// ReleaseFrom makes patch-labels take labels off a pod so that no Service sends to it
	// and no NetworkPolicy that lets traffic through selects it.
	ReleaseFrom []string `json:"releaseFrom,omitempty"`
	// Object is what create makes, and Set the places in it that are not constant.
	Object map[string]any `json:"object,omitempty"`
	Set    []Set          `json:"set,omitempty"`
	// Identity and Issuer are the parameters that deny-identity denies.
	Identity string `json:"identity,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
}

// Target names an object; Namespace and Name are parameters' names.
type Target struct {
	APIVersion string `json:"apiVersion"`
	Resource   string `json:"resource"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

// Set puts a value into an object.
type Set struct {
	Path []string `json:"path"`
	// Value is a parameter's name, "run", or "run-name": a name that holds the run's.
	Value string `json:"value"`
}

// Values that are no parameters.
const (
	valueRun     = "run"
	valueRunName = "run-name"
)

// kindOf are the objects that each kind of step may touch, with their kinds.
var kindOf = map[string]map[string]string{ //nolint:gochecknoglobals // read only
	DoLabels:   {"v1/pods": "Pod"},
	DoCreate:   {"networking.k8s.io/v1/networkpolicies": "NetworkPolicy"},
	DoDelete:   {"v1/secrets": "Secret", "rbac.authorization.k8s.io/v1/rolebindings": "RoleBinding", "rbac.authorization.k8s.io/v1/clusterrolebindings": "ClusterRoleBinding"},
	DoRecreate: {"v1/serviceaccounts": "ServiceAccount"},
	DoCordon:   {"v1/nodes": "Node"},
	DoDeny:     {},
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`) //nolint:gochecknoglobals // read only

// maxFile bounds an action's file.
const maxFile = 64 << 10

// Load reads every *.yaml in a folder. What is wrong with any of them is an error.
func Load(fsys fs.FS) (map[string]*Action, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	out := make(map[string]*Action, len(names))
	var wrong error
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		var a *Action
		if err == nil {
			a, err = Parse(text)
		}
		if err == nil && a.Name+".yaml" != name {
			err = fmt.Errorf("its name is %q, not that of the file", a.Name)
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("action %s: %w", name, err))
			continue
		}
		out[a.Name] = a
	}
	if wrong != nil {
		return nil, wrong
	}
	return out, nil
}

// Parse reads one action and checks all of it.
func Parse(text []byte) (*Action, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%d bytes are more than the %d of an action", len(text), maxFile)
	}
	a := &Action{}
	if err := yaml.UnmarshalStrict(text, a); err != nil {
		return nil, fmt.Errorf("read the action: %w", err)
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Action) check() error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !namePattern.MatchString(a.Name) {
		bad("name %q: expected small letters, digits and dashes", a.Name)
	}
	if a.Title == "" || a.Description == "" || a.Undo == "" || len(a.Breaks) == 0 {
		bad("title, description, breaks and undo are required")
	}
	if !slices.Contains([]string{"low", "medium", "high"}, a.Risk) {
		bad("risk %q: expected low, medium or high", a.Risk)
	}
	if len(a.Steps) == 0 || len(a.Steps) > 8 || len(a.RBAC) == 0 {
		bad("expected one to eight steps, and the rbac rules that they need")
	}
	known := map[string]string{}
	for _, p := range a.Parameters {
		if _, twice := known[p.Name]; twice || !namePattern.MatchString(p.Name) || p.Name == valueRun || p.Name == valueRunName {
			bad("parameter %q: its name is not valid, or there twice", p.Name)
		}
		if !slices.Contains(valueKinds(), p.Kind) {
			bad("parameter %q: kind %q: expected one of %s", p.Name, p.Kind, strings.Join(valueKinds(), ", "))
		}
		known[p.Name] = p.Kind
	}
	if len(a.From) == 0 {
		bad("from: nothing says where evidence has the parameters")
	}
	for name, r := range a.From {
		if name != ReadObject && name != ReadCaller {
			bad("from %q: expected object or caller", name)
		}
		for _, f := range r.UID {
			if _, err := audit.ParseField(f); err != nil {
				bad("from %s: uid: %w", name, err)
			}
		}
		for p, fields := range r.Parameters {
			if _, ok := known[p]; !ok || len(fields) == 0 {
				bad("from %s: %q is no parameter, or has no field", name, p)
			}
			for _, f := range fields {
				if _, err := audit.ParseField(f); err != nil {
					bad("from %s: %s: %w", name, p, err)
				}
			}
		}
		for _, p := range a.Parameters {
			if _, ok := r.Parameters[p.Name]; !ok && !p.Optional {
				bad("from %s: nothing gives %q", name, p.Name)
			}
		}
	}
	for i, s := range a.Steps {
		if err := s.check(known); err != nil {
			bad("step %d: %w", i+1, err)
		}
	}
	return errors.Join(wrong...)
}

// check says what is wrong with a step, given the parameters and their kinds.
func (s *Step) check(known map[string]string) error {
	objects, ok := kindOf[s.Do]
	if !ok {
		return fmt.Errorf("%q is no kind of step", s.Do)
	}
	needs := func(what, name string, kinds ...string) error {
		if kind, ok := known[name]; !ok || !slices.Contains(kinds, kind) {
			return fmt.Errorf("%s: %q is no parameter of kind %s", what, name, strings.Join(kinds, " or "))
		}
		return nil
	}
	if (s.Target != nil) != (s.Do != DoCreate && s.Do != DoDeny) {
		return fmt.Errorf("%s: a target is for changing an object that is there", s.Do)
	}
	if t := s.Target; t != nil {
		if _, ok := objects[t.APIVersion+"/"+t.Resource]; !ok {
			return fmt.Errorf("%s may not touch %s/%s", s.Do, t.APIVersion, t.Resource)
		}
		if clusterWide(t.Resource) != (t.Namespace == "") {
			return fmt.Errorf("target %s: a namespace is for what is in one", t.Resource)
		}
		if t.Namespace != "" {
			if err := needs("target namespace", t.Namespace, kindNamespace); err != nil {
				return err
			}
		}
		if err := needs("target name", t.Name, kindName, kindServiceAccount, kindNode, kindRBACName); err != nil {
			return err
		}
	}
	switch s.Do {
	case DoLabels:
		return s.checkLabels(known)
	case DoCreate:
		return s.checkObject(known)
	case DoDeny:
		if err := needs("identity", s.Identity, kindIdentity); err != nil {
			return err
		}
		if s.Issuer != "" {
			return needs("issuer", s.Issuer, kindText)
		}
	}
	return nil
}

func (s *Step) checkLabels(known map[string]string) error {
	if len(s.Labels) == 0 {
		return errors.New("labels: none are set")
	}
	for key, value := range s.Labels {
		if !strings.HasPrefix(key, labelPrefix) {
			return fmt.Errorf("label %q: expected one that begins with %s", key, labelPrefix)
		}
		if _, ok := known[value]; !ok && value != valueRun {
			return fmt.Errorf("label %q: %q is no parameter", key, value)
		}
	}
	for _, r := range s.ReleaseFrom {
		if r != "services" && r != "networkpolicies" {
			return fmt.Errorf("releaseFrom %q: expected services or networkpolicies", r)
		}
	}
	return nil
}

func (s *Step) checkObject(known map[string]string) error {
	version, _ := s.Object["apiVersion"].(string)
	kind, _ := s.Object["kind"].(string)
	if resourceOf(s.Do, version, kind) == "" {
		return fmt.Errorf("create may not make a %s of %s", kind, version)
	}
	var named, spaced bool
	for _, set := range s.Set {
		if len(set.Path) == 0 {
			return errors.New("set: a path is empty")
		}
		if _, ok := known[set.Value]; !ok && set.Value != valueRun && set.Value != valueRunName {
			return fmt.Errorf("set %s: %q is no parameter", strings.Join(set.Path, "/"), set.Value)
		}
		at := strings.Join(set.Path, "/")
		named = named || at == "metadata/name" && set.Value == valueRunName
		spaced = spaced || at == "metadata/namespace" && known[set.Value] == kindNamespace
	}
	if !named || !spaced {
		return errors.New("set: metadata/name must be run-name, and metadata/namespace a parameter of kind namespace")
	}
	return nil
}

// resourceOf gives the resource of a kind that a step may touch, or "".
func resourceOf(do, version, kind string) string {
	for key, k := range kindOf[do] {
		if v, resource, ok := cutLast(key); ok && v == version && k == kind {
			return resource
		}
	}
	return ""
}

// cutLast cuts around the last slash.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func clusterWide(resource string) bool {
	return resource == "nodes" || resource == "clusterrolebindings"
}

// reading gives the named reading, or the first that the action has.
func (a *Action) reading(name string) (string, Reading, error) {
	names := []string{name}
	if name == "" {
		names = []string{ReadObject, ReadCaller}
	}
	for _, n := range names {
		if r, ok := a.From[n]; ok {
			return n, r, nil
		}
	}
	return "", Reading{}, refusef("action %s cannot read its parameters from the %s of an event", a.Name, name)
}
