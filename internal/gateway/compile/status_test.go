package compile

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// binds gives the table's listeners as "name address port bindPort".
func binds(tb testing.TB, table *ir.Table) []string {
	tb.Helper()
	var out []string
	for _, l := range table.Listeners {
		out = append(out, fmt.Sprintf("%s %s %d %d", l.Name, strings.Join(l.Addresses, ","), l.Port, l.BindPort))
	}
	return out
}

func gatewayStatus(tb testing.TB, r *Report, namespace, name string) gwv1.GatewayStatus {
	tb.Helper()
	for _, g := range r.Gateways {
		if g.Namespace == namespace && g.Name == name {
			return g.Status
		}
	}
	tb.Fatalf("no status of Gateway %s/%s", namespace, name)
	return gwv1.GatewayStatus{}
}

// conditionOf gives "status reason" of one condition.
func conditionOf(conditions []metav1.Condition, typ string) string {
	for _, c := range conditions {
		if c.Type == typ {
			return string(c.Status) + " " + c.Reason
		}
	}
	return "absent"
}
