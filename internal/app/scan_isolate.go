package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/isolate"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
)

// What rendering one chart or overlay may use: far above what real ones need, and
// well below what a machine that runs scans has.
const (
	renderTime   = 2 * time.Minute
	renderMemory = 2 << 30
)

// renderName is the command that a scan starts for the work of others.
const renderName = "render-apart"

// newRenderApart gives the command that renders charts and overlays for a scan,
// which gives it no environment and ends it if it does not end by itself.
func newRenderApart(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:    renderName,
		Short:  "Render charts and overlays for a scan that started this",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			out := env.Stdout
			os.Stdout = os.Stderr // what a library prints is no answer
			http.DefaultTransport = offline{}
			err := isolate.Serve(env.Stdin, out, map[string]isolate.Job{"chart": chart.Work, "overlay": overlay.Work}, os.Exit)
			if err != nil {
				return badUse(fmt.Errorf("render apart: %w", err))
			}
			return nil
		},
	}
}

// offline asks nobody: the readers refuse addresses, and this is the second lock.
type offline struct{}

// RoundTrip refuses.
func (offline) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nothing is fetched")
}

// newHost gives what renders charts and overlays apart, nil where this program
// cannot be started again: then they are rendered in this process.
func newHost(env *Env) (*isolate.Host, error) {
	if env.Program == "" {
		return nil, nil //nolint:nilnil // see above
	}
	host, err := isolate.New(isolate.Limits{Time: renderTime, Memory: renderMemory}, func() *exec.Cmd {
		cmd := exec.CommandContext(env.Context, env.Program, renderName) //nolint:gosec // G204: this program itself
		cmd.Env = []string{"GOTRACEBACK=none"}                           // no secrets of ours, and no PATH to find git in
		return cmd
	})
	if err != nil {
		return nil, fmt.Errorf("render charts and overlays: %w", err)
	}
	return host, nil
}

// job gives what has a chart or an overlay rendered apart, nil for here.
func (f *scanSource) job(ctx context.Context, kind string) func([]byte) ([]byte, error) {
	if f.host == nil {
		return nil
	}
	return func(job []byte) ([]byte, error) { return f.host.Do(ctx, kind, job) }
}
