package plane

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/util/compatibility"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// Controllers runs kube-controller-manager and kube-scheduler in this process,
// each with its own flags (nil leaves one out), until ctx ends or one of them
// fails. One call per process.
func Controllers(ctx context.Context, manager, scheduler []string) error {
	quiet()
	// Both read one global feature-gate registry: parse everything, then set it once.
	km, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("kube-controller-manager options: %w", err)
	}
	so := scheduleroptions.NewOptions()
	kmFlags := km.Flags(kcmapp.KnownControllers(), kcmapp.ControllersDisabledByDefault(), kcmapp.ControllerAliases())
	km.ParsedFlags = &kmFlags
	if err := flagSet("kube-controller-manager", kmFlags).Parse(manager); err != nil {
		return fmt.Errorf("kube-controller-manager flags: %w", err)
	}
	if err := flagSet("kube-scheduler", *so.Flags).Parse(scheduler); err != nil {
		return fmt.Errorf("kube-scheduler flags: %w", err)
	}
	if err := compatibility.DefaultComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("controllers' feature gates: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	if manager != nil {
		g.Go(func() error {
			c, err := km.Config(ctx, kcmapp.KnownControllers(), kcmapp.ControllersDisabledByDefault(), kcmapp.ControllerAliases())
			if err != nil {
				return fmt.Errorf("kube-controller-manager: %w", err)
			}
			if err := kcmapp.Run(ctx, c.Complete()); err != nil {
				return fmt.Errorf("kube-controller-manager: %w", err)
			}
			return nil
		})
	}
	if scheduler != nil {
		g.Go(func() error {
			c, s, err := schedulerapp.Setup(ctx, so)
			if err != nil {
				return fmt.Errorf("kube-scheduler: %w", err)
			}
			if err := schedulerapp.Run(ctx, c, s); err != nil {
				return fmt.Errorf("kube-scheduler: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}
