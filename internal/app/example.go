package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/examples/shop"
	"bulwark.dev/bulwark/examples/shop/idp"
)

// newExample runs the parts of the shop example one by one, as its pods do.
func newExample(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "example",
		Short: "Run a part of the shop example, to have something to guard",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	part := func(name, short string, handler func(issuer, seed string) (http.Handler, error), issuer bool) *cobra.Command {
		var listen, issuerURL, seed string
		c := &cobra.Command{
			Use: name, Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				h, err := handler(issuerURL, seed)
				if err != nil {
					return badUse(err)
				}
				var f processFlags
				f.logFormat, f.logLevel = "text", "info"
				return runProcess(cmd.Context(), env, &f, time.Second, func(ctx context.Context, log *slog.Logger, running *stack) error {
					stop, err := startHTTP(ctx, log, listen, h)
					if err != nil {
						return badUse(err)
					}
					running.push(stop)
					<-ctx.Done()
					return nil
				})
			},
		}
		c.Flags().StringVar(&listen, "listen", ":8080", "address to listen on")
		if issuer {
			c.Flags().StringVar(&issuerURL, "issuer", idpIssuer, "what tokens name as their issuer")
			c.Flags().StringVar(&seed, "seed", "", "make the signing key from this text, for demonstrations: who knows it can sign (default: a random key)")
		}
		return c
	}
	cmd.AddCommand(
		part("shop", "Run the shop API, which guards nothing by itself", func(string, string) (http.Handler, error) {
			return shop.NewAPI(env.Now), nil
		}, false),
		part("idp", "Run the identity provider, which gives anybody a token", func(issuer, seed string) (http.Handler, error) {
			p, err := idp.New(issuer, rand.Reader, env.Now)
			if seed != "" {
				p, err = idp.NewDemo(issuer, seed, rand.Reader, env.Now)
			}
			if err != nil {
				return nil, fmt.Errorf("make identity provider: %w", err)
			}
			return p, nil
		}, true),
	)
	return cmd
}

// startHTTP serves h on an address until stop.
func startHTTP(ctx context.Context, log *slog.Logger, address string, h http.Handler) (stop func(context.Context) error, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	return func(context.Context) error {
		err := srv.Close()
		if s := <-served; !errors.Is(s, http.ErrServerClosed) {
			err = errors.Join(err, s)
		}
		return err
	}, nil
}
