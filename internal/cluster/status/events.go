package status

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// eventQueue is how many Events wait; more are dropped and counted.
	eventQueue = 256
	// eventBurst is how many Events may come at once.
	eventBurst = 100
	// repeat is how long an Event is not told again, so that a condition which
	// goes back and forth does not fill the API server.
	repeat = 5 * time.Minute
	// maxTold bounds the memory of Events told; with more they may repeat.
	maxTold = 4096
	// maxNote is the API's limit, in bytes.
	maxNote = 1024
)

// told names an Event that was told.
type told struct {
	ref                   ref
	part, typ, status, as string
}

// recorder tells the Events of objects whose conditions turn bad, or good again.
type recorder struct {
	w     *Writer
	queue chan *eventsv1.Event
	limit flowcontrol.RateLimiter // nil: no Events
	mu    sync.Mutex
	last  map[told]time.Time
	mute  bool // a missing permission was logged
}

func newRecorder(w *Writer) *recorder {
	r := &recorder{w: w, queue: make(chan *eventsv1.Event, eventQueue), last: map[told]time.Time{}}
	if n := w.cfg.EventsPerMinute; n > 0 {
		r.limit = flowcontrol.NewTokenBucketRateLimiter(float32(n)/60, eventBurst)
	}
	return r
}

// changed compares the conditions before and after a write.
func (r *recorder) changed(ctx context.Context, j *job) {
	if r.limit == nil {
		return
	}
	type at struct{ part, typ string }
	before := map[at]metav1.Condition{}
	for _, n := range j.kind.notes(j.merger, j.have) {
		before[at{n.part, n.condition.Type}] = n.condition
	}
	for _, n := range j.kind.notes(j.merger, j.want) {
		old, known := before[at{n.part, n.condition.Type}]
		switch was, is := known && bad(old), bad(n.condition); {
		case is && !was:
			r.tell(ctx, j, n, corev1.EventTypeWarning)
		case was && !is && n.condition.Status != metav1.ConditionUnknown:
			r.tell(ctx, j, n, corev1.EventTypeNormal)
		}
	}
}

// tell queues one Event, unless it was told lately or there are too many.
func (r *recorder) tell(ctx context.Context, j *job, n note, typ string) {
	now := r.w.cfg.Now()
	c := n.condition
	key := told{j.ref, n.part, c.Type, string(c.Status), c.Reason}
	r.mu.Lock()
	at, known := r.last[key]
	fresh := known && now.Sub(at) < repeat
	if !fresh && len(r.last) >= maxTold {
		clear(r.last)
	}
	if !fresh {
		r.last[key] = now
	}
	r.mu.Unlock()
	if fresh || !r.limit.TryAccept() {
		r.w.meters.events.WithLabelValues("suppressed").Inc()
		return
	}
	text := c.Type + "=" + string(c.Status)
	if n.part != "" {
		text += " (" + n.part + ")"
	}
	if c.Message != "" {
		text += ": " + c.Message
	}
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "")
	}
	e := &eventsv1.Event{
		TypeMeta: metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{
			// As client-go names Events: the object and the time.
			Name:      fmt.Sprintf("%.200s.%x", j.ref.name, now.UnixNano()+int64(len(r.queue))),
			Namespace: cmp.Or(j.ref.namespace, metav1.NamespaceDefault),
		},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: string(r.w.cfg.ControllerName),
		ReportingInstance:   cmp.Or(r.w.cfg.Instance, "bulwark"),
		Action:              "UpdateStatus",
		Reason:              cmp.Or(c.Reason, c.Type),
		Type:                typ,
		Note:                text,
		Regarding: corev1.ObjectReference{
			APIVersion: j.kind.group + "/" + j.kind.version, Kind: j.kind.name,
			Namespace: j.ref.namespace, Name: j.ref.name, UID: j.uid, ResourceVersion: j.stored.resourceVersion,
		},
	}
	select {
	case r.queue <- e:
	case <-ctx.Done():
	default:
		r.w.meters.events.WithLabelValues("dropped").Inc()
	}
}

// run writes the queued Events until ctx ends. An Event that fails is not tried
// again: the condition says the same.
func (r *recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.queue:
			err := r.w.client.Post().AbsPath("/apis", "events.k8s.io", "v1", "namespaces", e.Namespace, "events").
				Body(e).Do(ctx).Error()
			r.done(ctx, err)
		}
	}
}

func (r *recorder) done(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		r.w.meters.events.WithLabelValues("written").Inc()
		r.mute = false
		return
	}
	r.w.meters.events.WithLabelValues("failed").Inc()
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return // refused whoever asks
	}
	if !apierrors.IsForbidden(err) || !r.mute {
		r.w.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "an Event was not written", slog.Any("error", err))
	}
	r.mute = apierrors.IsForbidden(err)
}
