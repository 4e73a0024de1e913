package provision

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Target ports lie above those that need a privilege and below those that Linux
// hands out to outgoing connections.
const (
	MinPort = 10000
	MaxPort = 32767
)

// PortHold is how long a port that was given back is not used again.
const PortHold = time.Hour

// owner is one port of one Gateway.
type owner struct {
	namespace, name string
	port            int32
}

func (o owner) String() string { return fmt.Sprintf("%s/%s:%d", o.namespace, o.name, o.port) }

func (o owner) compare(p owner) int {
	return cmp.Or(cmp.Compare(o.namespace, p.namespace), cmp.Compare(o.name, p.name), cmp.Compare(o.port, p.port))
}

// holding is the line of a target port.
type holding struct {
	owner owner
	freed time.Time // zero while in use
}

func (h holding) String() string {
	if h.freed.IsZero() {
		return h.owner.String()
	}
	return h.owner.String() + " freed=" + h.freed.UTC().Format(time.RFC3339)
}

// portTable is what the ConfigMap says. Its keys are the target ports, so that
// no two owners can hold one.
type portTable struct {
	holdings map[uint16]holding
	ports    map[owner]uint16 // of holdings, freed ones too
	// damage says what is wrong with the ConfigMap. Then what can be read stays
	// in force, and nothing is given out or taken back.
	damage string
}

// holdingSyntax is a holding as text: namespace/name:port, and when it was given
// back.
const holdingSyntax = `^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)/([a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?):([1-9][0-9]{0,4})(?: freed=([-0-9:TZ]+))?$`

// readPorts reads the ConfigMap, which may be nil: then no port is given out.
func readPorts(cm *corev1.ConfigMap) *portTable {
	t := &portTable{holdings: map[uint16]holding{}, ports: map[owner]uint16{}}
	if cm == nil {
		return t
	}
	syntax := regexp.MustCompile(holdingSyntax)
	spoil := func(key, why string) {
		if t.damage == "" {
			t.damage = fmt.Sprintf("ConfigMap %s/%s is damaged: key %q: %s; correct it, or delete the ConfigMap", cm.Namespace, cm.Name, key, why)
		}
	}
	for key := range cm.BinaryData {
		spoil(key, "binary data")
	}
	for _, key := range slices.Sorted(maps.Keys(cm.Data)) {
		n, err := strconv.ParseUint(key, 10, 16)
		if err != nil || n < MinPort || n > MaxPort || strconv.FormatUint(n, 10) != key {
			spoil(key, fmt.Sprintf("want a port from %d to %d", MinPort, MaxPort))
			continue
		}
		h, err := parseHolding(syntax, cm.Data[key])
		if err != nil {
			spoil(key, err.Error())
			continue
		}
		if other, twice := t.ports[h.owner]; twice {
			spoil(key, fmt.Sprintf("%s holds port %d already", h.owner, other))
			continue
		}
		t.holdings[uint16(n)] = h
		t.ports[h.owner] = uint16(n)
	}
	return t
}

func parseHolding(syntax *regexp.Regexp, s string) (holding, error) {
	m := syntax.FindStringSubmatch(s)
	if m == nil {
		return holding{}, fmt.Errorf("%q is not namespace/gateway:port", s)
	}
	port, err := strconv.ParseUint(m[3], 10, 16)
	if err != nil {
		return holding{}, fmt.Errorf("%q: no such port", s)
	}
	h := holding{owner: owner{m[1], m[2], int32(port)}}
	if m[4] != "" {
		if h.freed, err = time.Parse(time.RFC3339, m[4]); err != nil || h.freed.IsZero() {
			return holding{}, fmt.Errorf("%q: no time in %q", s, m[4])
		}
	}
	return h, nil
}

// of gives the ports in use of a Gateway: target ports by listener port.
func (t *portTable) of(namespace, name string) map[int32]uint16 {
	out := map[int32]uint16{}
	for o, target := range t.ports {
		if o.namespace == namespace && o.name == name && t.holdings[target].freed.IsZero() {
			out[o.port] = target
		}
	}
	return out
}

// demand is what all Gateways want of the table.
type demand struct {
	want []owner
	// keep are Gateways, as owners without port, whose ports stay as they are.
	keep map[owner]bool
	// inUse are ports that Gateways are reached on just now although the table
	// may not know: the ConfigMap may have been deleted.
	inUse map[owner]uint16
}

// changes gives what is to be written so that every owner wanted holds a port:
// the new line of each key, nil to remove it. With it comes an error if some
// get none. The outcome does not depend on the order of the demand, and never
// moves a port in use.
func (t *portTable) changes(d demand, now time.Time) (map[string]*string, error) {
	out := map[string]*string{}
	if t.damage != "" {
		return out, nil
	}
	put := func(port uint16, h holding) {
		t.holdings[port], t.ports[h.owner] = h, port
		out[strconv.Itoa(int(port))] = new(h.String())
	}
	want := slices.Compact(slices.SortedFunc(slices.Values(d.want), owner.compare))
	wanted := map[owner]bool{}
	for _, o := range want {
		wanted[o] = true
	}
	for _, port := range slices.Sorted(maps.Keys(t.holdings)) {
		h := t.holdings[port]
		switch {
		case wanted[h.owner] && !h.freed.IsZero():
			put(port, holding{owner: h.owner})
		case wanted[h.owner] || d.keep[owner{h.owner.namespace, h.owner.name, 0}]:
		case h.freed.IsZero():
			put(port, holding{h.owner, now})
		case now.Sub(h.freed) > PortHold:
			delete(t.holdings, port)
			delete(t.ports, h.owner)
			out[strconv.Itoa(int(port))] = nil
		}
	}
	var none []owner
	// Ports in use come first, so that none of them is given to another.
	for _, o := range want {
		port, used := d.inUse[o]
		_, held := t.ports[o]
		_, taken := t.holdings[port]
		if used && !held && !taken && port >= MinPort && port <= MaxPort {
			put(port, holding{owner: o})
		}
	}
	for _, o := range want {
		if _, held := t.ports[o]; held {
			continue
		}
		port, ok := t.free(o)
		if !ok {
			none = append(none, o)
			continue
		}
		put(port, holding{owner: o})
	}
	if len(none) > 0 {
		return out, fmt.Errorf("all %d target ports are given out: %d listener ports get none, the first is %s", MaxPort-MinPort+1, len(none), none[0])
	}
	return out, nil
}

// free finds a port for an owner. It starts at a place of the owner's own, so
// that a port given back is seldom the next one given out.
func (t *portTable) free(o owner) (uint16, bool) {
	const n = MaxPort - MinPort + 1
	sum := sha256.Sum256([]byte(o.String()))
	start := binary.BigEndian.Uint64(sum[:8]) % n
	for i := range uint64(n) {
		port := uint16(MinPort + (start+i)%n)
		if _, taken := t.holdings[port]; !taken {
			return port, true
		}
	}
	return 0, false
}
