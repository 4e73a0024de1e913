package app

import (
	"log/slog"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/provision"
	"bulwark.dev/bulwark/internal/gateway/compile"
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/proxy"
)

// placer says where each Gateway of a snapshot is bound and reached.
type placer func(*cluster.Snapshot) func(*gwv1.Gateway) compile.Placement

// judge compiles one snapshot after the other, and remembers what did not
// change and which policies were good. It belongs to one goroutine.
type judge struct {
	compiler *compile.Compiler
	placing  placer // nil where Gateways are bound where they say
	place    func(*gwv1.Gateway) compile.Placement
}

func newJudge(opt compile.Options, placing placer) *judge {
	j := &judge{placing: placing}
	if placing != nil {
		opt.Place = func(g *gwv1.Gateway) compile.Placement { return j.place(g) }
	}
	j.compiler = compile.NewCompiler(opt)
	return j
}

// judge compiles snap and has build make the table ready. A part that does not
// build falls back to the last good form of its policy where there is one, and
// is refused else; the report says which.
func (j *judge) judge(snap *cluster.Snapshot, build func(*ir.Table) ([]proxy.Problem, error)) (*ir.Table, *compile.Report, []proxy.Problem, error) {
	if j.placing != nil {
		j.place = j.placing(snap)
	}
	table, report := j.compiler.Compile(input(snap))
	problems, err := build(table)
	if err != nil {
		return nil, nil, nil, err
	}
	again := false
	for _, p := range problems {
		again = j.compiler.Distrust(report, p.Rule, p.Err.Error()) || again
	}
	if again {
		table, report = j.compiler.Compile(input(snap))
		if problems, err = build(table); err != nil {
			return nil, nil, nil, err
		}
	}
	for _, p := range problems {
		report.Refuse(p.Rule, p.Err.Error())
	}
	return table, report, problems, nil
}

// checker builds tables as a data plane would, and serves nothing.
func checker(env *Env, log *slog.Logger) (build func(*ir.Table) ([]proxy.Problem, error), stop func()) {
	state := filters.NewState()
	c := proxy.NewChecker(filterDeps(env, log, state))
	return func(t *ir.Table) ([]proxy.Problem, error) { return c.Check(t), nil }, state.Close
}

// serviced places Gateways where their Services are, as the controller sees it.
func serviced(cfg provision.Config) placer {
	return func(snap *cluster.Snapshot) func(*gwv1.Gateway) compile.Placement {
		place := provision.Placer(snap, cfg)
		return func(g *gwv1.Gateway) compile.Placement {
			p := place(g)
			return compile.Placement{Addresses: p.Addresses, Pending: p.Pending, Unusable: p.Unusable, Bind: p.Bind, Ports: p.Ports}
		}
	}
}

// bound is serviced as a data plane sees it: where to bind is all that it is
// told; whether the Services got their addresses is the controller's matter.
func bound(cfg provision.Config) placer {
	return func(snap *cluster.Snapshot) func(*gwv1.Gateway) compile.Placement {
		place := provision.Placer(snap, cfg)
		return func(g *gwv1.Gateway) compile.Placement {
			p := place(g)
			at := gwv1.GatewayStatusAddress{Type: new(gwv1.IPAddressType), Value: p.Bind}
			return compile.Placement{Addresses: []gwv1.GatewayStatusAddress{at}, Bind: p.Bind, Ports: p.Ports}
		}
	}
}
