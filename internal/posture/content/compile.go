package content

import (
	"fmt"
	"slices"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
)

// need says which parts of variables an expression reads, so that the others are
// not made.
type need uint8

const (
	needPod need = 1 << iota
	needMetadata
	needContainers
	needArgs
	needParams
	needPart // container or item
)

// variableNames are what an expression may read of variables.
var variableNames = map[string]need{ //nolint:gochecknoglobals // constant
	"pod": needPod, "podMetadata": needMetadata, "containers": needContainers, "args": needArgs, "params": needParams,
}

// program is one expression. It is planned when it is first run: an expression
// that never fails needs no message.
type program struct {
	plan  func() (cel.Program, error)
	needs need
}

// environs makes the environment of a scope once.
var environs = func() map[Scope]func() (*cel.Env, error) { //nolint:gochecknoglobals // constant, made when first used
	out := map[Scope]func() (*cel.Env, error){}
	for s := ScopeObject; s <= ScopeContainerList; s++ {
		out[s] = sync.OnceValues(func() (*cel.Env, error) { return environ(s) })
	}
	return out
}()

// environ declares what the API server's libraries and a scope give.
func environ(s Scope) (*cel.Env, error) {
	vars := []cel.EnvOption{
		cel.Variable("object", cel.DynType),
		cel.Variable("variables", cel.MapType(cel.StringType, cel.DynType)),
	}
	if s == ScopeContainer || s == ScopeContainerList {
		vars = append(vars, cel.Variable("container", cel.DynType))
	}
	if s >= ScopeObjectList {
		vars = append(vars, cel.Variable("item", cel.DynType))
	}
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(
		environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: vars},
	)
	if err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	return set.NewExpressionsEnv(), nil
}

// compile checks one expression. component says whether variables.args is there.
func (c *Control) compile(text string, result *cel.Type) (*program, error) {
	env, err := environs[c.scope]()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if got := checked.OutputType(); !got.IsExactType(result) {
		return nil, fmt.Errorf("it gives %s, not %s", cel.FormatCELType(got), cel.FormatCELType(result))
	}
	needs, err := c.inspect(checked.NativeRep())
	if err != nil {
		return nil, err
	}
	c.reads.add(checked.NativeRep())
	return &program{needs: needs, plan: sync.OnceValues(func() (cel.Program, error) { return env.Program(checked) })}, nil
}

// inspect finds what an expression reads, and refuses what could not be exported.
func (c *Control) inspect(tree *ast.AST) (need, error) {
	var needs need
	var first error
	fail := func(format string, args ...any) {
		if first == nil {
			first = fmt.Errorf(format, args...)
		}
	}
	selected := map[int64]bool{} // the idents "variables" that stand before a dot
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			of := e.AsSelect().Operand()
			if of.Kind() == ast.IdentKind && of.AsIdent() == "variables" {
				selected[of.ID()] = true
				n, ok := variableNames[e.AsSelect().FieldName()]
				if !ok || n == needArgs && c.AppliesTo.Component == "" {
					fail("there is no variables.%s here", e.AsSelect().FieldName())
				}
				needs |= n
			}
			if of.Kind() == ast.SelectKind && of.AsSelect().FieldName() == "params" && of.AsSelect().Operand().Kind() == ast.IdentKind &&
				of.AsSelect().Operand().AsIdent() == "variables" {
				if _, ok := c.Parameters[e.AsSelect().FieldName()]; !ok {
					fail("there is no parameter %q", e.AsSelect().FieldName())
				}
			}
		case ast.IdentKind:
			switch e.AsIdent() {
			case "container", "item":
				needs |= needPart
			case "variables":
				if !selected[e.ID()] {
					fail("variables must be read as variables.NAME")
				}
			}
		case ast.ComprehensionKind:
			for _, name := range []string{e.AsComprehension().IterVar(), e.AsComprehension().IterVar2()} {
				if slices.Contains([]string{"object", "variables", "container", "item"}, name) {
					fail("%s is given already: name the variable of the macro otherwise", name)
				}
			}
		default:
		}
	}))
	return needs, first
}
