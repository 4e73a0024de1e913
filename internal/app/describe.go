package app

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// guarded gives one line for each rule: where it is reached and what guards it.
func guarded(t *ir.Table, open map[string]net.Addr) []string {
	var out []string
	for _, l := range t.Listeners {
		scheme := "http"
		if l.TLS != nil {
			scheme = "https"
		}
		at := make([]string, 0, len(l.Addresses))
		for _, a := range l.Addresses {
			key := net.JoinHostPort(a, strconv.Itoa(int(l.Port)))
			if addr := open[key]; addr != nil {
				key = addr.String()
			}
			at = append(at, key)
		}
		for _, h := range l.Hosts {
			for _, m := range h.Matches {
				r := &t.Rules[m.Rule]
				path := m.Path
				if m.PathKind == ir.PathPrefix {
					path = strings.TrimSuffix(path, "/") + "/*"
				}
				host := strings.Join(at, ",")
				if h.Pattern != "" {
					host = h.Pattern + " (" + host + ")"
				}
				out = append(out, fmt.Sprintf("%-7s %s://%s%s → %s: %s", orAny(m.Method), scheme, host, path, r.ID, guards(r)))
			}
		}
	}
	return slices.Compact(out)
}

func orAny(method string) string {
	if method == "" {
		return "any"
	}
	return method
}

// guards sums up a rule's protection.
func guards(r *ir.Rule) string {
	if r.Refuse != nil {
		return fmt.Sprintf("refused with %d: %s", r.Refuse.Status, r.Refuse.Reason)
	}
	if r.Unprotected {
		return "UNPROTECTED (--unprotected=allow)"
	}
	var parts []string
	if r.Network != nil {
		parts = append(parts, "network list")
	}
	if r.Authentication == nil {
		parts = append(parts, "admits nobody")
	} else {
		var kinds []string
		for _, a := range r.Authentication.AnyOf {
			switch {
			case a.JWT != nil:
				kinds = append(kinds, "JWT")
			case a.APIKey != nil:
				kinds = append(kinds, "API key")
			case a.Basic != nil:
				kinds = append(kinds, "basic")
			case a.ClientCertificate != nil:
				kinds = append(kinds, "client certificate")
			case a.Anonymous != nil:
				kinds = append(kinds, "anonymous")
			}
		}
		parts = append(parts, strings.Join(kinds, " or "))
	}
	if r.Authorization != nil {
		parts = append(parts, fmt.Sprintf("%d rules", len(r.Authorization.Rules)))
	}
	for _, l := range r.RateLimits {
		kind := "limit"
		if l.Queue != nil {
			kind = "queue"
		}
		parts = append(parts, fmt.Sprintf("%s %d per %s", kind, l.Count, l.Period))
	}
	if r.LockOut != nil {
		parts = append(parts, "lock-out")
	}
	return strings.Join(parts, ", ")
}
