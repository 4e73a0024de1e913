package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// environment gives the container's variables, NAME=VALUE, the later of two
// winning.
func (c *container) environment(ctx context.Context) ([]string, error) {
	host := c.pod.current().Spec.Hostname
	if host == "" {
		host = c.pod.name
	}
	vars := map[string]string{
		"PATH":                          "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/",
		"HOSTNAME":                      host,
		"KUBERNETES_SERVICE_HOST":       c.pod.k.APIService,
		"KUBERNETES_SERVICE_PORT":       "443",
		"KUBERNETES_SERVICE_PORT_HTTPS": "443",
	}
	for _, from := range c.spec.EnvFrom {
		k, name, optional := configMapKind, "", false
		switch {
		case from.ConfigMapRef != nil:
			name, optional = from.ConfigMapRef.Name, isTrue(from.ConfigMapRef.Optional)
		case from.SecretRef != nil:
			k, name, optional = secretKind, from.SecretRef.Name, isTrue(from.SecretRef.Optional)
		}
		data, err := c.pod.volumes.data(ctx, k, name)
		if err != nil && (!optional || !errors.Is(err, errAbsent)) {
			return nil, err
		}
		for key, b := range data {
			vars[from.Prefix+key] = string(b)
		}
	}
	for _, e := range c.spec.Env {
		if e.ValueFrom == nil {
			vars[e.Name] = expand(e.Value, vars)
			continue
		}
		v, ok, err := c.valueFrom(ctx, e.ValueFrom)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", e.Name, err)
		}
		if ok {
			vars[e.Name] = v
		}
	}
	out := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, name+"="+vars[name])
	}
	return out, nil
}

// valueFrom gives a variable's value from elsewhere; false when it is optional
// and not there.
func (c *container) valueFrom(ctx context.Context, s *corev1.EnvVarSource) (string, bool, error) {
	key := func(k kind, name, key string, optional bool) (string, bool, error) {
		data, err := c.pod.volumes.data(ctx, k, name)
		if err != nil && !errors.Is(err, errAbsent) {
			return "", false, err
		}
		b, ok := data[key]
		switch {
		case ok:
			return string(b), true, nil
		case optional:
			return "", false, nil
		case err != nil:
			return "", false, err
		default:
			return "", false, fmt.Errorf("%s %s/%s has no key %q", k, c.pod.namespace, name, key)
		}
	}
	switch {
	case s.FieldRef != nil:
		v, err := c.pod.field(s.FieldRef.FieldPath)
		return v, err == nil, err
	case s.ResourceFieldRef != nil:
		from := c.spec
		if name := s.ResourceFieldRef.ContainerName; name != "" {
			other, err := c.pod.container(name)
			if err != nil {
				return "", false, err
			}
			from = other.spec
		}
		return resourceField(from, s.ResourceFieldRef), true, nil
	case s.ConfigMapKeyRef != nil:
		r := s.ConfigMapKeyRef
		return key(configMapKind, r.Name, r.Key, isTrue(r.Optional))
	case s.SecretKeyRef != nil:
		r := s.SecretKeyRef
		return key(secretKind, r.Name, r.Key, isTrue(r.Optional))
	default:
		return "", false, errors.New("this source of a value is not supported")
	}
}

// field gives the value of one of the pod's own fields.
func (r *pod) field(path string) (string, error) {
	p := r.current()
	if name, ok := cutField(path, "metadata.labels['"); ok {
		return p.Labels[name], nil
	}
	if name, ok := cutField(path, "metadata.annotations['"); ok {
		return p.Annotations[name], nil
	}
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "metadata.labels":
		return pairs(p.Labels), nil
	case "metadata.annotations":
		return pairs(p.Annotations), nil
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return r.address().String(), nil
	case "status.hostIP", "status.hostIPs":
		return r.k.NodeIP, nil
	default:
		return "", fmt.Errorf("field %q is not supported", path)
	}
}

func cutField(path, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// pairs writes a map the way the downward API does.
func pairs(m map[string]string) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(k + "=" + strconv.Quote(m[k]))
	}
	return b.String()
}

// resourceField gives a container's limit or request; what is not said is the
// node's capacity for a limit, as the kubelet does it, and zero for a request.
// Nothing enforces either.
func resourceField(c *corev1.Container, s *corev1.ResourceFieldSelector) string {
	which, name, _ := strings.Cut(s.Resource, ".")
	list := c.Resources.Limits
	if which == "requests" {
		list = c.Resources.Requests
	}
	q, ok := list[corev1.ResourceName(name)]
	if !ok && which == "limits" {
		q = capacity()[corev1.ResourceName(name)]
	}
	divisor := s.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt((q.MilliValue()+divisor.MilliValue()-1)/divisor.MilliValue(), 10)
	}
	return strconv.FormatInt((q.Value()+divisor.Value()-1)/divisor.Value(), 10)
}
