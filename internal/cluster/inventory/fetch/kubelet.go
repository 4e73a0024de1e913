package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/validation"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// What a kubelet runs with is an object of this kind, named like its node.
const (
	kubeletGroup = "kubelet.config.k8s.io"
	kubeletKind  = "KubeletConfiguration"
)

// kubelets reads what each kubelet runs with, through the API server. That takes
// the right to get nodes/proxy; without it, nothing is said of kubelets.
func (r *reader) kubelets(ctx context.Context) error {
	var nodes []*inventory.Object
	for _, o := range r.objects {
		if o.Kind == "Node" && o.Group() == "" {
			nodes = append(nodes, o)
		}
	}
	for _, u := range r.unreadable {
		if u.Group == "" && (u.Kind == "Node" || u.Kind == "") {
			r.noKubelet("nodes cannot be listed: " + u.Reason)
			break
		}
	}
	var denied atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opt.Workers)
	for _, n := range nodes {
		g.Go(func() error {
			if denied.Load() {
				return nil
			}
			o, err := r.kubelet(ctx, n)
			r.mu.Lock()
			defer r.mu.Unlock()
			switch {
			case ctx.Err() != nil:
				return ctx.Err() //nolint:wrapcheck // Snapshot says what it was doing
			case forbidden(err):
				if !denied.Swap(true) {
					r.noKubelet(`no permission to read configurations of kubelets (RBAC verb get, resource nodes/proxy, apiGroup "")`)
				}
			case err != nil:
				r.noKubelet("kubelet of node " + n.Name + ": " + shorten(err.Error()))
			default:
				r.objects = append(r.objects, o)
			}
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // Snapshot says what it was doing
}

func (r *reader) noKubelet(reason string) {
	r.unreadable = append(r.unreadable, inventory.Unreadable{Group: kubeletGroup, Kind: kubeletKind, Reason: reason})
}

func (r *reader) kubelet(ctx context.Context, node *inventory.Object) (*inventory.Object, error) {
	if len(validation.IsDNS1123Subdomain(node.Name)) > 0 {
		return nil, errors.New("its name is no name")
	}
	if !ready(node) {
		return nil, errors.New("the node is not ready, so it was not asked") // it would be waited for
	}
	var answer struct {
		Config map[string]json.RawMessage `json:"kubeletconfig"`
	}
	if err := r.getJSON(ctx, "/api/v1/nodes/"+node.Name+"/proxy/configz", &answer); err != nil {
		return nil, err
	}
	if len(answer.Config) == 0 {
		return nil, errors.New("the answer has no kubeletconfig")
	}
	content := answer.Config
	delete(content, "staticPodURLHeader") // may hold a password
	head := map[string]any{"apiVersion": kubeletGroup + "/v1beta1", "kind": kubeletKind, "metadata": map[string]string{"name": node.Name}}
	for field, v := range head {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", field, err)
		}
		content[field] = text
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("write a kubelet's configuration: %w", err)
	}
	return inventory.New(text, nil) //nolint:wrapcheck // it says what it was doing
}
