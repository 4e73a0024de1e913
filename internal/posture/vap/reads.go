package vap

import (
	"slices"

	"github.com/google/cel-go/common/ast"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/cel/environment"

	"bulwark.dev/bulwark/internal/posture/control"
)

// reads are what expressions look at beside the object itself.
type reads struct {
	// why names what a scan cannot know of it, "" where there is nothing.
	why string
	// authorizer says that this is what users may do.
	authorizer bool
	// place says that the name of the object's namespace is read, namespace that the
	// Namespace is.
	place, namespace bool
}

const (
	readsUser    = "the policy depends on who asks"
	readsRequest = "the policy depends on how it is asked"
	readsRights  = "the policy asks what the user may do"
)

// knownFields are those of a request that a scan can give.
var knownFields = []string{ //nolint:gochecknoglobals // constant
	"kind", "resource", "subResource", "requestKind", "requestResource", "requestSubResource", "name", "namespace", "operation",
}

// readsOf gives what expressions read. What cannot be parsed reads nothing: whoever
// compiles it says what is wrong.
func readsOf(expressions ...string) reads {
	var r reads
	env := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).StoredExpressionsEnv()
	for _, text := range expressions {
		tree, issues := env.Parse(text)
		if issues.Err() != nil {
			continue
		}
		selected := map[int64]bool{} // names of which one field is taken
		ast.PreOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
			if of, name, ok := control.Field(e); ok {
				r.field(of, name, selected)
			}
			if e.Kind() == ast.IdentKind && !selected[e.ID()] {
				r.ident(e.AsIdent())
			}
		}))
	}
	return r
}

func (r *reads) field(of ast.Expr, name string, selected map[int64]bool) {
	if root, first, ok := control.Field(of); ok && first == "metadata" && name == "namespace" && root.Kind() == ast.IdentKind && root.AsIdent() == "object" {
		r.place = true
	}
	if of.Kind() != ast.IdentKind || of.AsIdent() != "request" {
		return
	}
	selected[of.ID()] = true
	switch {
	case name == "namespace":
		r.place = true
	case slices.Contains(knownFields, name):
	case name == "userInfo":
		r.why = readsUser
	default:
		r.why = readsRequest
	}
}

func (r *reads) ident(name string) {
	switch name {
	case "authorizer":
		r.why, r.authorizer = readsRights, true
	case "request":
		r.why = readsUser
	case "namespaceObject":
		r.namespace = true
	}
}

// deciding gives the expressions that a verdict rests on.
func deciding(p *admissionregistrationv1.ValidatingAdmissionPolicy) []string {
	var out []string
	for _, c := range p.Spec.MatchConditions {
		out = append(out, c.Expression)
	}
	for _, v := range p.Spec.Variables {
		out = append(out, v.Expression)
	}
	for _, v := range p.Spec.Validations {
		out = append(out, v.Expression)
	}
	return out
}

// knowable gives a policy without the messages and audit annotations that read what
// a scan does not know: the verdict does not rest on them.
func knowable(p *admissionregistrationv1.ValidatingAdmissionPolicy) *admissionregistrationv1.ValidatingAdmissionPolicy {
	out := p.DeepCopy()
	for i := range out.Spec.Validations {
		if readsOf(out.Spec.Validations[i].MessageExpression).why != "" {
			out.Spec.Validations[i].MessageExpression = ""
		}
	}
	out.Spec.AuditAnnotations = slices.DeleteFunc(out.Spec.AuditAnnotations, func(a admissionregistrationv1.AuditAnnotation) bool {
		return readsOf(a.ValueExpression).why != ""
	})
	return out
}
