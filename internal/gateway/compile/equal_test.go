package compile

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// sameResult compares a Compiler's result with that of a run that remembers
// nothing but which forms were good.
func sameResult(t *testing.T, c *Compiler, in Input, what string) (*ir.Table, *Report) {
	t.Helper()
	fresh := newCompiler(in, c.opt, nil)
	fresh.good = &goodForms{last: maps.Clone(c.good.last), bad: c.good.bad}
	want := fresh.compile()
	got, report := c.Compile(in)
	if diff := cmp.Diff(asJSON(t, want), asJSON(t, got)); diff != "" {
		t.Fatalf("%s: table (-alone +compiler):\n%s", what, diff)
	}
	if !reflect.DeepEqual(fresh.rep, report) {
		diff := cmp.Diff(fresh.rep, report, cmpopts.IgnoreUnexported(Report{}))
		t.Fatalf("%s: report (-alone +compiler):\n%s", what, diff)
	}
	return got, report
}

// world is all golden cases in one: each in namespaces of its own.
func world(tb testing.TB) Input {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	var all Input
	for _, f := range files {
		in := readCase(tb, f).in
		prefix := strings.TrimSuffix(filepath.Base(f), ".txtar")
		for i, g := range in.Gateways {
			if len(all.Gateways) > 0 { // the first has the default address
				g.Spec.Addresses = append(g.Spec.Addresses, gwv1.GatewaySpecAddress{Value: fmt.Sprintf("10.9.%d.%d", slices.Index(files, f), i)})
			}
		}
		// Of one name only the first would be there: give routes and policies their own.
		routes := map[key]bool{}
		for _, r := range in.HTTPRoutes {
			routes[keyOf(r)] = true
			r.Name += "-" + prefix
		}
		for _, p := range in.SecurityPolicies {
			p.Name += "-" + prefix
			for i := range p.Spec.TargetRefs {
				if ref := &p.Spec.TargetRefs[i]; ref.Kind == kindHTTPRoute && routes[key{p.Namespace, string(ref.Name)}] {
					ref.Name += gwv1.ObjectName("-" + prefix)
				}
			}
		}
		// Another controller's class would take all Gateways away.
		in.GatewayClasses = slices.DeleteFunc(in.GatewayClasses, func(o *gwv1.GatewayClass) bool { return o.Name == DefaultClass })
		all = all.with(in)
	}
	return all
}

// with adds what is not there by name.
func (in Input) with(o Input) Input {
	in.GatewayClasses = addNew(in.GatewayClasses, o.GatewayClasses)
	in.Gateways = addNew(in.Gateways, o.Gateways)
	in.HTTPRoutes = addNew(in.HTTPRoutes, o.HTTPRoutes)
	in.GRPCRoutes = addNew(in.GRPCRoutes, o.GRPCRoutes)
	in.TLSRoutes = addNew(in.TLSRoutes, o.TLSRoutes)
	in.ListenerSets = addNew(in.ListenerSets, o.ListenerSets)
	in.ReferenceGrants = addNew(in.ReferenceGrants, o.ReferenceGrants)
	in.BackendTLSPolicies = addNew(in.BackendTLSPolicies, o.BackendTLSPolicies)
	in.SecurityPolicies = addNew(in.SecurityPolicies, o.SecurityPolicies)
	in.Services = addNew(in.Services, o.Services)
	in.EndpointSlices = addNew(in.EndpointSlices, o.EndpointSlices)
	in.Secrets = addNew(in.Secrets, o.Secrets)
	in.ConfigMaps = addNew(in.ConfigMaps, o.ConfigMaps)
	in.Namespaces = addNew(in.Namespaces, o.Namespaces)
	return in
}

func addNew[T object](list, more []T) []T {
	for _, o := range more {
		if !slices.ContainsFunc(list, func(x T) bool { return keyOf(x) == keyOf(o) }) {
			list = append(list, o)
		}
	}
	return list
}

type copier[T any] interface {
	object
	DeepCopy() T
}

// edit changes one object of a list at random: it goes, comes back, or gets a
// new pointer and what change makes of it.
func edit[T copier[T]](rnd *rand.Rand, list, all []T, change func(T)) []T {
	list = slices.Clone(list)
	switch n := rnd.IntN(4); {
	case n == 0 && len(list) > 0:
		i := rnd.IntN(len(list))
		return slices.Delete(list, i, i+1)
	case n == 1 && len(all) > 0:
		return addNew(list, []T{all[rnd.IntN(len(all))]})
	case len(list) > 0:
		i := rnd.IntN(len(list))
		o := list[i].DeepCopy()
		change(o)
		list[i] = o
	}
	return list
}

func reportJSON(tb testing.TB, r *Report) string {
	tb.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// editAny makes one random edit and says of what kind.
func editAny(rnd *rand.Rand, in, all *Input) (what string) {
	hosts := []gwv1.Hostname{"a.example", "b.example", "*.example", "shop.example"}
	stamp := func(o *metav1.ObjectMeta) {
		o.Generation++
		if rnd.IntN(4) == 0 {
			o.CreationTimestamp = metav1.Unix(int64(rnd.IntN(5)), 0)
		}
	}
	switch rnd.IntN(18) {
	case 0:
		what, in.Gateways = "Gateway", edit(rnd, in.Gateways, all.Gateways, func(g *gwv1.Gateway) {
			if len(g.Spec.Listeners) == 0 {
				return
			}
			l := &g.Spec.Listeners[rnd.IntN(len(g.Spec.Listeners))]
			switch rnd.IntN(3) {
			case 0:
				l.Port += int32(rnd.IntN(3))
			case 1:
				l.Hostname = &hosts[rnd.IntN(len(hosts))]
			case 2:
				g.Spec.TLS = nil
			}
		})
	case 1:
		what, in.ListenerSets = "ListenerSet", edit(rnd, in.ListenerSets, all.ListenerSets, func(*gwv1.ListenerSet) {})
	case 2, 3, 4:
		what, in.HTTPRoutes = "HTTPRoute", edit(rnd, in.HTTPRoutes, all.HTTPRoutes, func(r *gwv1.HTTPRoute) {
			stamp(&r.ObjectMeta)
			switch rnd.IntN(4) {
			case 0:
				path := fmt.Sprintf("/%d", rnd.IntN(5))
				r.Spec.Rules = append(r.Spec.Rules, gwv1.HTTPRouteRule{Matches: []gwv1.HTTPRouteMatch{{Path: &gwv1.HTTPPathMatch{Value: &path}}}})
			case 1:
				r.Spec.Hostnames = hosts[:rnd.IntN(len(hosts)+1)]
			case 2:
				r.Spec.ParentRefs = r.Spec.ParentRefs[:rnd.IntN(len(r.Spec.ParentRefs)+1)]
			case 3:
				if len(r.Spec.Rules) > 0 {
					name := gwv1.SectionName("part")
					r.Spec.Rules[rnd.IntN(len(r.Spec.Rules))].Name = &name
				}
			}
		})
	case 5:
		what, in.GRPCRoutes = "GRPCRoute", edit(rnd, in.GRPCRoutes, all.GRPCRoutes, func(r *gwv1.GRPCRoute) {
			stamp(&r.ObjectMeta)
			r.Spec.Hostnames = hosts[:rnd.IntN(len(hosts)+1)]
			if len(in.HTTPRoutes) > 0 && rnd.IntN(2) == 0 {
				// Where an HTTPRoute is too, to take hostnames from each other.
				o := in.HTTPRoutes[rnd.IntN(len(in.HTTPRoutes))]
				r.Namespace, r.Spec.ParentRefs, r.Spec.Hostnames = o.Namespace, o.Spec.ParentRefs, o.Spec.Hostnames
			}
		})
	case 6:
		what, in.TLSRoutes = "TLSRoute", edit(rnd, in.TLSRoutes, all.TLSRoutes, func(r *gwv1.TLSRoute) { r.Spec.Hostnames = r.Spec.Hostnames[:rnd.IntN(len(r.Spec.Hostnames)+1)] })
	case 7:
		what, in.ReferenceGrants = "ReferenceGrant", edit(rnd, in.ReferenceGrants, all.ReferenceGrants, func(*gwv1.ReferenceGrant) {})
	case 8:
		what, in.BackendTLSPolicies = "BackendTLSPolicy", edit(rnd, in.BackendTLSPolicies, all.BackendTLSPolicies, func(p *gwv1.BackendTLSPolicy) { p.Spec.Validation.Hostname = "new.example" })
	case 9, 10, 11:
		what, in.SecurityPolicies = "SecurityPolicy", edit(rnd, in.SecurityPolicies, all.SecurityPolicies, func(p *v1alpha1.SecurityPolicy) {
			stamp(&p.ObjectMeta)
			part := gwv1.SectionName([]string{"part", "http", "absent"}[rnd.IntN(3)])
			switch n := rnd.IntN(6); {
			case n == 0:
				p.Spec.Network = &v1alpha1.Network{Allow: []string{"everywhere"}}
			case n == 1:
				p.Spec.Network = &v1alpha1.Network{Allow: []string{"10.0.0.0/8"}}
			case len(p.Spec.TargetRefs) == 0:
			case n == 2:
				p.Spec.TargetRefs[0].SectionName = &part
			case n == 3:
				p.Spec.TargetRefs = p.Spec.TargetRefs[:len(p.Spec.TargetRefs)-1]
			case n == 4 && len(all.HTTPRoutes) > 0:
				o := all.HTTPRoutes[rnd.IntN(len(all.HTTPRoutes))]
				p.Namespace, p.Spec.TargetRefs[0].Kind, p.Spec.TargetRefs[0].Name = o.Namespace, kindHTTPRoute, gwv1.ObjectName(o.Name)
			}
		})
	case 12:
		what, in.Services = "Service", edit(rnd, in.Services, all.Services, func(s *corev1.Service) {
			s.Spec.Ports = slices.Clone(s.Spec.Ports[:rnd.IntN(len(s.Spec.Ports)+1)])
			if len(s.Spec.Ports) > 0 && rnd.IntN(2) == 0 {
				app := []string{"https", "h2c", "none such"}[rnd.IntN(3)]
				s.Spec.Ports[0].AppProtocol = &app
			}
		})
	case 13, 14:
		what, in.EndpointSlices = "EndpointSlice", edit(rnd, in.EndpointSlices, all.EndpointSlices, func(s *discoveryv1.EndpointSlice) {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{[]string{"10.3.3.3", "no address"}[rnd.IntN(2)]}})
		})
	case 15:
		what, in.Secrets = "Secret", edit(rnd, in.Secrets, all.Secrets, func(s *corev1.Secret) { s.Labels = nil })
	case 16:
		what, in.ConfigMaps = "ConfigMap", edit(rnd, in.ConfigMaps, all.ConfigMaps, func(m *corev1.ConfigMap) { m.Data = nil })
	case 17:
		what, in.Namespaces = "Namespace", edit(rnd, in.Namespaces, all.Namespaces, func(n *corev1.Namespace) { n.Labels = nil })
	}
	return what
}

// distrustOne distrusts the policy of a rule at random, and gives how many it did.
func distrustOne(rnd *rand.Rand, c *Compiler, report *Report) int {
	for _, i := range rnd.Perm(len(report.Rules)) {
		if r := report.Rules[i]; len(r.Policies) > 0 {
			c.Distrust(report, r.ID, r.Policies[rnd.IntN(len(r.Policies))]+": distrusted")
			c.last.stale = true // it counts from now on, whatever changes
			return 1
		}
	}
	return 0
}

// TestCompilerIsCompile makes hundreds of random edits, one or a few objects at a
// time, and compares each result with one that was made from nothing. What was
// given out before must stay as it was.
func TestCompilerIsCompile(t *testing.T) {
	kinds := []string{
		"EndpointSlice", "SecurityPolicy", "Secret", "BackendTLSPolicy", "ReferenceGrant", "Namespace",
		"ListenerSet", "GatewayClass", "Service", "HTTPRoute",
	}
	for _, placed := range []bool{false, true} {
		t.Run(fmt.Sprintf("placed=%v", placed), func(t *testing.T) {
			all := world(t)
			rnd := rand.New(rand.NewPCG(7, 11))
			opt := Options{Unprotected: !placed}
			shift := 0 // moves every Gateway
			if placed {
				opt.Place = func(g *gwv1.Gateway) Placement {
					h := fnv.New32a()
					_, _ = h.Write([]byte(g.Namespace + "/" + g.Name)) // a hash does not fail
					n := int(h.Sum32()%400) + shift
					p := Placement{Addresses: address(fmt.Sprintf("10.1.%d.1", n%250)), Bind: "0.0.0.0", Ports: map[int32]uint16{}}
					for i, l := range g.Spec.Listeners {
						if (n+i)%9 > 0 { // some have no place yet
							p.Ports[l.Port] = uint16(10000 + n*20 + i)
						}
					}
					return p
				}
			}
			c := NewCompiler(opt)
			in := all
			counts := map[string]int{}
			stoodIn, distrusted, kept, protected := 0, 0, 0, 0
			var table *ir.Table
			var report *Report
			var wasTable, wasReport string
			check := false
			for step := range 150 {
				what := ""
				for range 1 + rnd.IntN(2)*rnd.IntN(4) {
					kind := editAny(rnd, &in, &all)
					counts[kind]++
					what += kind + " "
				}
				switch n := rnd.IntN(12); {
				case n < 3:
					in.Unreadable = nil
				case n == 3:
					in.Unreadable = []Unreadable{{Kind: kinds[rnd.IntN(len(kinds))], Reason: "x"}}
					what += "unreadable " + in.Unreadable[0].Kind
				case n == 4 && placed:
					shift = rnd.IntN(3)
				case n == 9 && table != nil:
					distrusted += distrustOne(rnd, c, report)
				}
				frame := c.memo.frame
				newTable, newReport := sameResult(t, c, in, fmt.Sprintf("step %d, %s", step, what))
				if frame != nil && frame == c.memo.frame {
					kept++
				}
				if check && (asJSON(t, table) != wasTable || reportJSON(t, report) != wasReport) {
					t.Fatalf("step %d, %s: the last table or report changed", step, what)
				}
				table, report = newTable, newReport
				for i := range table.Rules {
					if r := &table.Rules[i]; r.Refuse == nil && len(r.Policy) > 0 {
						protected++
					}
				}
				if check = step%8 == 0; check {
					wasTable, wasReport = asJSON(t, table), reportJSON(t, report)
				}
				if strings.Contains(report.String(), "is still in force") {
					stoodIn++
				}
				if !slices.Equal(report.Bad(), slices.DeleteFunc(report.Lines(), func(l Line) bool { return !l.Bad })) || report.OK() != (len(report.Bad()) == 0) {
					t.Fatalf("step %d, %s: Bad or OK are not as Lines", step, what)
				}
				if step%7 == 0 {
					mine := *report
					for _, r := range mine.Rules { // a refusal stays in the report that it was given to
						mine.Refuse(r.ID, "to be forgotten")
					}
				}
			}
			t.Logf("%v, an earlier form stood in %d times, %d were distrusted, the frame was kept %d times, %d rules", counts, stoodIn, distrusted, kept, protected)
			if len(counts) != 13 || !placed && stoodIn < 10 || distrusted < 10 || kept < 30 || protected < 500 {
				t.Error("too few to prove anything")
			}
		})
	}
}
