package kubelet

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// writeStatus writes the pod's status after every change until ctx ends, again
// and again while the API server is away.
func (r *pod) writeStatus(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.report:
		}
		for !r.tryWrite(ctx) && ctx.Err() == nil {
			pause(ctx, retryPause)
		}
	}
}

// writeOnce writes the last status, before the pod leaves the API.
func (r *pod) writeOnce(ctx context.Context) {
	for !r.tryWrite(ctx) && ctx.Err() == nil {
		pause(ctx, retryPause)
	}
}

// tryWrite patches the status; true when there is nothing to try again.
func (r *pod) tryWrite(ctx context.Context) bool {
	r.mu.Lock()
	status := r.statusNow()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": r.uid}, "status": status})
	same := bytes.Equal(body, r.written)
	r.mu.Unlock()
	if err != nil {
		r.log(ctx, slog.LevelError, "status", err)
		return true
	}
	if same {
		return true
	}
	_, err = r.k.Client.CoreV1().Pods(r.namespace).Patch(ctx, r.name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	switch {
	case err == nil:
		r.mu.Lock()
		r.written = body
		r.mu.Unlock()
		return true
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or another pod of that name
		return true
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		r.log(ctx, slog.LevelError, "status refused", err)
		return true
	default:
		r.log(ctx, slog.LevelDebug, "status", err)
		return false
	}
}

// statusNow computes the status. The caller holds the lock.
func (r *pod) statusNow() corev1.PodStatus {
	now := metav1.NewTime(r.k.Now())
	if r.started.IsZero() {
		r.started = now
	}
	s := corev1.PodStatus{
		HostIP: r.k.NodeIP, HostIPs: []corev1.HostIP{{IP: r.k.NodeIP}},
		StartTime: &r.started, ObservedGeneration: r.spec.Generation,
	}
	if r.ip.IsValid() {
		s.PodIP, s.PodIPs = r.ip.String(), []corev1.PodIP{{IP: r.ip.String()}}
	}
	for _, c := range r.init {
		s.InitContainerStatuses = append(s.InitContainerStatuses, c.status())
	}
	ready := r.initDone
	var notReady []string
	for _, c := range r.containers {
		cs := c.status()
		s.ContainerStatuses = append(s.ContainerStatuses, cs)
		if !cs.Ready {
			ready = false
			notReady = append(notReady, cs.Name)
		}
	}
	s.Phase = r.phase()
	if r.problem != "" {
		s.Reason, s.Message = "SandboxError", r.problem
	}
	gates := true
	for _, g := range r.spec.Spec.ReadinessGates {
		gates = gates && conditionOf(r.spec, g.ConditionType).Status == corev1.ConditionTrue
	}
	for _, c := range []struct {
		t  corev1.PodConditionType
		ok bool
	}{
		{corev1.PodReadyToStartContainers, r.ip.IsValid()},
		{corev1.PodInitialized, r.initDone},
		{corev1.ContainersReady, ready},
		{corev1.PodReady, ready && gates},
	} {
		s.Conditions = append(s.Conditions, r.condition(c.t, c.ok, notReady, now))
	}
	return s
}

// condition gives a condition that keeps its time while its status stays.
func (r *pod) condition(t corev1.PodConditionType, ok bool, notReady []string, now metav1.Time) corev1.PodCondition {
	c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, LastTransitionTime: now, ObservedGeneration: r.spec.Generation}
	switch {
	case ok:
		c.Status = corev1.ConditionTrue
	case r.phase() == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case t == corev1.PodReady || t == corev1.ContainersReady:
		c.Reason, c.Message = "ContainersNotReady", "not ready: "+strings.Join(notReady, ", ")
	}
	if r.conditions == nil {
		r.conditions = map[corev1.PodConditionType]corev1.PodCondition{}
	}
	if before, ok := r.conditions[t]; ok && before.Status == c.Status {
		c.LastTransitionTime = before.LastTransitionTime
	}
	r.conditions[t] = c
	return c
}

// phase sums the containers up. The caller holds the lock.
func (r *pod) phase() corev1.PodPhase {
	for _, c := range r.init {
		if !c.sidecar() && c.over && (c.last == nil || c.last.ExitCode != 0) && !r.initDone {
			return corev1.PodFailed
		}
	}
	if !r.initDone {
		return corev1.PodPending
	}
	over, failed, ran := 0, 0, 0
	for _, c := range r.containers {
		if c.task != nil || c.last != nil {
			ran++
		}
		if c.over {
			over++
			if c.last == nil || c.last.ExitCode != 0 {
				failed++
			}
		}
	}
	switch {
	case over == len(r.containers) && failed > 0:
		return corev1.PodFailed
	case over == len(r.containers):
		return corev1.PodSucceeded
	case ran > 0:
		return corev1.PodRunning
	default:
		return corev1.PodPending
	}
}

func conditionOf(p *corev1.Pod, t corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c
		}
	}
	return corev1.PodCondition{}
}
