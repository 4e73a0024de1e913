package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/identity"
	"bulwark.dev/bulwark/internal/cluster/provision"
	"bulwark.dev/bulwark/internal/cluster/relay"
	"bulwark.dev/bulwark/internal/gateway/compile"
)

// dataPlaneFlags are the settings of "bulwark serve gateway".
type dataPlaneFlags struct {
	gatewayFlags
	controller     string
	certs          string
	namespace      string
	controllerName string
}

func newServeGateway(env *Env) *cobra.Command {
	var f dataPlaneFlags
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Serve the Gateways of a cluster with what its controller says",
		Long: `Serve the Gateways of a cluster. Configuration comes from "bulwark serve
controller", by watch over mutual TLS: this process needs no access to the API
server. It goes on with what it has while no controller answers; one that
starts then is not ready before it was told what to serve.`,
		Example: "  bulwark serve gateway --controller https://bulwark-controller.bulwark-system.svc:9443 --relay-certs /etc/bulwark/relay",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return badUse(err)
			}
			return runProcess(cmd.Context(), env, &f.processFlags, f.drain, func(ctx context.Context, log *slog.Logger, running *stack) error {
				return serveGateway(ctx, env, log, &f, running)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.controller, "controller", "", "URL of the controller's relay, https://HOST:PORT")
	fl.StringVar(&f.certs, "relay-certs", "", "folder with tls.crt, tls.key and ca.crt for the relay")
	fl.StringVar(&f.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Bulwark's own namespace (default $POD_NAMESPACE)")
	fl.StringVar(&f.controllerName, "controller-name", compile.DefaultController, "what GatewayClasses of this installation name")
	f.add(fl, ":9400", "json")
	return cmd
}

func (f *dataPlaneFlags) check() error {
	err := f.gatewayFlags.check()
	if u, perr := url.Parse(f.controller); perr != nil || u.Scheme != "https" || u.Host == "" {
		err = errors.Join(err, fmt.Errorf("--controller %q: expected https://HOST:PORT", f.controller))
	}
	for flag, v := range map[string]string{"relay-certs": f.certs, "namespace": f.namespace, "controller-name": f.controllerName} {
		if v == "" {
			err = errors.Join(err, fmt.Errorf("--%s is required", flag))
		}
	}
	return err
}

// serveGateway runs until ctx ends, then drains.
func serveGateway(ctx context.Context, env *Env, log *slog.Logger, f *dataPlaneFlags, running *stack) error {
	pace()
	files, err := identity.Files(f.certs, log) //nolint:contextcheck // reading a few small files is not cut short
	if err != nil {
		return badUse(err)
	}
	watcher, err := relay.NewWatcher(relay.ClientConfig{
		URL: f.controller, TLS: files.Client, Name: instance(), Version: version(), Log: log, Now: env.Now, Random: env.Random,
	})
	if err != nil {
		return badUse(err)
	}
	f.partial = true
	opt := f.options()
	opt.ControllerName = f.controllerName
	g, err := startGateway(ctx, env, log, &f.gatewayFlags, newJudge(opt, bound(provision.Config{Namespace: f.namespace})), running, source{
		metrics: []prometheus.Collector{watcher},
		status: func() any {
			return struct {
				relay.WatchStatus
				Certificates string `json:"certificates"`
			}{watcher.Status(), said(files.Err())}
		},
	})
	if err != nil {
		return err
	}
	err = watcher.Run(ctx, func(s *cluster.Snapshot) error {
		defer pace()
		return g.changed(ctx, s, nil)
	})
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "draining", slog.Duration("atMost", f.drain))
	return err
}

// said is an error as text for a status page.
func said(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}
