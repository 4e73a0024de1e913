package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/forward"
	"bulwark.dev/bulwark/internal/audit/ingest/webhook"
	"bulwark.dev/bulwark/internal/audit/vault"
	"bulwark.dev/bulwark/internal/gateway/proxy"
	"bulwark.dev/bulwark/internal/ops"
)

// forwardFlags say to which trail a part sends its events.
type forwardFlags struct {
	url         string
	credentials forward.Credentials
	spool       string
	spoolBytes  int64
	spoolKeys   []string
	flush       time.Duration
	// required is of gateways only: nobody else is asked before something happens.
	required bool
}

func (f *forwardFlags) add(fl *pflag.FlagSet, spool string) {
	fl.StringVar(&f.url, "audit-url", "", "webhook of \"bulwark serve audit\" to send events to, https://HOST:PORT[/audit/v1/NAME]; empty: nowhere")
	fl.StringVar(&f.credentials.CAFile, "audit-ca-file", "", "authorities of the trail's certificate (default: the system's)")
	fl.StringVar(&f.credentials.TokenFile, "audit-token-file", "", "file with the token to show the trail; read again after a failure")
	fl.StringVar(&f.credentials.CertFile, "audit-cert-file", "", "client certificate to show the trail in place of a token")
	fl.StringVar(&f.credentials.KeyFile, "audit-key-file", "", "its key")
	fl.StringVar(&f.spool, "audit-spool", "", "folder for events that the trail has not acknowledged ("+spool+")")
	fl.Int64Var(&f.spoolBytes, "audit-spool-bytes", 1<<30, "most bytes of that folder")
	fl.StringArrayVar(&f.spoolKeys, "audit-spool-key-file", nil, "file with a key to encrypt that folder with, made by \"bulwark audit key new\": the first encrypts, all decrypt; may be repeated (default: it is not encrypted)")
	fl.DurationVar(&f.flush, "audit-flush", 5*time.Second, "how long the trail may take for what is left, after everything else has stopped")
}

func (f *forwardFlags) check() error {
	c := f.credentials
	if f.url == "" {
		if c != (forward.Credentials{}) || f.spool != "" || len(f.spoolKeys) > 0 {
			return errors.New("--audit-ca-file, --audit-token-file, --audit-cert-file, --audit-key-file, --audit-spool and --audit-spool-key-file go with --audit-url")
		}
		return nil
	}
	u, err := url.Parse(f.url)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return errors.New("--audit-url: expected https://HOST:PORT[/audit/v1/NAME]")
	case (c.TokenFile == "") == (c.CertFile == "") || (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("--audit-url: give --audit-token-file, or --audit-cert-file and --audit-key-file")
	case f.spoolBytes <= 0 || f.flush < 0:
		return errors.New("--audit-spool-bytes and --audit-flush: expected positive values")
	case f.spool == "":
		return errors.New("--audit-spool is required: a folder for events that the trail has not acknowledged")
	}
	return nil
}

// forwarding is a part's way to the trail. The zero forwarding leads nowhere.
type forwarding struct{ sender *forward.Sender }

// start makes the way to the trail, and gives the log whose lines from level info on
// go there too. It ends after all that is started behind it.
func (f *forwardFlags) start(env *Env, log *slog.Logger, part string, running *stack) (forwarding, *slog.Logger, error) {
	if f.url == "" {
		return forwarding{}, log, nil
	}
	target, err := url.Parse(f.url)
	if err != nil {
		return forwarding{}, nil, badUse(errors.New("--audit-url: expected https://HOST:PORT[/audit/v1/NAME]"))
	}
	if target.Path == "" || target.Path == "/" {
		target.Path = webhook.Path + "/" + part
	}
	keys, err := vault.ReadKeys(f.spoolKeys...)
	if err != nil {
		return forwarding{}, nil, badUse(fmt.Errorf("--audit-spool-key-file: %w", err))
	}
	sender, err := forward.New(forward.Config{
		URL: target.String(), Credentials: f.credentials, Part: part, Instance: instance(), Dir: f.spool, SpoolBytes: f.spoolBytes,
		Keys: keys, Salts: rand.Reader, Log: log, Now: env.Now, Random: env.Random,
	})
	if err != nil {
		return forwarding{}, nil, badUse(fmt.Errorf("--audit-url: %w", err))
	}
	fields, _ := json.Marshal(map[string]string{"version": version()}) //nolint:errchkjson // texts
	sender.Tell(forward.Notice{Action: "start", Message: "the " + part + " started", Fields: fields})
	running.push(func(ctx context.Context) error {
		// Whatever the others took of their time, this gets its own.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.flush)
		defer cancel()
		sender.Tell(forward.Notice{Action: "stop", Message: "the " + part + " stopped"})
		return sender.Close(ctx)
	})
	return forwarding{sender}, slog.New(sender.Handler(log.Handler(), slog.LevelInfo)), nil
}

// metrics are what there is to measure, if anything.
func (w forwarding) metrics() []prometheus.Collector {
	if w.sender == nil {
		return nil
	}
	return []prometheus.Collector{w.sender}
}

// errUnrecorded is why a gateway refuses: what it lets in would be nowhere.
var errUnrecorded = errors.New("events can be neither sent to the audit trail nor spooled")

// ready is the check of a part that must not work unrecorded.
func (w forwarding) ready() []ops.Check {
	return []ops.Check{{Name: "audit", Fn: func() error {
		if w.sender.Unable() {
			return errUnrecorded
		}
		return nil
	}}}
}

// both records in two places.
type both struct{ first, second proxy.Recorder }

func (b both) Record(e *bulwark.Event) {
	b.first.Record(e)
	b.second.Record(e)
}

// forwardEvents has a gateway's events sent to the trail, where that is asked for.
func (f *gatewayFlags) forwardEvents(env *Env, log *slog.Logger, running *stack, registry *prometheus.Registry) (rec proxy.Recorder, ready []ops.Check, _ *slog.Logger, err error) {
	way, log, err := f.forward.start(env, log, "gateway", running)
	if err != nil || way.sender == nil {
		return discard{}, nil, log, err
	}
	registry.MustRegister(way.metrics()...)
	if f.forward.required {
		f.unable, ready = way.sender.Unable, way.ready()
	}
	return way.sender, ready, log, nil
}

// forwardFlags adds the flags of sending to those of a gateway.
func (f *gatewayFlags) forwardFlags(fl *pflag.FlagSet) {
	f.forward.add(fl, "default: audit-spool in --data")
	fl.BoolVar(&f.forward.required, "audit-required", true, "refuse requests while their events can be neither sent nor spooled; without it events are dropped then, counted, and the trail is told")
}

func (f *gatewayFlags) forwardCheck() error {
	if f.forward.url != "" && f.forward.spool == "" {
		f.forward.spool = filepath.Join(f.data, "audit-spool")
	}
	err := f.forward.check()
	if f.forward.url != "" && f.events == "none" {
		err = errors.Join(err, errors.New("--audit-url sends nothing with --events none"))
	}
	return err
}
