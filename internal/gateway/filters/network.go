package filters

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// network judges the source address.
type network struct {
	rule        string
	allow, deny ranges
}

func newNetwork(r *ir.Rule, _ Deps) (step, error) {
	if r.Network == nil {
		return nil, nil
	}
	n := &network{rule: r.Network.Rule + " network"}
	if len(r.Network.Allow)+len(r.Network.Deny) == 0 {
		return nil, fmt.Errorf("%s: neither allow nor deny holds a prefix", n.rule)
	}
	var err error
	if n.allow, err = newRanges(r.Network.Allow); err != nil {
		return nil, fmt.Errorf("%s: allow: %w", n.rule, err)
	}
	if n.deny, err = newRanges(r.Network.Deny); err != nil {
		return nil, fmt.Errorf("%s: deny: %w", n.rule, err)
	}
	return n, nil
}

func (n *network) request(_ context.Context, x *Exchange) bulwark.Decision {
	// An IPv4 client on an IPv6 socket is an IPv4 client, and a zone names an
	// interface of ours: neither may slip past a prefix.
	source := x.Source.Unmap().WithZone("")
	switch {
	case !source.IsValid():
		return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, n.rule, "the source address is not known")
	case n.deny.has(source):
		return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, n.rule, "the source address is denied")
	case len(n.allow) > 0 && !n.allow.has(source):
		return bulwark.Refuse(http.StatusForbidden, bulwark.CodeForbidden, n.rule, "the source address is not among those allowed")
	}
	return bulwark.Allow(n.rule)
}

// ranges are addresses, sorted, without overlaps: a lookup is one binary search
// however many prefixes there were.
type ranges []addrRange

type addrRange struct{ first, last netip.Addr }

func newRanges(prefixes []netip.Prefix) (ranges, error) {
	var all ranges
	for _, p := range prefixes {
		if !p.IsValid() {
			return nil, errors.New("a prefix is not valid")
		}
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return nil, fmt.Errorf("%v: covers IPv4 only in part: write IPv4 prefixes", p)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		p = p.Masked()
		all = append(all, addrRange{p.Addr(), lastOf(p)})
	}
	slices.SortFunc(all, func(a, b addrRange) int { return a.first.Compare(b.first) })
	merged := all[:0]
	for _, r := range all {
		// Prefixes nest or are apart, so the range before covers or ends.
		if n := len(merged); n > 0 && r.first.Compare(merged[n-1].last) <= 0 {
			if r.last.Compare(merged[n-1].last) > 0 {
				merged[n-1].last = r.last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged, nil
}

// lastOf is the highest address of a masked prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// has reports whether a lies in a range. IPv4 sorts before IPv6, so the two
// never meet.
func (r ranges) has(a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(r, a, func(e addrRange, a netip.Addr) int { return e.first.Compare(a) })
	if found {
		return true
	}
	return i > 0 && a.Compare(r[i-1].last) <= 0
}
