// Package services makes a cluster's Services work in one network namespace, in
// user space: it listens on every Service's own addresses (cluster address, node
// port, load balancer address), over TCP and UDP, and forwards to the ready
// endpoints of the EndpointSlices; gives addresses to Services of type
// LoadBalancer; and answers the cluster's DNS.
//
// Backends see the node's address as their client: connections are made anew.
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/kubernetes"

	"bulwark.dev/bulwark/test/control/mirror"
)

// Config is what Start needs; every field is required.
type Config struct {
	Client   kubernetes.Interface // may read Services and EndpointSlices, write Service status and Events
	Log      *slog.Logger
	NodeIP   string // node ports are served here
	DNS      string // the address that DNS is served at; a Service with it has no other proxy
	Balancer string // range of the load balancer's addresses
	Now      func() time.Time
}

type proxy struct {
	Config
	nodeIP, dns netip.Addr
	pool        netip.Prefix

	services *mirror.Objects[*corev1.Service]
	slices   *mirror.Objects[*discoveryv1.EndpointSlice]
	wake     chan struct{} // holds one: "look again"
	table    atomic.Pointer[table]
	open     map[front]func() // stops the listener; only the loop's
	told     map[string]bool  // what was said already, so that it is said once; only the loop's
	wg       sync.WaitGroup
}

const retryPause = 200 * time.Millisecond

// Start serves until stop, which waits for everything it started. It returns
// when DNS is served; Services follow as the watches bring them.
func Start(ctx context.Context, c Config) (stop func(), err error) {
	p := &proxy{Config: c, wake: make(chan struct{}, 1), open: map[front]func(){}, told: map[string]bool{}}
	if p.nodeIP, err = netip.ParseAddr(c.NodeIP); err != nil {
		return nil, fmt.Errorf("service proxy: node address: %w", err)
	}
	if p.dns, err = netip.ParseAddr(c.DNS); err != nil {
		return nil, fmt.Errorf("service proxy: DNS address: %w", err)
	}
	if p.pool, err = netip.ParsePrefix(c.Balancer); err != nil {
		return nil, fmt.Errorf("service proxy: load balancer range: %w", err)
	}
	if c.Client == nil || c.Log == nil || c.Now == nil {
		return nil, errors.New("service proxy: client, log and clock are required")
	}
	p.table.Store(&table{})
	ctx, cancel := context.WithCancel(ctx)
	if err := p.serveDNS(ctx); err != nil {
		cancel()
		p.wg.Wait()
		return nil, err
	}
	p.services = mirror.Start[*corev1.Service](ctx, mirror.Source[*corev1.ServiceList]{
		Client: c.Client, List: c.Client.CoreV1().Services("").List, Watch: c.Client.CoreV1().Services("").Watch,
	}, p.again)
	p.slices = mirror.Start[*discoveryv1.EndpointSlice](ctx, mirror.Source[*discoveryv1.EndpointSliceList]{
		Client: c.Client, List: c.Client.DiscoveryV1().EndpointSlices("").List, Watch: c.Client.DiscoveryV1().EndpointSlices("").Watch,
	}, p.again)
	p.wg.Go(func() { p.loop(ctx) })
	return func() {
		cancel()
		p.services.Stop()
		p.slices.Stop()
		p.wg.Wait()
	}, nil
}

func (p *proxy) again() {
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (p *proxy) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		if !p.services.Synced() || !p.slices.Synced() {
			continue
		}
		if err := p.apply(ctx); err != nil && ctx.Err() == nil {
			p.sayOnce(ctx, err.Error())
			p.wg.Go(func() {
				select {
				case <-ctx.Done():
				case <-time.After(retryPause):
					p.again()
				}
			})
		}
	}
}

// apply computes the table and makes the listeners and the Services' status fit it.
func (p *proxy) apply(ctx context.Context) error {
	services := p.services.All()
	given, refused := assign(services, p.pool)
	t := build(services, p.slices.All(), given, p.nodeIP, p.dns)
	p.table.Store(t)
	var errs []error
	for f, stop := range p.open {
		if _, ok := t.fronts[f]; !ok {
			stop()
			delete(p.open, f)
		}
	}
	for f := range t.fronts {
		if _, ok := p.open[f]; ok {
			continue
		}
		stop, err := p.listen(ctx, f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.open[f] = stop
	}
	// Listeners first: an address in a status works.
	for _, s := range services {
		k := key{s.Namespace, s.Name}
		if err := p.writeStatus(ctx, s, given[k], refused[k]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// listen opens one front; stop closes it, and leaves its connections alone.
func (p *proxy) listen(ctx context.Context, f front) (stop func(), err error) {
	var lc net.ListenConfig
	if f.proto == corev1.ProtocolUDP {
		c, err := lc.ListenPacket(ctx, "udp", f.addr.String())
		if err != nil {
			return nil, fmt.Errorf("serve %s/udp: %w", f.addr, err)
		}
		u, ok := c.(*net.UDPConn)
		if !ok {
			return nil, fmt.Errorf("serve %s/udp: a %T", f.addr, c)
		}
		p.wg.Go(func() {
			forwardDatagrams(ctx, u, flowIdle, func(ctx context.Context) (net.Conn, error) { return p.dial(ctx, f, "udp") })
		})
		return func() { _ = u.Close() }, nil
	}
	l, err := lc.Listen(ctx, "tcp", f.addr.String())
	if err != nil {
		return nil, fmt.Errorf("serve %s/tcp: %w", f.addr, err)
	}
	p.wg.Go(func() {
		Forward(ctx, l, func(ctx context.Context) (net.Conn, error) { return p.dial(ctx, f, "tcp") })
	})
	return func() { _ = l.Close() }, nil
}

// dial connects to one of the front's backends, at random.
func (p *proxy) dial(ctx context.Context, f front, network string) (net.Conn, error) {
	backends := p.table.Load().fronts[f]
	if len(backends) == 0 {
		return nil, errors.New("no ready endpoint")
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	return d.DialContext(ctx, network, backends[rand.IntN(len(backends))].String())
}

func (p *proxy) serveDNS(ctx context.Context) error {
	var lc net.ListenConfig
	addr := netip.AddrPortFrom(p.dns, 53).String()
	c, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return fmt.Errorf("serve DNS: %w", err)
	}
	u, ok := c.(*net.UDPConn)
	if !ok {
		return fmt.Errorf("serve DNS: a %T", c)
	}
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		_ = c.Close()
		return fmt.Errorf("serve DNS: %w", err)
	}
	current := func() names { return p.table.Load().names }
	context.AfterFunc(ctx, func() { _ = c.Close(); _ = l.Close() })
	p.wg.Go(func() { serveUDP(u, current) })
	p.wg.Go(func() { serveTCP(ctx, l, current) })
	return nil
}

func (p *proxy) sayOnce(ctx context.Context, text string) {
	if !p.told[text] {
		p.told[text] = true
		p.Log.LogAttrs(ctx, slog.LevelWarn, "service proxy", slog.String("error", text))
	}
}
