package kubelet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// postStart and preStop run the container's hooks; none is fine.
func (c *container) postStart(ctx context.Context, t *task) error {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.hook(ctx, t, c.spec.Lifecycle.PostStart)
}

func (c *container) preStop(ctx context.Context, t *task) error {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.hook(ctx, t, c.spec.Lifecycle.PreStop)
}

func (c *container) hook(ctx context.Context, t *task, h *corev1.LifecycleHandler) error {
	switch {
	case h == nil:
		return nil
	case h.Exec != nil:
		return c.execHook(ctx, t, h.Exec.Command)
	case h.HTTPGet != nil:
		return c.httpGet(ctx, h.HTTPGet)
	case h.Sleep != nil:
		pause(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		return nil
	default:
		return nil
	}
}

// execHook runs a command in the container for a probe or a hook.
func (c *container) execHook(ctx context.Context, t *task, command []string) error {
	return c.exec(ctx, t, execution{command: command, out: io.Discard, err: io.Discard})
}

// event tells the pod's owner what happened; it is lost when the API server is away.
func (k *kubelet) event(ctx context.Context, r *pod, reason, text string) {
	now := metav1.NewTime(k.Now())
	_, err := k.Client.CoreV1().Events(r.namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: r.name + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: r.namespace, Name: r.name, UID: r.uid,
		},
		Type: corev1.EventTypeWarning, Reason: reason, Message: text,
		Source: corev1.EventSource{Component: "kubelet", Host: k.Node}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		r.log(ctx, slog.LevelDebug, "event "+reason+": "+text, fmt.Errorf("not recorded: %w", err))
	}
}
