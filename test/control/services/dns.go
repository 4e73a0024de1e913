package services

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// entry is what DNS knows about one Service.
type entry struct {
	addresses []netip.Addr
	hosts     map[string][]netip.Addr // of a headless Service, by host name
	ports     map[string]uint16       // by _name._protocol
	alias     string                  // of type ExternalName
}

type names map[key]entry

const (
	zone         = "cluster.local."
	recordTTL    = 5 // seconds, as the cluster's DNS of kubeadm
	udpLimit     = 512
	queryTimeout = 10 * time.Second // for one query over TCP
)

// answer gives the response to one query; nil when it cannot be read. limit is
// the largest message the client takes: a longer one is cut and marked. There is
// no resolver behind: names outside the cluster do not exist.
func (n names) answer(query []byte, limit int) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	h.Response, h.Authoritative, h.RecursionAvailable = true, true, true
	h.AuthenticData, h.CheckingDisabled = false, false
	if h.OpCode != 0 || q.Class != dnsmessage.ClassINET {
		h.RCode = dnsmessage.RCodeNotImplemented
		return pack(h, q, nil, limit)
	}
	records, known := n.lookup(q)
	h.RCode = dnsmessage.RCodeSuccess
	if !known {
		h.RCode = dnsmessage.RCodeNameError
	}
	return pack(h, q, records, limit)
}

func pack(h dnsmessage.Header, q dnsmessage.Question, records []dnsmessage.Resource, limit int) []byte {
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{q}, Answers: records}
	out, err := m.Pack()
	if err == nil && len(out) > limit {
		m.Answers, m.Truncated = nil, true
		out, err = m.Pack()
	}
	if err != nil {
		return nil
	}
	return out
}

// lookup gives the records of a name, and whether the name exists.
func (n names) lookup(q dnsmessage.Question) ([]dnsmessage.Resource, bool) {
	name := strings.ToLower(q.Name.String())
	name, _ = strings.CutSuffix(name, zone)
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	at := slices.Index(labels, "svc")
	if at < 2 || at != len(labels)-1 {
		return nil, false
	}
	e, ok := n[key{namespace: labels[at-1], name: labels[at-2]}]
	if !ok {
		return nil, false
	}
	head := func(t dnsmessage.Type) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: q.Name, Type: t, Class: dnsmessage.ClassINET, TTL: recordTTL}
	}
	addresses := e.addresses
	switch sub := strings.Join(labels[:at-2], "."); {
	case sub == "" && e.alias != "":
		to, err := dnsmessage.NewName(strings.TrimSuffix(e.alias, ".") + ".")
		if err != nil {
			return nil, false
		}
		return []dnsmessage.Resource{{Header: head(dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: to}}}, true
	case sub == "":
		if len(addresses) == 0 {
			return nil, false // a headless Service without endpoints
		}
	case strings.HasPrefix(sub, "_"):
		port, ok := e.ports[sub]
		if !ok || q.Type != dnsmessage.TypeSRV {
			return nil, ok
		}
		to, err := dnsmessage.NewName(strings.Join(labels[at-2:], ".") + "." + zone)
		if err != nil {
			return nil, false
		}
		return []dnsmessage.Resource{{Header: head(dnsmessage.TypeSRV), Body: &dnsmessage.SRVResource{Weight: 100, Port: port, Target: to}}}, true
	default:
		if addresses, ok = e.hosts[sub]; !ok {
			return nil, false
		}
	}
	var out []dnsmessage.Resource
	for _, ip := range addresses {
		switch {
		case q.Type == dnsmessage.TypeA && ip.Is4():
			out = append(out, dnsmessage.Resource{Header: head(dnsmessage.TypeA), Body: &dnsmessage.AResource{A: ip.As4()}})
		case q.Type == dnsmessage.TypeAAAA && ip.Is6():
			out = append(out, dnsmessage.Resource{Header: head(dnsmessage.TypeAAAA), Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	return out, true
}

// serveUDP answers queries on c until it is closed.
func serveUDP(c *net.UDPConn, current func() names) {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		if out := current().answer(buf[:n], udpLimit); out != nil {
			_, _ = c.WriteToUDPAddrPort(out, from) // lost like any datagram: the client asks again
		}
	}
}

// serveTCP answers queries on the connections of l until ctx ends.
func serveTCP(ctx context.Context, l net.Listener, current func() names) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			unhook := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer unhook()
			for serveOne(c, current) == nil { // until the client goes
			}
		})
	}
}

func serveOne(c net.Conn, current func() names) error {
	if err := c.SetDeadline(time.Now().Add(queryTimeout)); err != nil {
		return err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, query); err != nil {
		return err
	}
	out := current().answer(query, 1<<16-1)
	if out == nil {
		return errors.New("unreadable query")
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	return err
}
