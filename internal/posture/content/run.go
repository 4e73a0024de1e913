package content

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	apicel "k8s.io/apiserver/pkg/apis/cel"
)

// bool runs an expression. why is "" unless it could not be run.
func (e *evaluation) bool(p *program) (ok bool, why string) {
	out, why := e.run(p)
	if why != "" {
		return false, why
	}
	b, isBool := out.(types.Bool)
	if !isBool {
		return false, "the control gives no yes or no"
	}
	return bool(b), ""
}

func (e *evaluation) message() string {
	out, why := e.run(e.code.msg)
	text, ok := out.(types.String)
	if why != "" || !ok {
		return e.c.Title
	}
	s := string(text)
	if limit := apicel.MaxEvaluatedMessageExpressionSizeBytes; len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// quickest are the longest lists for which a run cannot cost much, by the depth of
// macros in macros: at the most some hundred thousand turns.
var quickest = [...]int{1 << 20, 20_000, 300, 50} //nolint:gochecknoglobals // constant

// program gives the one that counts its cost where that could be high: a made-up
// object must not hold up a scan.
func (e *evaluation) program(p *program) (cel.Program, error) {
	longest := e.ready.longest
	if p.splits {
		longest = max(longest, e.ready.text)
	}
	if p.depth < len(quickest) && longest <= quickest[p.depth] {
		return p.quick()
	}
	return p.plan()
}

// notRun is why a control that does not compile says nothing.
const notRun = "the control cannot be run"

func (e *evaluation) run(p *program) (out any, why string) {
	prg, err := e.program(p)
	if err != nil {
		return nil, notRun
	}
	val, details, err := prg.Eval(e)
	if cost := details.ActualCost(); details != nil && cost != nil {
		if *cost > e.budget {
			e.budget = 0
			return nil, "the object is too large for the control"
		}
		e.budget -= *cost
	}
	if err != nil {
		return nil, reason(err)
	}
	return val, ""
}

// reason says why an expression cannot be run. Other texts of CEL may hold values
// of the object, which may be secret.
func reason(err error) string {
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "no such key: "):
		return fmt.Sprintf("field %q is not there", strings.TrimPrefix(text, "no such key: "))
	case strings.HasPrefix(text, "no such overload"):
		return "a field is of an unexpected type"
	case strings.Contains(text, "cost limit exceeded"):
		return "the object is too large for the control"
	}
	return "a field has an unexpected value"
}
