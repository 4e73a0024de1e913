package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"bulwark.dev/bulwark/internal/cluster"
)

// listTimeout is how long one page of a LIST may take. A server that accepted
// the request and hangs must not hold a kind up for ever.
const listTimeout = 2 * time.Minute

// clients makes requests for every kind over the same connections.
type clients struct {
	config *rest.Config
	http   *http.Client
	codecs runtime.NegotiatedSerializer
	scheme *runtime.Scheme
}

func newClients(config *rest.Config) (*clients, error) {
	if config == nil {
		return nil, errors.New("a connection to an API server is required")
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	c := rest.CopyConfig(config)
	// Watches are long; each LIST has its own limit.
	c.Timeout = 0
	// All requests are lists and watches, which their own backoff paces.
	c.QPS, c.RateLimiter = -1, nil
	c.WarningHandler = rest.NoWarnings{}
	if c.UserAgent == "" {
		c.UserAgent = "bulwark-live"
	}
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return &clients{config: c, http: client, codecs: serializer.NewCodecFactory(scheme).WithoutConversion(), scheme: scheme}, nil
}

// version gives the client of one version of a kind.
func (c *clients) version(k cluster.Kind, version string) (*rest.RESTClient, error) {
	config := rest.CopyConfig(c.config)
	config.GroupVersion = &schema.GroupVersion{Group: k.Group, Version: version}
	config.APIPath = "/apis"
	if k.Group == corev1.GroupName {
		config.APIPath = "/api"
	}
	config.AcceptContentTypes, config.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	if binary(k) {
		config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		config.ContentType = runtime.ContentTypeProtobuf
	}
	config.NegotiatedSerializer = c.codecs
	client, err := rest.RESTClientForConfigAndClient(config, c.http)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", config.GroupVersion, err)
	}
	return client, nil
}

// served gives the versions in which the server has a kind, as its discovery
// documents say.
func (c *clients) served(ctx context.Context, k cluster.Kind) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	client, err := c.version(k, k.Versions[0])
	if err != nil {
		return nil, err
	}
	group := &metav1.APIGroup{}
	if err := get(ctx, client, "/apis/"+k.Group, group); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	var out []string
	for _, v := range group.Versions {
		resources := &metav1.APIResourceList{}
		if err := get(ctx, client, "/apis/"+v.GroupVersion, resources); err != nil {
			return nil, err
		}
		for _, r := range resources.APIResources {
			if r.Name == k.Resource {
				out = append(out, v.Version)
			}
		}
	}
	return out, nil
}

func get(ctx context.Context, client *rest.RESTClient, path string, into runtime.Object) error {
	if err := client.Get().AbsPath(path).Do(ctx).Into(into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// unused are the types of Secrets that no gateway reads, and of which a cluster
// has many: releases of Helm and tokens of ServiceAccounts.
var unused = [...]string{"helm.sh/release.v1", string(corev1.SecretTypeServiceAccountToken)}

// selection gives the field selector of a kind, or "".
func selection(k cluster.Kind) string {
	if k.Name != "Secret" {
		return ""
	}
	terms := make([]fields.Selector, 0, len(unused))
	for _, t := range unused {
		terms = append(terms, fields.OneTermNotEqualSelector("type", t))
	}
	return fields.AndSelectors(terms...).String()
}

// door is one version of a kind at the server, as a reflector wants it.
type door struct {
	client   *rest.RESTClient
	kind     cluster.Kind
	selector string
	codec    runtime.ParameterCodec
	// opened is told that a watch was accepted, refused that a request with a
	// verb of RBAC was not.
	opened  func()
	refused func(verb string)
}

// List is for cache.ListerWatcher; a reflector calls ListWithContext.
func (d *door) List(opt metav1.ListOptions) (runtime.Object, error) {
	return d.ListWithContext(context.Background(), opt)
}

// Watch is for cache.ListerWatcher; a reflector calls WatchWithContext.
func (d *door) Watch(opt metav1.ListOptions) (watch.Interface, error) {
	return d.WatchWithContext(context.Background(), opt)
}

// ListWithContext gets one page.
func (d *door) ListWithContext(ctx context.Context, opt metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	opt.FieldSelector = d.selector
	obj, err := d.client.Get().Resource(d.kind.Resource).VersionedParams(&opt, d.codec).Do(ctx).Get()
	if apierrors.IsForbidden(err) {
		d.refused("list")
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.kind.Resource, err)
	}
	return obj, nil
}

// WatchWithContext begins a watch.
func (d *door) WatchWithContext(ctx context.Context, opt metav1.ListOptions) (watch.Interface, error) {
	opt.FieldSelector, opt.Watch = d.selector, true
	w, err := d.client.Get().Resource(d.kind.Resource).VersionedParams(&opt, d.codec).Watch(ctx)
	switch {
	case err == nil:
		d.opened()
		return w, nil
	case apierrors.IsForbidden(err):
		d.refused("watch")
	case utilnet.IsConnectionRefused(err), apierrors.IsTooManyRequests(err):
		// The reflector would wait and try again, deaf to its context.
		return nil, &opaqueError{err}
	}
	return nil, err //nolint:wrapcheck // the reflector asks for its type
}

// opaqueError hides an error that the reflector would handle by waiting.
type opaqueError struct{ err error }

func (e *opaqueError) Error() string { return "watch: " + e.err.Error() }

// denial says which permission is missing.
func denial(k cluster.Kind, verbs []string) string {
	return fmt.Sprintf("no permission to %s %s (RBAC %s %s, resource %s, apiGroup %q)",
		strings.Join(verbs, " and "), k.Resource, plural(len(verbs)), strings.Join(verbs, " and "), k.Resource, k.Group)
}

func plural(n int) string {
	if n == 1 {
		return "verb"
	}
	return "verbs"
}
