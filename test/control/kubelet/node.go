package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	kubeletPort  = 10250
	leaseSeconds = 40
	renewEvery   = 10 * time.Second
)

// capacity is what the node claims to have: enough for whatever a test asks.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("64"),
		corev1.ResourceMemory:           resource.MustParse("256Gi"),
		corev1.ResourcePods:             resource.MustParse("1000"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
}

// register makes or takes over the Node object and says that it is ready.
func (k *kubelet) register(ctx context.Context) error {
	nodes := k.Client.CoreV1().Nodes()
	node, err := nodes.Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: k.Node, Labels: map[string]string{
			corev1.LabelHostname: k.Node, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		}},
		Spec: corev1.NodeSpec{PodCIDR: k.PodRange, PodCIDRs: []string{k.PodRange}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		node, err = nodes.Get(ctx, k.Node, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("register node %s: %w", k.Node, err)
	}
	now := metav1.NewTime(k.Now())
	condition := func(t corev1.NodeConditionType, s corev1.ConditionStatus) corev1.NodeCondition {
		return corev1.NodeCondition{Type: t, Status: s, Reason: "ProcessKubelet", LastHeartbeatTime: now, LastTransitionTime: now}
	}
	node.Status = corev1.NodeStatus{
		Capacity: capacity(), Allocatable: capacity(),
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: k.NodeIP}, {Type: corev1.NodeHostName, Address: k.Node},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
		NodeInfo: corev1.NodeSystemInfo{
			OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, KubeletVersion: "v1.36.3-process",
			ContainerRuntimeVersion: "process://1",
		},
		Conditions: []corev1.NodeCondition{
			condition(corev1.NodeReady, corev1.ConditionTrue),
			condition(corev1.NodeMemoryPressure, corev1.ConditionFalse),
			condition(corev1.NodeDiskPressure, corev1.ConditionFalse),
			condition(corev1.NodePIDPressure, corev1.ConditionFalse),
		},
	}
	for {
		_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			break
		}
		fresh, err := nodes.Get(ctx, k.Node, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("status of node %s: %w", k.Node, err)
		}
		node.ResourceVersion = fresh.ResourceVersion
	}
	if err != nil {
		return fmt.Errorf("status of node %s: %w", k.Node, err)
	}
	return nil
}

// renewLease tells the controllers that the node lives, until ctx ends.
func (k *kubelet) renewLease(ctx context.Context) {
	leases := k.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	for ctx.Err() == nil {
		now := metav1.NewMicroTime(k.Now())
		lease, err := leases.Get(ctx, k.Node, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			holder, seconds := k.Node, int32(leaseSeconds)
			_, err = leases.Create(ctx, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Name: k.Node},
				Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
			}, metav1.CreateOptions{})
		case err == nil:
			lease.Spec.RenewTime = &now
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if err != nil {
			k.Log.LogAttrs(ctx, slog.LevelDebug, "renew node lease", slog.Any("error", err))
			pause(ctx, time.Second)
			continue
		}
		pause(ctx, renewEvery)
	}
}
