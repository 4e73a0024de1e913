package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"weak"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
)

// The limits of expressions.
const (
	// MaxSource is the longest expression in bytes.
	MaxSource = 4096
	// MaxCost bounds one evaluation in CEL's units, roughly one per operation and
	// one per ten bytes looked at.
	MaxCost = 10_000
	// maxNesting bounds how deep an expression nests.
	maxNesting = 64
)

// Compiler turns sources into programs. The same source gives the same program
// for as long as anyone uses it: thousands of rules with one policy compile it
// once. It is safe for concurrent use.
type Compiler struct {
	env   *cel.Env
	plans *planner
	mu    sync.Mutex
	done  map[compiled]weak.Pointer[program]
	prune int // size of done at which to look for dead entries
}

// compiled is what makes two programs the same.
type compiled struct {
	source string
	typ    *cel.Type
}

// NewCompiler makes the environment of expressions: the variables of View, CEL's
// standard functions, the macros has, all, exists, exists_one and filter, the
// string functions charAt, indexOf, lastIndexOf, lowerAscii, upperAscii, split,
// substring and trim, and inCIDR(address, "10.0.0.0/8").
func NewCompiler() (*Compiler, error) {
	p, adapter, err := newProvider()
	if err != nil {
		return nil, err
	}
	env, err := cel.NewCustomEnv(
		cel.CustomTypeProvider(p),
		cel.CustomTypeAdapter(adapter),
		cel.StdLib(),
		cel.ClearMacros(),
		cel.Macros(cel.HasMacro, cel.AllMacro, cel.ExistsMacro, cel.ExistsOneMacro, cel.FilterMacro),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(maxNesting),
		cel.ParserExpressionSizeLimit(MaxSource),
		ext.Strings(ext.StringsVersion(0)),
		cel.Variable("request", requestType.celType),
		cel.Variable("identity", identityType.celType),
		cel.Variable("route", routeType.celType),
		cel.Variable("now", cel.TimestampType),
		cel.Function("inCIDR", cel.Overload("in_cidr_string_string",
			[]*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(inCIDR))),
	)
	if err != nil {
		return nil, fmt.Errorf("cel environment: %w", err)
	}
	plans, err := newPlanner(env)
	if err != nil {
		return nil, err
	}
	return &Compiler{env: env, plans: plans, done: make(map[compiled]weak.Pointer[program])}, nil
}

// inCIDR reports whether an address is inside a prefix. An address that cannot
// be read is an error, which refuses.
func inCIDR(address, prefix ref.Val) ref.Val {
	a, okA := address.(types.String)
	p, okP := prefix.(types.String)
	if !okA || !okP {
		return types.MaybeNoSuchOverloadErr(address)
	}
	ip, err := netip.ParseAddr(string(a))
	if err != nil {
		return types.WrapErr(err)
	}
	cidr, err := netip.ParsePrefix(string(p))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(cidr.Contains(ip.Unmap()))
}

// program is a compiled expression, or the short form of one that needs no
// evaluation.
type program struct {
	source string
	prog   evaluator
	// constant and field are set in place of prog.
	constant ref.Val
	field    func(*View) string
	// personal says that field needs an identity.
	personal bool
}

// Bool is an expression that gives a bool. The zero Bool gives an error.
type Bool struct{ p *program }

// Text is an expression that gives a string. The zero Text gives an error.
type Text struct{ p *program }

// Bool compiles a condition.
func (c *Compiler) Bool(source string) (*Bool, error) {
	p, err := c.compile(source, cel.BoolType)
	if err != nil {
		return nil, err
	}
	return &Bool{p}, nil
}

// Text compiles an expression that gives a string, for example the key of a
// limit.
func (c *Compiler) Text(source string) (*Text, error) {
	p, err := c.compile(source, cel.StringType)
	if err != nil {
		return nil, err
	}
	return &Text{p}, nil
}

func (c *Compiler) compile(source string, want *cel.Type) (*program, error) {
	k := compiled{source, want}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.done[k].Value(); p != nil {
		return p, nil
	}
	p, err := c.make(source, want)
	if err != nil {
		return nil, err
	}
	if len(c.done) >= c.prune {
		for k, w := range c.done {
			if w.Value() == nil {
				delete(c.done, k)
			}
		}
		c.prune = 2*len(c.done) + 64
	}
	c.done[k] = weak.Make(p)
	return p, nil
}

func (c *Compiler) make(source string, want *cel.Type) (*program, error) {
	if len(source) > MaxSource {
		return nil, fmt.Errorf("expression: %d bytes, the limit is %d", len(source), MaxSource)
	}
	ast, issues := c.env.Compile(source)
	if errs := issues.Errors(); len(errs) > 0 {
		// CEL's own text draws the place over several lines; conditions and logs
		// want one.
		e := errs[0]
		what, _, _ := strings.Cut(e.Message, " expecting {") // the whole grammar
		return nil, fmt.Errorf("expression %q: line %d, column %d: %s", source, e.Location.Line(), e.Location.Column()+1, what)
	}
	if !ast.OutputType().IsExactType(want) {
		return nil, fmt.Errorf("expression %q: gives %s, expected %s", source, ast.OutputType(), want)
	}
	checked := ast.NativeRep()
	if err := vet(checked); err != nil {
		return nil, fmt.Errorf("expression %q: %w", source, err)
	}
	p := &program{source: source}
	if p.shorten(checked.Expr()) {
		return p, nil
	}
	cost, err := c.env.EstimateCost(ast, estimator{})
	if err != nil {
		return nil, fmt.Errorf("expression %q: estimate its cost: %w", source, err)
	}
	if cost.Min > MaxCost {
		return nil, fmt.Errorf("expression %q: costs at least %d, the limit is %d", source, cost.Min, MaxCost)
	}
	if cost.Max > MaxCost {
		// Counting costs more than most expressions do, so it is done where the
		// limit can be reached at all.
		program, err := c.env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CustomDecorator(zones), cel.CostLimit(MaxCost))
		if err != nil {
			return nil, fmt.Errorf("expression %q: %w", source, err)
		}
		p.prog = counted{program}
		return p, nil
	}
	if p.prog, err = c.plans.plan(checked); err != nil {
		return nil, fmt.Errorf("expression %q: %w", source, err)
	}
	return p, nil
}

// shorten finds expressions that are one constant or one plain field.
func (p *program) shorten(e celast.Expr) bool {
	switch e.Kind() {
	case celast.LiteralKind:
		p.constant = e.AsLiteral()
		return true
	case celast.SelectKind:
		sel := e.AsSelect()
		if sel.IsTestOnly() || sel.Operand().Kind() != celast.IdentKind {
			return false
		}
		var t *objectType
		switch sel.Operand().AsIdent() {
		case "request":
			t = requestType
		case "identity":
			t = identityType
			p.personal = true
		case "route":
			t = routeType
		default:
			return false
		}
		p.field = t.fields[sel.FieldName()].text
		return p.field != nil
	case celast.UnspecifiedExprKind, celast.CallKind, celast.ComprehensionKind, celast.IdentKind,
		celast.ListKind, celast.MapKind, celast.StructKind:
	}
	return false
}

var (
	errNotCompiled = errors.New("no expression")
	errNobody      = errors.New("no identity")
)

func (p *program) eval(v *View) (ref.Val, error) {
	if p.prog == nil {
		return nil, errNotCompiled
	}
	return p.prog.eval(v)
}

// Eval gives the condition's value. An error is never true.
func (b *Bool) Eval(v *View) (bool, error) {
	if b == nil || b.p == nil {
		return false, errNotCompiled
	}
	if c, ok := b.p.constant.(types.Bool); ok {
		return bool(c), nil
	}
	out, err := b.p.eval(v)
	if err != nil {
		return false, err
	}
	is, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("expression %q: gave %s, expected bool", b.p.source, out.Type().TypeName())
	}
	return bool(is), nil
}

// Eval gives the text. With an error it is empty.
func (t *Text) Eval(v *View) (string, error) {
	if t == nil || t.p == nil {
		return "", errNotCompiled
	}
	if c, ok := t.p.constant.(types.String); ok {
		return string(c), nil
	}
	if t.p.field != nil {
		if t.p.personal && v.Identity == nil {
			return "", errNobody
		}
		return t.p.field(v), nil
	}
	out, err := t.p.eval(v)
	if err != nil {
		return "", err
	}
	s, ok := out.(types.String)
	if !ok {
		return "", fmt.Errorf("expression %q: gave %s, expected string", t.p.source, out.Type().TypeName())
	}
	return string(s), nil
}

// estimator bounds what the gateway lets in: heads of 64 KiB and tokens of
// 16 KiB.
type estimator struct{}

func (estimator) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	const longest, most = 64 << 10, 4096
	switch n.Type().Kind() { //nolint:exhaustive // every other kind has no size
	case types.StringKind, types.BytesKind, types.DynKind:
		return &checker.SizeEstimate{Max: longest}
	case types.ListKind, types.MapKind:
		return &checker.SizeEstimate{Max: most}
	default:
		return nil
	}
}

func (estimator) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
