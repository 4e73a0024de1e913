// Package provision gives every Gateway of a cluster its place: a Service of
// its own in its own namespace, whose EndpointSlices list the pods of the one
// data plane, on target ports that belong to this Gateway alone.
//
// All Gateways share the data plane's pods, so a target port decides whose
// listeners a connection meets. Target ports are therefore not read from
// Services, which tenants may edit, but kept in a ConfigMap of Bulwark's own
// namespace. A port in use is never moved, and a port given back is not used
// again for PortHold, since a data plane may still serve it for its last owner.
//
// Only Services and EndpointSlices that carry our labels and name the Gateway,
// with its UID, as their owner are touched. Of those, type, ports, selector,
// loadBalancerIP, our labels and what spec.infrastructure asks for are put back
// when edited; everything else (session affinity, source ranges, node
// ports, other annotations) is left to whoever sets it.
package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

// Names that users see.
const (
	// ManagedBy is the value of the labels by which our Services
	// (app.kubernetes.io/managed-by) and EndpointSlices
	// (endpointslice.kubernetes.io/managed-by) are told from others.
	ManagedBy = "bulwark.dev"
	// PortsName holds the target ports, in Bulwark's own namespace.
	PortsName = "bulwark-ports"

	labelManagedBy = "app.kubernetes.io/managed-by"
	// labelInstallation holds Bulwark's own namespace: of two installations in a
	// cluster, neither touches what is the other's.
	labelInstallation = "bulwark.dev/installation"
	// keysAnnotation lists the labels and annotations that spec.infrastructure
	// asked for, so that they can be removed when it no longer does.
	keysAnnotation = "bulwark.dev/infrastructure-keys"
)

// Rates and times.
const (
	writesPerSecond = 200
	parallel        = 8
	requestTimeout  = 10 * time.Second
	minRetry        = time.Second
	maxRetry        = 30 * time.Second
)

// Config says where and how Gateways are placed.
type Config struct {
	// REST is how the API server is reached. Its rate limit is not used. Placer
	// does without it.
	REST *rest.Config
	// Namespace is Bulwark's own.
	Namespace string
	// DataPlaneService is the headless Service of Namespace whose EndpointSlices
	// list the pods of the data plane.
	DataPlaneService string
	// ServiceType is that of Gateways' Services. Default: LoadBalancer, where the
	// Gateway's addresses are those that the load balancer gives. With ClusterIP
	// and NodePort the address is the Service's cluster IP; a Gateway that asks
	// for an address cannot have it then.
	ServiceType corev1.ServiceType
	// IPFamilyPolicy and IPFamilies are given to new Services. With IPv6 among
	// them data planes bind "::", which takes IPv4 as well.
	IPFamilyPolicy corev1.IPFamilyPolicy
	IPFamilies     []corev1.IPFamily
	// ExternalTrafficPolicy, where set, is that of Services that are not of type
	// ClusterIP. Local keeps the address of the client.
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy
	Log                   *slog.Logger
	Now                   func() time.Time
}

// Want is a Gateway of ours and the ports that it is to be reached on. With no
// ports (no listener of it is valid just now) it keeps what it has.
type Want struct {
	Gateway *gwv1.Gateway
	Ports   []int32
}

// Provisioner keeps Services, EndpointSlices and target ports as they were last
// asked for. Its methods may be used by several goroutines.
type Provisioner struct {
	cfg     Config
	client  kubernetes.Interface
	meters  meters
	running atomic.Bool
	wake    chan struct{}
	mu      sync.Mutex
	newest  *wanted // nil before the first Update
}

// wanted is one Update.
type wanted struct {
	snap *cluster.Snapshot
	want []Want
}

// New checks cfg and makes a Provisioner, which does nothing before Run.
func New(cfg Config) (*Provisioner, error) {
	cfg.ServiceType = cmp.Or(cfg.ServiceType, corev1.ServiceTypeLoadBalancer)
	switch {
	case cfg.REST == nil || cfg.Log == nil || cfg.Now == nil:
		return nil, errors.New("provision: REST, Log and Now are required")
	case cfg.Namespace == "" || cfg.DataPlaneService == "":
		return nil, errors.New("provision: Bulwark's namespace and the Service of its data plane are required")
	}
	switch cfg.ServiceType {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort, corev1.ServiceTypeClusterIP:
	case corev1.ServiceTypeExternalName:
		fallthrough
	default:
		return nil, fmt.Errorf("provision: Services of type %q: want LoadBalancer, NodePort or ClusterIP", cfg.ServiceType)
	}
	cfg.REST = rest.CopyConfig(cfg.REST)
	cfg.REST.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(writesPerSecond, writesPerSecond)
	cfg.REST.Timeout = requestTimeout
	client, err := kubernetes.NewForConfig(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("provision: client for %s: %w", cfg.REST.Host, err)
	}
	return &Provisioner{cfg: cfg, client: client, meters: newMeters(), wake: make(chan struct{}, 1)}, nil
}

// Update says which Gateways are to be reached on which ports. want lists every
// Gateway of ours that is in snap: what belongs to one that it leaves out is
// deleted, and its target ports are given back. So it must not be called before
// the Snapshot is complete. It never blocks: an Update that was not begun yet is
// replaced. It must be called for every new Snapshot. Neither argument may be
// changed afterwards.
func (p *Provisioner) Update(snap *cluster.Snapshot, want []Want) {
	p.mu.Lock()
	p.newest = &wanted{snap, want}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Provisioner) current() *wanted {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest
}

// Run keeps the cluster as wanted until ctx ends. It may run again after it has
// returned, but not twice at once.
func (p *Provisioner) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return errors.New("provision: the Provisioner runs already")
	}
	defer p.running.Store(false)
	// Another process may have led since this one did, so nothing is remembered.
	rounds := newRounds(p)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-retry.C:
		}
		if in := p.current(); in != nil {
			if wait := rounds.run(ctx, in); wait > 0 {
				retry.Reset(wait)
			} else {
				retry.Stop()
			}
		}
	}
}
