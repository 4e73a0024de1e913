package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"bulwark.dev/bulwark/test/control/kms"
	"bulwark.dev/bulwark/test/control/kubelet"
	"bulwark.dev/bulwark/test/control/netns"
	"bulwark.dev/bulwark/test/control/services"
)

// cluster is what runs inside.
type cluster struct {
	log         *slog.Logger
	fatal       chan error
	apiserver   *child
	controllers *child // nil: not wanted
	client      kubernetes.Interface
	one         sync.Mutex // one order at a time
	closers     []func()   // run in reverse
}

// start brings everything up; what it started is ended by end, also when it fails.
func start(ctx context.Context, g *errgroup.Group, c *config, p Parts, log *slog.Logger) (*cluster, error) {
	cl := &cluster{log: log, fatal: make(chan error, 8)}
	client, err := clientFor(c, "node-services")
	if err != nil {
		return cl, err
	}
	cl.client = client
	flags, err := c.apiserverFlags()
	if err != nil {
		return cl, err
	}
	cl.apiserver = &child{name: "kube-apiserver", args: append([]string{apiserverCommand}, flags...), log: log, fatal: cl.fatal}
	if manager, scheduler := c.managerFlags(), c.schedulerFlags(); manager != nil || scheduler != nil {
		cl.controllers = &child{name: "controllers", args: append([]string{controllersCommand}, join(manager, scheduler)...), log: log, fatal: cl.fatal}
	}
	if !c.Verbose {
		cl.apiserver.logFile = filepath.Join(c.DataDir, "apiserver.log")
		if cl.controllers != nil {
			cl.controllers.logFile = filepath.Join(c.DataDir, "controllers.log")
		}
	}
	if c.KMSPlugin != "" {
		stop, failed, err := kms.Serve(ctx, c.KMSPlugin, filepath.Join(c.DataDir, "kms.key"))
		if err != nil {
			return cl, err
		}
		cl.closers = append(cl.closers, stop)
		cl.watch(ctx, g, "KMS plugin", failed)
	}
	// The API server takes a while to read its flags: meanwhile etcd starts.
	if err := cl.apiserver.start(ctx); err != nil {
		return cl, err
	}
	cl.closers = append(cl.closers, func() { cl.apiserver.stop(false) })
	stopEtcd, failed, err := p.StartEtcd(ctx, filepath.Join(c.DataDir, "etcd"))
	if err != nil {
		return cl, err
	}
	cl.closers = append([]func(){stopEtcd}, cl.closers...)
	cl.watch(ctx, g, "etcd", failed)
	if err := cl.ready(ctx); err != nil {
		return cl, err
	}
	if cl.controllers != nil {
		if err := cl.controllers.start(ctx); err != nil {
			return cl, err
		}
		cl.closers = append(cl.closers, func() { cl.controllers.stop(true) })
	}
	if err := cl.node(ctx, c); err != nil {
		return cl, err
	}
	stop, err := serveOrders(ctx, c.DataDir, cl)
	if err != nil {
		return cl, err
	}
	cl.closers = append(cl.closers, stop)
	return cl, cl.usable(ctx, c)
}

// watch makes a part's failure the cluster's.
func (cl *cluster) watch(ctx context.Context, g *errgroup.Group, part string, failed <-chan error) {
	g.Go(func() error {
		select {
		case err := <-failed:
			cl.fatal <- fmt.Errorf("%s: %w", part, err)
		case <-ctx.Done():
		}
		return nil
	})
}

// node starts the kubelet and the service proxy.
func (cl *cluster) node(ctx context.Context, c *config) error {
	if c.has(partServices) {
		stop, err := services.Start(ctx, services.Config{
			Client: cl.client, Log: cl.log, NodeIP: netns.NodeIP, DNS: netns.DNSService,
			Balancer: netns.BalancerIPs, Now: time.Now,
		})
		if err != nil {
			return err
		}
		cl.closers = append(cl.closers, stop)
	}
	if !c.has(partKubelet) {
		return nil
	}
	client, err := clientFor(c, "kubelet")
	if err != nil {
		return err
	}
	images := kubelet.Images{}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("own path: %w", err)
	}
	if err := images.Add(kubelet.PodImage, filepath.Join(filepath.Dir(self), "pod")); err != nil {
		return err
	}
	for _, i := range c.Images {
		prefix, path, _ := strings.Cut(i, "=")
		if err := images.Add(prefix, path); err != nil {
			return err
		}
	}
	stop, err := kubelet.Start(ctx, kubelet.Config{
		Client: client, Log: cl.log, Now: time.Now,
		Node: nodeName, NodeIP: netns.NodeIP, DNS: netns.DNSService, APIService: netns.APIService, PodRange: netns.PodRange,
		Images: images, Dir: filepath.Join(c.DataDir, "pods"), PKI: c.pki(),
		Pause: []string{"/proc/self/exe", pauseCommand}, SetUsers: c.SetUsers,
	})
	if err != nil {
		return err
	}
	cl.closers = append(cl.closers, stop)
	return nil
}

// usable waits until a test may begin: pods in the default namespace are admitted.
func (cl *cluster) usable(ctx context.Context, c *config) error {
	if !c.has(partManager) {
		return nil
	}
	return cl.until(ctx, "the default ServiceAccount", func() error {
		_, err := cl.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// ready waits until the API server serves.
func (cl *cluster) ready(ctx context.Context) error {
	return cl.until(ctx, "kube-apiserver", func() error {
		var code int
		r := cl.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx)
		r.StatusCode(&code)
		if err := r.Error(); err != nil {
			return err
		}
		if code != http.StatusOK {
			return fmt.Errorf("status %d", code)
		}
		return nil
	})
}

func (cl *cluster) until(ctx context.Context, what string, try func() error) error {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		last := try()
		if last == nil {
			return nil
		}
		select {
		case err := <-cl.fatal:
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(ctx.Err(), last))
		case <-tick.C:
		}
	}
}

// end stops what start started, last first.
func (cl *cluster) end() {
	for _, f := range slices.Backward(cl.closers) {
		f()
	}
}

// stopAPIServer ends the API server; everything else goes on.
func (cl *cluster) stopAPIServer(kill bool) {
	cl.one.Lock()
	defer cl.one.Unlock()
	cl.apiserver.stop(kill)
}

// startAPIServer starts it and returns when it serves. The controllers start
// anew: their own watches may come back only after half a minute.
func (cl *cluster) startAPIServer(ctx context.Context) error {
	cl.one.Lock()
	defer cl.one.Unlock()
	if cl.apiserver.running() {
		return nil
	}
	if cl.controllers != nil {
		cl.controllers.stop(true)
	}
	if err := cl.apiserver.start(ctx); err != nil {
		return err
	}
	if err := cl.ready(ctx); err != nil {
		return err
	}
	if cl.controllers != nil {
		return cl.controllers.start(ctx)
	}
	return nil
}

// clientFor gives a client with the certificate name of the cluster's keys.
func clientFor(c *config, name string) (kubernetes.Interface, error) {
	rc, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.pki(), name+".kubeconfig"))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	rc.QPS, rc.Burst = 200, 400
	rc.ContentType = "application/vnd.kubernetes.protobuf"
	rc.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	rc.Dial = (&net.Dialer{Timeout: 2 * time.Second}).DialContext
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	return client, nil
}
