// Package plane runs the parts of Kubernetes' control plane from their own
// source: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and
// kubectl. It is the only package of this module that imports k8s.io/kubernetes
// (minutes of compilation), so everything else is tested without it.
//
// kube-apiserver and the controllers keep their feature gates and metrics in
// globals, so each function here is for a process of its own, called once.
package plane

import (
	"context"
	"fmt"
	_ "time/tzdata" // CronJobs and certificates name time zones; chroots have no database

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics, as the real programs have them
	_ "k8s.io/component-base/metrics/prometheus/version"  // the kubernetes_build_info metric
	apiserverapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

func flagSet(name string, named cliflag.NamedFlagSets) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	for _, f := range named.FlagSets {
		fs.AddFlagSet(f)
	}
	return fs
}

// quiet leaves klog as the process has it: every component would set it again.
func quiet() {
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
}

// APIServer runs kube-apiserver with kube-apiserver's own flags until ctx ends.
// One call per process.
func APIServer(ctx context.Context, args []string) error {
	quiet()
	opts := apiserveroptions.NewServerRunOptions()
	if err := flagSet("kube-apiserver", opts.Flags()).Parse(args); err != nil {
		return fmt.Errorf("kube-apiserver flags: %w", err)
	}
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("kube-apiserver feature gates: %w", err)
	}
	completed, err := opts.Complete(ctx)
	if err != nil {
		return fmt.Errorf("kube-apiserver options: %w", err)
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return fmt.Errorf("kube-apiserver options: %w", utilerrors.NewAggregate(errs))
	}
	if err := apiserverapp.Run(ctx, completed); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return nil
}
