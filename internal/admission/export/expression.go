package export

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"bulwark.dev/bulwark/internal/posture/content"
)

// parts are the CEL of one policy.
type parts struct {
	conditions     []admissionregistrationv1.MatchCondition
	variables      []admissionregistrationv1.Variable
	check, message string
}

// reads finds what a control's expressions read of variables; the loader has made
// sure that they are read in no other way.
var reads = regexp.MustCompile(`\bvariables\s*\.\s*([A-Za-z]+)`) //nolint:gochecknoglobals // constant

// deleting lets an object go that is being deleted: its finalizers are taken away
// by an update, and an object that fails could else never be. Nothing but those
// may change.
const deleting = `!(request.operation == "UPDATE" && has(dyn(object).metadata.deletionTimestamp) && ` +
	`dyn(object).all(k, k == "metadata" || k == "status" || (k in dyn(oldObject) && dyn(object)[k] == dyn(oldObject)[k])) && ` +
	`dyn(oldObject).all(k, k in dyn(object)) && ` +
	`dyn(object).metadata.?labels == dyn(oldObject).metadata.?labels && ` +
	`dyn(object).metadata.?annotations == dyn(oldObject).metadata.?annotations)`

// relabelling lets status and finalize pass unless they change labels or
// annotations, which they can.
const relabelling = `!has(request.subResource) || !(request.subResource in ["status", "finalize"]) || ` +
	`dyn(object).metadata.?labels != dyn(oldObject).metadata.?labels || ` +
	`dyn(object).metadata.?annotations != dyn(oldObject).metadata.?annotations`

// notNull takes what is null for what is empty. The API server shows "rules: null" of
// a role that has none.
const notNull = `.optMap(v, dyn(v) == null ? dyn(%s) : v)`

// expressions builds the CEL around that of a control.
func expressions(c *content.Control) (*parts, error) {
	if files.MatchString(c.When) {
		return nil, cannot("it is about files: to the API server every object is in the cluster")
	}
	out := &parts{conditions: []admissionregistrationv1.MatchCondition{{Name: "not-just-finalized", Expression: deleting}}}
	if slices.ContainsFunc(c.AppliesTo.Kinds, func(k content.Kind) bool { return len(resources(k)) > 1 }) {
		out.conditions = append(out.conditions, admissionregistrationv1.MatchCondition{Name: "not-just-status", Expression: relabelling})
	}
	used := map[string]bool{}
	for _, text := range []string{c.When, c.Check, c.Message} {
		for _, m := range reads.FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
		}
	}
	scope := c.Scope()
	ofPod := scope != content.ScopeObject && scope != content.ScopeObjectList || used["pod"] || used["podMetadata"] || used["containers"] || used["args"]
	if ofPod && !c.AppliesTo.Pods && c.AppliesTo.Component == "" {
		for _, k := range c.AppliesTo.Kinds {
			if !workload(k) {
				return nil, cannot("%s is no built-in workload, and where others have their pods a policy cannot find out", k.Kind)
			}
		}
	}
	x := &expression{control: c}
	if err := x.nest(); err != nil {
		return nil, err
	}
	check, message := x.all(), x.messages()
	if c.When != "" && !partOf(c.When) {
		if len(reads.FindAllString(c.When, -1)) == 0 {
			out.conditions = append(out.conditions, admissionregistrationv1.MatchCondition{Name: "applies", Expression: untyped(strings.TrimSpace(c.When))})
		} else {
			check = fmt.Sprintf("%s ? %s : true", group(c.When), check)
		}
	}
	names := []string{}
	for _, name := range []string{"pod", "podMetadata", "containers", "args", "params"} {
		if used[name] || name == "pod" {
			names = append(names, name)
		}
	}
	if ofPod || c.AppliesTo.Pods || c.AppliesTo.Component != "" {
		podVariables(out, used["podMetadata"])
	}
	if used["params"] {
		literal, err := literal(c.Params())
		if err != nil {
			return nil, err
		}
		out.variables = append(out.variables, admissionregistrationv1.Variable{Name: "params", Expression: literal})
	}
	switch {
	case c.AppliesTo.Component != "":
		if err := components(out, c.AppliesTo.Component, names); err != nil {
			return nil, err
		}
		message = joined("variables.units", "variables", check, message)
		check = fmt.Sprintf("variables.units.all(variables, %s)", check)
	case ofPod, c.AppliesTo.Pods:
		check = fmt.Sprintf("!has(variables.template.spec) || (%s)", check)
	}
	out.check, out.message = check, fmt.Sprintf("%s + %s", strconv.Quote(c.ID+": "), group(message))
	return out, nil
}

func workload(k content.Kind) bool {
	switch k.Group + "/" + k.Kind {
	case "/Pod", "/PodTemplate", "/ReplicationController", "apps/Deployment", "apps/ReplicaSet", "apps/StatefulSet",
		"apps/DaemonSet", "batch/Job", "batch/CronJob":
		return true
	}
	return false
}

// podVariables find the pod of a built-in workload. They are dyn, since one policy
// is for kinds of several types.
func podVariables(out *parts, metadata bool) {
	out.variables = append(out.variables,
		admissionregistrationv1.Variable{Name: "template", Expression: `dyn(object).kind == "Pod" ? dyn(object) : ` +
			`dyn(object).kind == "PodTemplate" ? dyn(object).?template.orValue(dyn({})) : ` +
			`dyn(object).kind == "CronJob" ? dyn(object).?spec.?jobTemplate.?spec.?template.orValue(dyn({})) : ` +
			`dyn(object).?spec.?template.orValue(dyn({}))`},
		admissionregistrationv1.Variable{Name: "pod", Expression: `dyn(variables.template).?spec.orValue(dyn({}))`},
		admissionregistrationv1.Variable{Name: "containers", Expression: `dyn(dyn(variables.pod).?initContainers.orValue([]) + ` +
			`dyn(variables.pod).?containers.orValue([]) + dyn(variables.pod).?ephemeralContainers.orValue([]))`},
	)
	if metadata {
		out.variables = append(out.variables, admissionregistrationv1.Variable{Name: "podMetadata", Expression: `dyn(variables.template).?metadata.orValue(dyn({}))`})
	}
}

// expression is the text of a control within the macros that give it its parts.
type expression struct {
	control *content.Control
	// lists and names are, from the outside in, what is gone through and the name of
	// an element there.
	lists, names []string
}

// nest finds the lists of a control.
func (x *expression) nest() error {
	c := x.control
	steps, err := steps(c.Each)
	if err != nil {
		return err
	}
	from, containers := "dyn(object)", "variables.containers"
	if c.AppliesTo.Component != "" {
		containers = "[variables.container]" // of the unit
	}
	switch c.Scope() {
	case content.ScopeObject, content.ScopePod:
		return nil
	case content.ScopeContainer:
		x.lists, x.names = []string{containers}, []string{"container"}
		return nil
	case content.ScopeContainerList:
		x.lists, x.names = []string{containers}, []string{"container"}
		from, steps = "dyn(container)", steps[1:]
	case content.ScopePodList:
		from, steps = "dyn(variables.pod)", steps[1:]
	case content.ScopeObjectList:
	}
	if steps[len(steps)-1] != "" {
		steps = append(steps, "")
	}
	depth := 0
	for i := 0; i < len(steps); {
		var b strings.Builder
		b.WriteString("dyn(" + from)
		bare := b.Len()
		for ; i < len(steps) && steps[i] != ""; i++ {
			empty := "{}"
			if i+1 < len(steps) && steps[i+1] == "" {
				empty = "[]"
			}
			b.WriteString("[?" + strconv.Quote(steps[i]) + "]" + fmt.Sprintf(notNull, empty))
		}
		i++ // the list
		if b.Len() > bare {
			b.WriteString(".orValue([])")
		}
		b.WriteByte(')')
		name := "item"
		if i < len(steps) {
			depth++
			name = "outer" + strconv.Itoa(depth)
		}
		x.lists, x.names = append(x.lists, b.String()), append(x.names, name)
		from = "dyn(" + name + ")"
	}
	return nil
}

// part is the check of one part, true too where the control does not apply to it.
func (x *expression) part() string {
	c := x.control
	if c.When != "" && partOf(c.When) {
		return fmt.Sprintf("%s ? %s : true", group(c.When), group(c.Check))
	}
	return group(c.Check)
}

// all is true where every part passes.
func (x *expression) all() string {
	out := x.part()
	for i, list := range slices.Backward(x.lists) {
		out = fmt.Sprintf("%s.all(%s, %s)", list, x.names[i], out)
	}
	return out
}

// messages tells of every part that fails.
func (x *expression) messages() string {
	out, check := group(x.control.Message), x.part()
	for i, list := range slices.Backward(x.lists) {
		out = joined(list, x.names[i], check, out)
		check = fmt.Sprintf("%s.all(%s, %s)", list, x.names[i], check)
	}
	return out
}

// joined gives the messages of the elements of a list that fail.
func joined(list, name, check, message string) string {
	return fmt.Sprintf(`%s.filter(%s, !(%s)).map(%s, %s).join("; ")`, list, name, check, name, message)
}

// files finds a condition that tells objects of a cluster from those of files.
var files = regexp.MustCompile(`\bobject\.metadata\.\??uid\b`) //nolint:gochecknoglobals // constant

// steps reads the path of a list: names, and "" for every element.
func steps(path string) ([]string, error) {
	if strings.ContainsAny(path, `"'\`) {
		return nil, cannot("the path %q has quoted names", path)
	}
	var out []string
	for s := range strings.SplitSeq(path, ".") {
		name, rest, list := strings.Cut(s, "[]")
		out = append(out, name)
		for list {
			out = append(out, "")
			_, rest, list = strings.Cut(rest, "[]")
		}
	}
	return out, nil
}
