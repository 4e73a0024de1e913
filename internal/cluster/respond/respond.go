// Package respond writes to a cluster what a response to an alert asks for: single
// objects, by their uid and version, after a dry run. What is written, and whether it may
// be, is for the caller to decide.
package respond

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// FieldManager is who the API server notes as the writer.
const FieldManager = "bulwark-respond"

const (
	// requestTimeout is how long the API server may take for one request.
	requestTimeout = 15 * time.Second
	// pageSize and maxListed bound a list.
	pageSize  = 500
	maxListed = 50_000
)

// Client writes to one cluster. Its errors are the API server's own, wrapped.
type Client struct {
	objects dynamic.Interface
	typed   kubernetes.Interface
}

// New makes a client. It does not reach the API server yet.
func New(cfg *rest.Config) (*Client, error) {
	if cfg == nil {
		return nil, errors.New("respond: the API server is not named")
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = requestTimeout
	// A measure is a handful of requests, and should not wait for each other.
	cfg.QPS, cfg.Burst = 50, 100
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("respond: client: %w", err)
	}
	return newFor(cfg, client)
}

func newFor(cfg *rest.Config, client *http.Client) (*Client, error) {
	objects, err := dynamic.NewForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("respond: client: %w", err)
	}
	typed, err := kubernetes.NewForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("respond: client: %w", err)
	}
	return &Client{objects: objects, typed: typed}, nil
}

func (c *Client) of(apiVersion, resource, namespace string) (dynamic.ResourceInterface, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil || gv.Version == "" || resource == "" {
		return nil, fmt.Errorf("%s of %q is no resource", resource, apiVersion)
	}
	if all := c.objects.Resource(gv.WithResource(resource)); namespace == "" {
		return all, nil
	}
	return c.objects.Resource(gv.WithResource(resource)).Namespace(namespace), nil
}

func dry(dryRun bool) []string {
	if dryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, apiVersion, resource, namespace, name string) (*unstructured.Unstructured, error) {
	r, err := c.of(apiVersion, resource, namespace)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, name, metav1.GetOptions{}) //nolint:wrapcheck // the caller says what it wanted
}

// List reads all objects of a kind, in one namespace or, with "", in all.
func (c *Client) List(ctx context.Context, apiVersion, resource, namespace string) ([]unstructured.Unstructured, error) {
	r, err := c.of(apiVersion, resource, namespace)
	if err != nil {
		return nil, err
	}
	var out []unstructured.Unstructured
	for opts := (metav1.ListOptions{Limit: pageSize}); ; {
		page, err := r.List(ctx, opts)
		if err != nil {
			return nil, err //nolint:wrapcheck // the caller says what it wanted
		}
		out = append(out, page.Items...)
		if opts.Continue = page.GetContinue(); opts.Continue == "" {
			return out, nil
		}
		if len(out) > maxListed {
			return nil, fmt.Errorf("more than %d %s", maxListed, resource)
		}
	}
}

// Create makes an object; with dryRun the API server only says what it would make.
func (c *Client) Create(ctx context.Context, resource string, object *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	r, err := c.of(object.GetAPIVersion(), resource, object.GetNamespace())
	if err != nil {
		return nil, err
	}
	return r.Create(ctx, object, metav1.CreateOptions{DryRun: dry(dryRun), FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict}) //nolint:wrapcheck // likewise
}

// Patch applies a JSON merge patch.
func (c *Client) Patch(ctx context.Context, apiVersion, resource, namespace, name string, patch []byte, dryRun bool) (*unstructured.Unstructured, error) {
	r, err := c.of(apiVersion, resource, namespace)
	if err != nil {
		return nil, err
	}
	return r.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: dry(dryRun), FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict}) //nolint:wrapcheck // likewise
}

// Delete deletes the object of a uid and no other of its name; an empty uid is for a dry
// run only.
func (c *Client) Delete(ctx context.Context, apiVersion, resource, namespace, name, uid string, dryRun bool) error {
	r, err := c.of(apiVersion, resource, namespace)
	if err != nil {
		return err
	}
	opts := metav1.DeleteOptions{DryRun: dry(dryRun)}
	switch {
	case uid != "":
		opts.Preconditions = metav1.NewUIDPreconditions(uid)
	case !dryRun:
		return errors.New("delete: the uid of the object is not named")
	}
	return r.Delete(ctx, name, opts) //nolint:wrapcheck // likewise
}

// Self is the user name that the API server knows this client by.
func (c *Client) Self(ctx context.Context) (string, error) {
	review, err := c.typed.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", err //nolint:wrapcheck // likewise
	}
	if review.Status.UserInfo.Username == "" {
		return "", errors.New("the API server gave no name")
	}
	return review.Status.UserInfo.Username, nil
}
