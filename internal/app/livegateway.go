package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/lead"
	"bulwark.dev/bulwark/internal/cluster/live"
	"bulwark.dev/bulwark/internal/cluster/status"
	"bulwark.dev/bulwark/internal/gateway/compile"
	"bulwark.dev/bulwark/internal/ops"
	"bulwark.dev/bulwark/internal/posture/leak"
)

// upLease is the Lease by which several "bulwark up" of one cluster agree on
// who writes status.
const upLease = "bulwark-up"

// restConfig reads a kubeconfig, or takes the pod's ServiceAccount where none is
// named.
func restConfig(kubeconfig string) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if kubeconfig == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, badUse(fmt.Errorf("find API server: %w", leak.Error(err))) // it may repeat a proxy with its password
	}
	cfg.UserAgent = "bulwark/" + version()
	return cfg, nil
}

// upCluster serves what a cluster says until ctx ends, and writes status back.
func upCluster(ctx context.Context, env *Env, log *slog.Logger, f *upFlags, running *stack) error {
	cfg, err := restConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	klog.SetSlogLogger(log) // client-go's own lines
	watcher, err := live.New(live.Config{REST: cfg, Log: log, Now: env.Now})
	if err != nil {
		return badUse(err)
	}
	writer, err := status.New(status.Config{REST: cfg, ControllerName: compile.DefaultController, Features: supported(), Log: log, Now: env.Now, Instance: instance()})
	if err != nil {
		return badUse(err)
	}
	f.partial = true
	g, err := startGateway(ctx, env, log, &f.gatewayFlags, newJudge(f.options(), nil), running, source{
		ready:   []ops.Check{{Name: "cluster", Fn: watcher.Synced}},
		metrics: []prometheus.Collector{watcher, writer},
	})
	if err != nil {
		return err
	}
	election, err := lead.New(lead.Config{REST: cfg, Namespace: "default", Name: upLease, Identity: instance(), Log: log})
	if err != nil {
		return badUse(err)
	}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error {
		return watcher.Run(ctx, func(s *cluster.Snapshot) {
			_ = g.changed(ctx, s, nil) // it says why by itself, and the table before stays
			if report := g.lastReport(); report != nil {
				writer.Update(s, targets(report))
			}
		})
	})
	parts.Go(func() error {
		return election.Run(ctx, func(ctx context.Context) { report(ctx, log, "write status", writer.Run(ctx)) })
	})
	err = parts.Wait()
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "draining", slog.Duration("atMost", f.drain))
	return err
}

// clusterPatience is how long a command that only looks waits for a cluster.
const clusterPatience = 30 * time.Second

// firstSnapshot reads a cluster once.
func firstSnapshot(ctx context.Context, env *Env, kubeconfig string) (*cluster.Snapshot, error) {
	cfg, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	watcher, err := live.New(live.Config{REST: cfg, Log: quietLog(), Now: env.Now})
	if err != nil {
		return nil, fmt.Errorf("read cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, clusterPatience)
	defer cancel()
	var first *cluster.Snapshot
	if err := watcher.Run(ctx, func(s *cluster.Snapshot) { first = s; cancel() }); err != nil {
		return nil, fmt.Errorf("read cluster: %w", err)
	}
	if first == nil {
		return nil, fmt.Errorf("read cluster %s: no answer within %s: %w", cfg.Host, clusterPatience, watcher.Synced())
	}
	return first, nil
}

// instance tells this process from its siblings: the pod's name, or host and
// process.
func instance() string {
	if pod := os.Getenv("POD_NAME"); pod != "" {
		return pod
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// report logs why a part that runs beside others ended, unless it was told to.
func report(ctx context.Context, log *slog.Logger, what string, err error) {
	if err != nil && ctx.Err() == nil {
		log.LogAttrs(ctx, slog.LevelError, "a part ended", slog.String("part", what), slog.Any("error", err))
	}
}
