// Package netns gives a cluster namespaces of its own (network, mount, process
// and, without root, user) and its pods a network namespace each. Addresses
// never leave the cluster's namespace, so they are the same in every cluster and
// several run at once.
package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The addresses of every cluster.
const (
	NodeIP      = "10.243.0.1"
	PodRange    = "10.244.0.0/16"
	ServiceCIDR = "10.96.0.0/16"
	BalancerIPs = "10.242.0.0/16" // for Services of type LoadBalancer
	APIService  = "10.96.0.1"     // the Service kubernetes.default
	DNSService  = "10.96.0.10"
)

// A pod's default route; on the node's end of every pod's link.
const podGateway = "169.254.1.1"

// Mounts makes this process's mount namespace private and gives it a /proc of
// its own process namespace. Only for a process that Enter started.
func Mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// Setup configures the empty network namespace this process is in: loopback up,
// the node's address, and local routes over the service and balancer ranges, so
// that every address in them can be bound without being configured ("AnyIP").
func Setup() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: host(net.ParseIP(NodeIP))}); err != nil {
		return fmt.Errorf("add node address %s: %w", NodeIP, err)
	}
	for _, cidr := range []string{ServiceCIDR, BalancerIPs} {
		_, dst, err := net.ParseCIDR(cidr)
		if err != nil {
			return fmt.Errorf("local route: %w", err)
		}
		err = netlink.RouteAdd(&netlink.Route{
			LinkIndex: lo.Attrs().Index, Dst: dst, Table: unix.RT_TABLE_LOCAL,
			Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
		})
		if err != nil {
			return fmt.Errorf("local route %s: %w", cidr, err)
		}
	}
	// Pods reach each other through the node.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return fmt.Errorf("forward between pods: %w", err)
	}
	return nil
}

// Plug joins the network namespace of process pid to this one by a veth pair
// called veth<n> on this side and eth0 on the other, and gives it the address ip.
func Plug(pid int, ip netip.Addr, n int) error {
	name, peerName := fmt.Sprintf("veth%d", n), fmt.Sprintf("vpeer%d", n)
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peerName}); err != nil {
		return fmt.Errorf("add link %s: %w", name, err)
	}
	near, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	far, err := netlink.LinkByName(peerName)
	if err != nil {
		return fmt.Errorf("find link %s: %w", peerName, err)
	}
	if err := netlink.LinkSetNsPid(far, pid); err != nil {
		return fmt.Errorf("move link %s to process %d: %w", peerName, pid, err)
	}
	if err := netlink.AddrAdd(near, &netlink.Addr{IPNet: host(net.ParseIP(podGateway))}); err != nil {
		return fmt.Errorf("address of link %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(near); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	if err := inside(pid, peerName, ip); err != nil {
		return fmt.Errorf("network of process %d: %w", pid, err)
	}
	err = netlink.RouteAdd(&netlink.Route{
		LinkIndex: near.Attrs().Index, Dst: host(ip.AsSlice()),
		Scope: netlink.SCOPE_LINK, Src: net.ParseIP(NodeIP),
	})
	if err != nil {
		return fmt.Errorf("route to pod %s: %w", ip, err)
	}
	return nil
}

// inside configures the far end of a pod's link, in the pod's namespace.
func inside(pid int, link string, ip netip.Addr) error {
	ns, err := vnetns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	eth, err := h.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s: %w", link, err)
	}
	if err := h.LinkSetName(eth, "eth0"); err != nil {
		return fmt.Errorf("rename %s: %w", link, err)
	}
	if err := h.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set eth0 up: %w", err)
	}
	if err := h.AddrAdd(eth, &netlink.Addr{IPNet: host(ip.AsSlice())}); err != nil {
		return fmt.Errorf("address %s: %w", ip, err)
	}
	gateway := net.ParseIP(podGateway)
	if err := h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: host(gateway), Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to the node: %w", err)
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

// Do runs f on a thread that is in the network namespace of process pid:
// sockets that f opens and processes that it starts are in it too. f must not
// start goroutines that open sockets.
func Do(pid int, f func() error) (err error) {
	runtime.LockOSThread()
	self, err := vnetns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("own network namespace: %w", err)
	}
	defer func() { _ = self.Close() }()
	ns, err := vnetns.GetFromPid(pid)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	defer func() { _ = ns.Close() }()
	if err := vnetns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace of process %d: %w", pid, err)
	}
	defer func() {
		back := vnetns.Set(self)
		if back != nil {
			// The thread stays locked: it ends with its goroutine instead of serving others from the wrong namespace.
			err = errors.Join(err, fmt.Errorf("leave network namespace of process %d: %w", pid, back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

func host(ip net.IP) *net.IPNet {
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))}
}
