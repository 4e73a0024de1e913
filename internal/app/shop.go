package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/examples/shop"
	"bulwark.dev/bulwark/examples/shop/idp"
)

// Where the example's parts listen; examples/shop/*.yaml names the same.
const (
	shopAddress = "127.0.0.1:9090"
	idpAddress  = "127.0.0.1:9091"
	idpIssuer   = "http://" + idpAddress
)

// shopTour is printed when the example runs.
const shopTour = `
The example shop is up. Rita reads, Walt reads and writes, Ada administers. Try:

  # 1. no token → 401
  curl -i http://127.0.0.1:8080/orders
  # 2. a reader's token → 200
  curl -i -H "Authorization: Bearer $(curl -s '127.0.0.1:9091/token?user=rita')" http://127.0.0.1:8080/orders
  # 3. a writer out of role → 403
  curl -i -H "Authorization: Bearer $(curl -s '127.0.0.1:9091/token?user=walt')" http://127.0.0.1:8080/admin/stats
  # 4. 30 quick calls: /orders ends in 429, /reports waits in the fair queue and gives delayed 200s
  curl -s -o /dev/null -w '%{http_code} %{time_total}s\n' -H "Authorization: Bearer $(curl -s '127.0.0.1:9091/token?user=rita')" 'http://127.0.0.1:8080/{orders,reports}?call=[1-30]'
  # 5. an API key → 200
  curl -i -H 'X-API-Key: shop-demo-key-please-change' http://127.0.0.1:8080/orders

Ctrl-C drains and ends.
`

// writeShop writes the example's objects to dir, unless it holds some already:
// what a person changed there stays.
func writeShop(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	present, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	if len(present) > 0 {
		return nil
	}
	names, err := fs.Glob(shop.Files, "*.yaml")
	if err != nil {
		return fmt.Errorf("write example: %w", err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(shop.Files, name)
		if err != nil {
			return fmt.Errorf("write example: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return fmt.Errorf("write example: %w", err)
		}
	}
	return nil
}

// startShop runs the shop API and its identity provider on loopback.
func startShop(ctx context.Context, env *Env, log *slog.Logger) (stop func(context.Context) error, err error) {
	provider, err := idp.New(idpIssuer, rand.Reader, env.Now)
	if err != nil {
		return nil, fmt.Errorf("start example: %w", err)
	}
	var running stack
	for _, part := range []struct {
		name, address string
		handler       http.Handler
	}{
		{"identity provider", idpAddress, provider},
		{"shop API", shopAddress, shop.NewAPI(env.Now)},
	} {
		stop, err := startHTTP(ctx, log, part.address, part.handler)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start example %s: %w", part.name, err), running.stop(ctx))
		}
		running.push(stop)
	}
	return running.stop, nil
}
