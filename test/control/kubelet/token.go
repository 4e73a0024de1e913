package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokens are one pod's ServiceAccount tokens: one for each audience and life,
// fetched again when four fifths of the life are over.
type tokens struct {
	mu   sync.Mutex
	held map[tokenKey]token
}

type tokenKey struct {
	audience string
	seconds  int64
}

type token struct {
	text       string
	renew, end time.Time
}

// defaultTokenSeconds is what the API fills in.
const defaultTokenSeconds = 3600

// get gives a token that is not due. When none can be had an old one does, until
// it ends.
func (t *tokens) get(ctx context.Context, r *pod, p *corev1.ServiceAccountTokenProjection) (string, error) {
	k := tokenKey{audience: p.Audience, seconds: defaultTokenSeconds}
	if p.ExpirationSeconds != nil {
		k.seconds = *p.ExpirationSeconds
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := r.k.Now()
	old, held := t.held[k]
	if held && now.Before(old.renew) {
		return old.text, nil
	}
	var audiences []string
	if k.audience != "" {
		audiences = []string{k.audience}
	}
	account := r.current().Spec.ServiceAccountName
	got, err := r.k.Client.CoreV1().ServiceAccounts(r.namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: audiences, ExpirationSeconds: &k.seconds,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: r.name, UID: r.uid},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		if held && now.Before(old.end) {
			r.log(ctx, slog.LevelInfo, "renew token", err)
			old.renew = now.Add(time.Second)
			t.held[k] = old
			return old.text, nil
		}
		return "", fmt.Errorf("token of ServiceAccount %s/%s: %w", r.namespace, account, err)
	}
	end := got.Status.ExpirationTimestamp.Time
	if t.held == nil {
		t.held = map[tokenKey]token{}
	}
	t.held[k] = token{text: got.Status.Token, renew: now.Add(end.Sub(now) * 4 / 5), end: end}
	return got.Status.Token, nil
}

// due gives when the next token is to be fetched; false when there are none.
func (t *tokens) due() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first time.Time
	for _, h := range t.held {
		if first.IsZero() || h.renew.Before(first) {
			first = h.renew
		}
	}
	return first, !first.IsZero()
}
