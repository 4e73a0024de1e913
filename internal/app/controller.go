package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/identity"
	"bulwark.dev/bulwark/internal/cluster/lead"
	"bulwark.dev/bulwark/internal/cluster/live"
	"bulwark.dev/bulwark/internal/cluster/provision"
	"bulwark.dev/bulwark/internal/cluster/relay"
	"bulwark.dev/bulwark/internal/cluster/status"
	"bulwark.dev/bulwark/internal/gateway/compile"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/proxy"
	"bulwark.dev/bulwark/internal/ops"
)

// noServices as --service-type leaves Services to somebody else.
const noServices = "None"

// controllerFlags are the settings of "bulwark serve controller".
type controllerFlags struct {
	processFlags
	kubeconfig     string
	namespace      string
	relayListen    string
	gatewayService string
	serviceType    string
	relayService   string
	relayCerts     string
	lease          string
	unprotected    string
	controllerName string
	forward        forwardFlags
}

func newServeController(env *Env) *cobra.Command {
	var f controllerFlags
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Watch the cluster, write status, place Gateways and feed the data planes",
		Long: `Watch the API server for Gateway API objects and SecurityPolicies, and hand them
to the data planes ("bulwark serve gateway") over mutual TLS. Of several replicas
all feed data planes; the one that holds the Lease writes the status of objects
and keeps one Service for each Gateway.

Data planes go on with what they have while no controller or no API server
answers.`,
		Example: "  bulwark serve controller --namespace bulwark-system",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return badUse(err)
			}
			return runProcess(cmd.Context(), env, &f.processFlags, 10*time.Second, func(ctx context.Context, log *slog.Logger, running *stack) error {
				return serveController(ctx, env, log, &f, running)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default: the pod's ServiceAccount)")
	fl.StringVar(&f.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Bulwark's own namespace (default $POD_NAMESPACE)")
	fl.StringVar(&f.relayListen, "relay-listen", ":9443", "address on which data planes fetch their configuration")
	fl.StringVar(&f.gatewayService, "gateway-service", "bulwark-gateway", "headless Service of --namespace that selects the data planes' pods")
	fl.StringVar(&f.serviceType, "service-type", "LoadBalancer", "type of the Service made for each Gateway: LoadBalancer, NodePort, ClusterIP, or None to make none")
	fl.StringVar(&f.relayService, "relay-service", "bulwark-controller", "Service of --namespace by which data planes reach --relay-listen")
	fl.StringVar(&f.relayCerts, "relay-certs", "", "folder with tls.crt, tls.key and ca.crt for the relay (default: an authority of the controller's own)")
	fl.StringVar(&f.lease, "lease", "bulwark-controller", "Lease of --namespace by which replicas elect their leader")
	fl.StringVar(&f.unprotected, "unprotected", "refuse", "routes that no SecurityPolicy covers: refuse or allow; as given to the data planes")
	fl.StringVar(&f.controllerName, "controller-name", compile.DefaultController, "what GatewayClasses of this installation name")
	f.forward.add(fl, "required with --audit-url")
	f.add(fl, ":9400", "json")
	return cmd
}

func (f *controllerFlags) check() error {
	err := errors.Join(
		f.forward.check(),
		oneOf("unprotected", f.unprotected, "refuse", "allow"),
		oneOf("service-type", f.serviceType, "LoadBalancer", "NodePort", "ClusterIP", noServices),
	)
	if f.namespace == "" {
		err = errors.Join(err, errors.New("--namespace: expected Bulwark's own namespace, since POD_NAMESPACE is not set"))
	}
	for flag, v := range map[string]string{"gateway-service": f.gatewayService, "lease": f.lease, "controller-name": f.controllerName} {
		if v == "" {
			err = errors.Join(err, fmt.Errorf("--%s: expected a name", flag))
		}
	}
	return err
}

// controller judges what a cluster asks for, and hands it on.
type controller struct {
	log   *slog.Logger
	place provision.Config
	judge *judge
	build func(*ir.Table) ([]proxy.Problem, error)

	feed   *relay.Server
	status *status.Writer
	infra  *provision.Provisioner // nil where nothing is placed

	mu     sync.Mutex
	report *compile.Report
	digest string
}

// changed takes the newest snapshot.
func (c *controller) changed(snap *cluster.Snapshot) {
	c.mu.Lock()
	report, digest := c.report, c.digest
	c.mu.Unlock()
	if report == nil || digest != snap.Digest() {
		_, report, _, _ = c.judge.judge(snap, c.build) // checking never fails
		used := make(map[compile.Use]bool, len(report.Uses))
		for _, u := range report.Uses {
			used[u] = true
		}
		used[compile.Use{Kind: "ConfigMap", Namespace: c.place.Namespace, Name: provision.PortsName}] = true
		c.feed.Publish(snap, func(kind, namespace, name string) bool {
			return used[compile.Use{Kind: kind, Namespace: namespace, Name: name}]
		})
		c.mu.Lock()
		c.report, c.digest = report, snap.Digest()
		c.mu.Unlock()
	}
	c.status.Update(snap, targets(report))
	if c.infra != nil {
		c.infra.Update(snap, wants(snap, report))
	}
}

// wants says what each Gateway of ours must be reachable on. One that cannot be
// served wants no port, and keeps its address until it can.
func wants(snap *cluster.Snapshot, report *compile.Report) []provision.Want {
	type name struct{ namespace, name string }
	ours := make(map[name][]int32, len(report.Gateways))
	for i := range report.Gateways {
		ours[name{report.Gateways[i].Namespace, report.Gateways[i].Name}] = nil
	}
	for _, p := range report.Ports {
		ours[name{p.Namespace, p.Name}] = p.Ports
	}
	var out []provision.Want
	for _, g := range snap.Gateways {
		if ports, ok := ours[name{g.Namespace, g.Name}]; ok {
			out = append(out, provision.Want{Gateway: g, Ports: ports})
		}
	}
	return out
}

// state is what /status shows.
func (c *controller) state() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	revision, digest := c.feed.Revision()
	out := struct {
		Revision   uint64         `json:"revision"`
		Digest     string         `json:"digest"`
		DataPlanes []relay.Client `json:"dataPlanes"`
		Conditions []compile.Line `json:"conditions"`
	}{Revision: revision, Digest: digest, DataPlanes: c.feed.Clients()}
	if c.report != nil {
		out.Conditions = c.report.Lines()
	}
	return out
}

// serveController runs until ctx ends.
func serveController(ctx context.Context, env *Env, log *slog.Logger, f *controllerFlags, running *stack) error {
	cfg, err := restConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	klog.SetSlogLogger(log)                                           // client-go's own lines, which are not for the trail
	way, log, err := f.forward.start(env, log, "controller", running) //nolint:contextcheck // it outlives ctx, to send the rest
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return badUse(fmt.Errorf("use API server: %w", err))
	}
	watcher, err := live.New(live.Config{REST: cfg, Log: log, Now: env.Now})
	if err != nil {
		return badUse(err)
	}
	c := &controller{log: log, place: provision.Config{
		REST: cfg, Namespace: f.namespace, DataPlaneService: f.gatewayService, ServiceType: corev1.ServiceType(f.serviceType), Log: log, Now: env.Now,
	}}
	c.judge = newJudge(compile.Options{ControllerName: f.controllerName, Unprotected: f.unprotected == "allow"}, serviced(c.place))
	build, stop := checker(env, log) //nolint:contextcheck // what it starts ends with stop
	running.push(func(context.Context) error { stop(); return nil })
	c.build = build
	c.status, err = status.New(status.Config{
		REST: cfg, ControllerName: gwv1.GatewayController(f.controllerName), Features: supported(), Log: log, Now: env.Now, Instance: instance(),
	})
	if err != nil {
		return badUse(err)
	}
	metrics := append(way.metrics(), watcher, c.status)
	if f.serviceType != noServices {
		if c.infra, err = provision.New(c.place); err != nil {
			return badUse(err)
		}
		metrics = append(metrics, c.infra)
	}
	election, err := lead.New(lead.Config{REST: cfg, Namespace: f.namespace, Name: f.lease, Identity: instance(), Log: log})
	if err != nil {
		return badUse(err)
	}
	secure, ready, keep, err := f.credentials(env, log, clients) //nolint:contextcheck // reading a few small files is not cut short
	if err != nil {
		return badUse(err)
	}
	if c.feed, err = relay.NewServer(relay.ServerConfig{Log: log, Now: env.Now, Random: env.Random, Version: version()}); err != nil {
		return badUse(err)
	}
	running.push(func(context.Context) error { c.feed.Close(); return nil })
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", f.relayListen)
	if err != nil {
		return badUse(fmt.Errorf("open relay listener: %w", err))
	}
	registry := newRegistry()
	registry.MustRegister(append(metrics, election, c.feed)...)
	admin, err := ops.StartAdmin(ctx, ops.AdminConfig{
		Address: f.admin, Metrics: registry, Profiles: f.profiles, Status: c.state, Log: log,
		Ready: []ops.Check{{Name: "cluster", Fn: watcher.Synced}, {Name: "certificates", Fn: ready}},
	})
	if err != nil {
		return badUse(errors.Join(err, ln.Close()))
	}
	running.push(func(context.Context) error { return admin.Close() })

	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return watcher.Run(ctx, c.changed) })
	parts.Go(func() error { return keep(ctx) })
	parts.Go(func() error { return c.feed.Serve(ctx, ln, secure) })
	parts.Go(func() error {
		return election.Run(ctx, func(ctx context.Context) { c.lead(ctx) })
	})
	return parts.Wait()
}

// credentials are what the relay is served with: the operator's files, or an
// authority of the controller's own, which keep then maintains.
func (f *controllerFlags) credentials(env *Env, log *slog.Logger, clients *kubernetes.Clientset) (secure *tls.Config, ready func() error, keep func(context.Context) error, err error) {
	if f.relayCerts != "" {
		files, err := identity.Files(f.relayCerts, log)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("read relay certificates: %w", err)
		}
		return files.Server(), func() error { return nil }, func(context.Context) error { return nil }, nil
	}
	own, err := identity.New(identity.Config{
		Secrets: clients.CoreV1(), Namespace: f.namespace, Names: relayNames(f.relayService, f.namespace), Now: env.Now, Log: log,
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("keep relay certificates: %w", err)
	}
	return own.Server(), own.Ready, own.Run, nil
}

// lead does what only one replica may do, until ctx ends.
func (c *controller) lead(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { report(ctx, c.log, "write status", c.status.Run(ctx)) })
	if c.infra != nil {
		work.Go(func() { report(ctx, c.log, "place gateways", c.infra.Run(ctx)) })
	}
	work.Wait()
}

// relayNames are the names under which data planes find a Service.
func relayNames(service, namespace string) []string {
	return []string{service, service + "." + namespace, service + "." + namespace + ".svc", service + "." + namespace + ".svc.cluster.local"}
}
