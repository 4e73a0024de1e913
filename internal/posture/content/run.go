package content

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	apicel "k8s.io/apiserver/pkg/apis/cel"

	"bulwark.dev/bulwark/internal/posture/leak"
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
	// A flag, an image or an address may hold a password. What is cut off is looked at
	// with a part more, so that no half of one is left.
	const more = 1024
	s := leak.Masked(string(text[:min(len(text), apicel.MaxEvaluatedMessageExpressionSizeBytes+more)]))
	if limit := apicel.MaxEvaluatedMessageExpressionSizeBytes; len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// Why a control that does not compile, or ran for too long, says nothing.
const (
	notRun   = "the control cannot be run"
	tooLarge = "the object is too large for the control"
)

func (e *evaluation) run(p *program) (out any, why string) {
	plan := p.quick
	if e.guarded {
		if plan = p.guarded; !e.spend(1) {
			return nil, tooLarge
		}
	}
	prg, err := plan()
	if err != nil {
		return nil, notRun
	}
	val, _, err := prg.Eval(e)
	if err != nil && e.guarded && e.left < 0 {
		return nil, tooLarge
	}
	if err != nil {
		return nil, reason(err)
	}
	return val, ""
}

// spend takes a cost off what is left, and reports whether there was enough. If there
// was not, nothing more is run on the object.
func (e *evaluation) spend(cost int) bool {
	e.left = max(e.left-cost, -1)
	return e.left >= 0
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
	}
	return "a field has an unexpected value"
}
