package content

import (
	"fmt"
	"slices"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/decls"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
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

// code is what the expressions of a control become.
type code struct {
	needs  need
	reads  reads
	effort effort
	when   *program // nil: always
	check  *program
	msg    *program
}

// program is one expression. It is planned when it is first run: an expression
// that never fails needs no message.
type program struct {
	// quick runs to its end; guarded asks in each turn of a macro, and before a function
	// whose cost grows, whether it may go on. See effort.
	quick, guarded func() (cel.Program, error)
	needs          need
}

// environments are one environment twice: checked is the API server's, quick runs
// without counting the cost, which takes a quarter of the time. The counter keeps a
// stack that grows with every turn and is searched in each, so that on a long list
// it is what takes the time.
type environments struct{ checked, quick *cel.Env }

// environs makes the environment of a scope once.
var environs = func() map[Scope]func() (environments, error) { //nolint:gochecknoglobals // constant, made when first used
	out := map[Scope]func() (environments, error){}
	for s := ScopeObject; s <= ScopeContainerList; s++ {
		out[s] = sync.OnceValues(func() (environments, error) { return environ(s) })
	}
	return out
}()

// quick is the same environment without the cost of a run.
func quick(env *cel.Env) (*cel.Env, error) {
	out, err := cel.NewCustomEnv(cel.CustomTypeAdapter(sorted{env.CELTypeAdapter()}), cel.CustomTypeProvider(env.CELTypeProvider()), cel.OptionalTypes())
	if err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	known := out.Functions()
	var rest []*decls.FunctionDecl
	for name, f := range env.Functions() {
		if _, ok := known[name]; !ok {
			rest = append(rest, f)
		}
	}
	if out, err = out.Extend(cel.FunctionDecls(rest...)); err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	return out, nil
}

// environ declares what the API server's libraries and a scope give.
func environ(s Scope) (environments, error) {
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
		return environments{}, fmt.Errorf("make the CEL environment: %w", err)
	}
	var out environments
	base := set.NewExpressionsEnv()
	if out.checked, err = base.Extend(cel.CustomTypeAdapter(sorted{base.CELTypeAdapter()})); err != nil {
		return environments{}, fmt.Errorf("make the CEL environment: %w", err)
	}
	out.quick, err = quick(base)
	return out, err
}

// compile checks one expression. What it reads, and what it can cost, comes into the
// code.
func (c *Control) compile(text string, result *cel.Type, into *code) (*program, error) {
	env, err := environs[c.scope]()
	if err != nil {
		return nil, err
	}
	checked, issues := env.checked.Compile(text)
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
	into.needs |= needs
	into.reads.add(checked.NativeRep())
	into.effort.add(checked.NativeRep().Expr(), c.nested())
	p := &program{needs: needs}
	p.quick = sync.OnceValues(func() (cel.Program, error) {
		return env.quick.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.OptimizeRegex(library.FindRegexOptimization, library.FindAllRegexOptimization))
	})
	p.guarded = sync.OnceValues(func() (cel.Program, error) {
		return env.quick.Program(checked, cel.InterruptCheckFrequency(1), cel.CustomDecorator(guard))
	})
	return p, nil
}

// nested gives how many lists the path of each walks.
func (c *Control) nested() int {
	n := 0
	for _, s := range c.list {
		if s.all {
			n++
		}
	}
	return n
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
		switch e.Kind() { //nolint:exhaustive // the others name nothing
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
		case ast.CallKind:
			if err := ranged(e.AsCall()); err != nil {
				fail("%w", err)
			}
		case ast.ComprehensionKind:
			c := e.AsComprehension()
			for _, name := range []string{c.IterVar(), c.IterVar2(), c.AccuVar()} {
				if slices.Contains([]string{"object", "variables", "container", "item"}, name) {
					fail("%s is given already: name the variable of the macro otherwise", name)
				}
			}
		default:
		}
	}))
	return needs, first
}
