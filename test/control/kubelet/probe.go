package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// eager is how often a probe that has not succeeded yet is tried between its
// periods: tests wait for it. Only success counts then.
const eager = 100 * time.Millisecond

// probe runs the container's probes until stop, which waits for them. The channel
// yields once, a grace period, when the container is to be started anew.
func (c *container) probe(ctx context.Context, t *task) (unhealthy chan time.Duration, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	unhealthy = make(chan time.Duration, 1)
	fail := func(p *corev1.Probe, kind string, err error) {
		c.pod.k.event(ctx, c.pod, "Unhealthy", fmt.Sprintf("%s probe of container %s failed: %v", kind, c.spec.Name, err))
		grace := c.pod.grace()
		if p.TerminationGracePeriodSeconds != nil {
			grace = time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
		}
		select {
		case unhealthy <- grace:
		default: // it ends already
		}
	}
	wg.Go(func() {
		if p := c.spec.StartupProbe; p != nil {
			if err := c.watch(ctx, t, p, true, func(ok bool, _ error) bool { return !ok }); err != nil {
				if ctx.Err() == nil {
					fail(p, "startup", err)
				}
				return
			}
			c.set(func() { c.begun, c.ready = true, c.spec.ReadinessProbe == nil })
		}
		if p := c.spec.LivenessProbe; p != nil {
			wg.Go(func() {
				err := c.watch(ctx, t, p, false, func(ok bool, _ error) bool { return ok })
				if ctx.Err() == nil {
					fail(p, "liveness", err)
				}
			})
		}
		if p := c.spec.ReadinessProbe; p != nil {
			_ = c.watch(ctx, t, p, true, func(ok bool, _ error) bool {
				c.pod.mu.Lock()
				change := c.ready != ok && c.task == t
				if change {
					c.ready = ok
				}
				c.pod.mu.Unlock()
				if change {
					c.pod.changed()
				}
				return true
			})
		}
	})
	return unhealthy, func() { cancel(); wg.Wait() }
}

// watch tries the probe in its rhythm and tells say each verdict that its
// thresholds reach; it ends when say gives false. The error is that of the
// probe's last try when that verdict was bad. quick lets the first success come
// between periods.
func (c *container) watch(ctx context.Context, t *task, p *corev1.Probe, quick bool, say func(ok bool, err error) bool) error {
	pause(ctx, time.Duration(p.InitialDelaySeconds)*time.Second)
	period := time.Duration(max(1, p.PeriodSeconds)) * time.Second
	next := time.Now()
	good, bad := int32(0), int32(0)
	verdict := false
	for ctx.Err() == nil {
		err := c.try(ctx, t, p)
		if ctx.Err() != nil {
			break
		}
		due := !time.Now().Before(next)
		if due {
			next = time.Now().Add(period)
		}
		switch {
		case err == nil:
			good, bad = good+1, 0
			verdict = good >= max(1, p.SuccessThreshold)
			if verdict && !say(true, nil) {
				return nil
			}
		case due:
			good, bad = 0, bad+1
			if bad >= max(1, p.FailureThreshold) {
				verdict = false
				if !say(false, err) {
					return err
				}
				// A startup probe that used up its tries is over.
				if p == c.spec.StartupProbe {
					return err
				}
			}
		default:
			good = 0
		}
		wait := time.Until(next)
		if quick && !verdict {
			wait = min(wait, eager)
		}
		pause(ctx, wait)
	}
	return ctx.Err()
}

// try runs the probe once.
func (c *container) try(ctx context.Context, t *task, p *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(1, p.TimeoutSeconds))*time.Second)
	defer cancel()
	switch {
	case p.HTTPGet != nil:
		return c.httpGet(ctx, p.HTTPGet)
	case p.TCPSocket != nil:
		addr, err := c.target(p.TCPSocket.Host, p.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	case p.Exec != nil:
		return c.execHook(ctx, t, p.Exec.Command)
	case p.GRPC != nil:
		return c.grpcHealth(ctx, p.GRPC)
	default:
		return errors.New("this kind of probe is not supported")
	}
}

// target gives the address of a port of the container, by number or name.
func (c *container) target(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = c.pod.address().String()
	}
	n := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range c.spec.Ports {
			if p.Name == port.StrVal {
				n = int(p.ContainerPort)
			}
		}
	}
	if n <= 0 {
		return "", fmt.Errorf("container %s has no port %s", c.spec.Name, port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

// httpGet is satisfied by any status from 200 to 399; it follows no redirect and,
// like the kubelet, checks no certificate.
func (c *container) httpGet(ctx context.Context, g *corev1.HTTPGetAction) error {
	addr, err := c.target(g.Host, g.Port)
	if err != nil {
		return err
	}
	url := strings.ToLower(string(g.Scheme)) + "://" + addr + "/" + strings.TrimPrefix(g.Path, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-probe/1.36")
	for _, h := range g.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	client := &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	return nil
}

func (c *container) grpcHealth(ctx context.Context, g *corev1.GRPCAction) error {
	addr := net.JoinHostPort(c.pod.address().String(), strconv.Itoa(int(g.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	req := &healthv1.HealthCheckRequest{}
	if g.Service != nil {
		req.Service = *g.Service
	}
	resp, err := healthv1.NewHealthClient(conn).Check(ctx, req)
	if err != nil {
		return err
	}
	if resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("health of %q is %s", req.GetService(), resp.GetStatus())
	}
	return nil
}
