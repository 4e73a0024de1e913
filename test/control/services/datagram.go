package services

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	flowIdle  = 60 * time.Second // after which a client's next datagram may go elsewhere
	maxFlows  = 4096             // for each listener; the next client's datagrams are dropped
	maxPacket = 64 << 10
)

// datagrams forwards UDP: each client address has one connection to a backend,
// and answers come from the address the client sent to.
type datagrams struct {
	conn *net.UDPConn
	dial func(context.Context) (net.Conn, error)
	idle time.Duration

	mu    sync.Mutex
	flows map[netip.AddrPort]net.Conn
}

// forwardDatagrams serves conn until ctx ends or conn is closed, and returns
// when every flow has ended.
func forwardDatagrams(ctx context.Context, conn *net.UDPConn, idle time.Duration, dial func(context.Context) (net.Conn, error)) {
	d := &datagrams{conn: conn, dial: dial, idle: idle, flows: map[netip.AddrPort]net.Conn{}}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhook()
	defer d.closeAll()
	buf := make([]byte, maxPacket)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer
		}
		if up := d.flow(ctx, &wg, from); up != nil {
			_, _ = up.Write(buf[:n]) // a datagram that cannot be sent is lost, as datagrams are
		}
	}
}

// flow gives the client's connection to its backend, new when there is none; nil
// drops the datagram.
func (d *datagrams) flow(ctx context.Context, wg *sync.WaitGroup, from netip.AddrPort) net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if up, ok := d.flows[from]; ok {
		return up
	}
	if len(d.flows) >= maxFlows {
		return nil
	}
	up, err := d.dial(ctx)
	if err != nil {
		return nil
	}
	d.flows[from] = up
	wg.Go(func() {
		defer d.forget(from, up)
		buf := make([]byte, maxPacket)
		for {
			if err := up.SetReadDeadline(time.Now().Add(d.idle)); err != nil {
				return
			}
			n, err := up.Read(buf)
			if err != nil {
				return // idle, closed, or refused by the backend
			}
			if _, err := d.conn.WriteToUDPAddrPort(buf[:n], from); err != nil {
				return
			}
		}
	})
	return up
}

func (d *datagrams) forget(from netip.AddrPort, up net.Conn) {
	d.mu.Lock()
	delete(d.flows, from)
	d.mu.Unlock()
	_ = up.Close()
}

func (d *datagrams) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, up := range d.flows {
		_ = up.Close()
	}
}
