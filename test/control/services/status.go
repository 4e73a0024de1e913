package services

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// writeStatus makes the Service's status say the address it was given, and an
// Event say why it has none. A Service that is not ours is left alone, but for
// an address of our pool that it kept.
func (p *proxy) writeStatus(ctx context.Context, s *corev1.Service, ip netip.Addr, refused string) error {
	if refused != "" {
		if err := p.event(ctx, s, refused); err != nil {
			return err
		}
	}
	had := current(s)
	if had == ip || !ip.IsValid() && !p.pool.Contains(had) {
		return nil
	}
	ingress := []corev1.LoadBalancerIngress{}
	if ip.IsValid() {
		mode := corev1.LoadBalancerIPModeVIP
		ingress = append(ingress, corev1.LoadBalancerIngress{IP: ip.String(), IPMode: &mode})
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": s.UID},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": ingress}},
	})
	if err != nil {
		return fmt.Errorf("status of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	_, err = p.Client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	// Gone, or another by the same name: its own event comes.
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("status of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}

// event tells the Service's owner, once, why it has no address.
func (p *proxy) event(ctx context.Context, s *corev1.Service, why string) error {
	id := string(s.UID) + why
	if p.told[id] {
		return nil
	}
	now := metav1.NewTime(p.Now())
	_, err := p.Client.CoreV1().Events(s.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: s.Name + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Service", Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion,
		},
		Type: corev1.EventTypeWarning, Reason: "AddressNotAvailable", Message: why,
		Source: corev1.EventSource{Component: "control-load-balancer"}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return fmt.Errorf("event of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	p.told[id] = true
	return nil
}
