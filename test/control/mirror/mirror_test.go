package mirror

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for !ok() {
		if t.Context().Err() != nil {
			t.Fatal("gave up")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestObjectsFollowTheAPI(t *testing.T) {
	t.Parallel()
	secret := func(name, v string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Data: map[string][]byte{"k": []byte(v)}}
	}
	client := fake.NewClientset(secret("a", "1"))
	var away atomic.Bool
	away.Store(true)
	client.PrependReactor("list", "secrets", func(ktesting.Action) (bool, runtime.Object, error) {
		return away.Load(), nil, errors.New("away")
	})
	var changes atomic.Int32
	c := client.CoreV1().Secrets("")
	o := Start[*corev1.Secret](t.Context(), Source[*corev1.SecretList]{Client: client, List: c.List, Watch: c.Watch}, func() { changes.Add(1) })
	defer o.Stop()
	if _, ok := o.Get("n", "a"); ok || o.Synced() {
		t.Error("an object of an API server that is away")
	}
	away.Store(false)
	until(t, o.Synced)
	if s, ok := o.Get("n", "a"); !ok || string(s.Data["k"]) != "1" {
		t.Errorf("a is %v, %t", s, ok)
	}
	edit := client.CoreV1().Secrets("n")
	for _, step := range []struct {
		do   func(context.Context) error
		want func() bool
	}{
		{func(ctx context.Context) error {
			_, err := edit.Create(ctx, secret("b", "2"), metav1.CreateOptions{})
			return err
		}, func() bool { return len(o.All()) == 2 }},
		{func(ctx context.Context) error {
			_, err := edit.Update(ctx, secret("a", "3"), metav1.UpdateOptions{})
			return err
		}, func() bool { s, ok := o.Get("n", "a"); return ok && string(s.Data["k"]) == "3" }},
		{func(ctx context.Context) error { return edit.Delete(ctx, "a", metav1.DeleteOptions{}) }, func() bool { _, ok := o.Get("n", "a"); return !ok }},
	} {
		before := changes.Load()
		if err := step.do(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, step.want)
		until(t, func() bool { return changes.Load() > before })
	}
}
