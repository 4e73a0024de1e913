package app

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/respond"
)

// notifyFlags say who is told of alerts.
type notifyFlags struct {
	alertmanager string
	slack        string
	syslog       string
	cloudEvents  string
	least        string
}

func (f *notifyFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.alertmanager, "alertmanager", "", "base URL of an Alertmanager that is told of alerts")
	fl.StringVar(&f.slack, "slack-webhook-file", "", "file with the URL of an incoming webhook (Slack, Mattermost) that is told of alerts")
	fl.StringVar(&f.syslog, "syslog", "", "syslog server that is told of alerts: udp://HOST:PORT, tcp:// or tls://")
	fl.StringVar(&f.cloudEvents, "cloudevents", "", "URL that is sent alerts as CloudEvents")
	fl.StringVar(&f.least, "notify-severity", "medium", "tell others only of alerts of this severity or above")
}

// How long a receiver may take, and how long Alertmanager holds an alert.
const (
	receiverTimeout  = 15 * time.Second
	alertmanagerHold = time.Hour
)

// receivers makes who is told, by name. The names are those of the files in which it is
// kept how far each was told.
func (f *notifyFlags) receivers() (map[string]respond.Receiver, error) {
	out := map[string]respond.Receiver{}
	client := respond.Client(http.DefaultTransport, receiverTimeout)
	var err error
	if f.alertmanager != "" {
		if out["alertmanager"], err = respond.NewAlertmanager(client, f.alertmanager, nil, alertmanagerHold); err != nil {
			return nil, fmt.Errorf("--alertmanager: %w", err)
		}
	}
	if f.slack != "" {
		text, err := os.ReadFile(f.slack)
		if err != nil {
			return nil, fmt.Errorf("--slack-webhook-file: %w", err)
		}
		if out["slack"], err = respond.NewSlack(client, string(trimLine(text))); err != nil {
			return nil, fmt.Errorf("--slack-webhook-file: %w", err)
		}
	}
	if f.syslog != "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("--syslog: this machine's name: %w", err)
		}
		if out["syslog"], err = respond.NewSyslog(f.syslog, host, &tls.Config{MinVersion: tls.VersionTLS12}); err != nil {
			return nil, fmt.Errorf("--syslog: %w", err)
		}
	}
	if f.cloudEvents != "" {
		if out["cloudevents"], err = respond.NewCloudEvents(client, f.cloudEvents, nil, "/bulwark/audit"); err != nil {
			return nil, fmt.Errorf("--cloudevents: %w", err)
		}
	}
	return out, nil
}

// notify tells one receiver of alerts until ctx ends.
func (t *trail) notify(ctx context.Context, name string, to respond.Receiver, least bulwark.Severity, logger *slog.Logger) error {
	place := placeFile(filepath.Join(t.dir, "detect", "told-"+name))
	if _, err := os.Stat(string(place)); errors.Is(err, fs.ErrNotExist) {
		// Who is told for the first time hears of what happens from now on. A place of 0 is
		// one too: that of a receiver of a new trail, who may be away.
		if err := place.Save(t.log.Last()); err != nil {
			return err
		}
	}
	d := respond.Delivery{
		Name: name, Source: &alertSource{log: t.log, least: least}, Receiver: to, Place: place, Log: logger,
		Wait: pause,
		Failed: func(_ *respond.Alert, givenUp bool, _ error) {
			if t.undelivered != nil {
				t.undelivered(name, givenUp)
			}
		},
	}
	return d.Run(ctx) //nolint:wrapcheck // it says what it was doing
}

// alertSource gives the alerts of a log in their order.
type alertSource struct {
	log   *log.Log
	least bulwark.Severity
	next  uint64
}

var errFound = errors.New("found")

// Next gives the first alert after a number, and waits for one.
func (s *alertSource) Next(ctx context.Context, after uint64) (*respond.Alert, error) {
	s.next = max(s.next, after+1)
	for {
		changed := s.log.Changed()
		var out *respond.Alert
		err := s.log.Events(ctx, s.next, func(e *audit.Event) error {
			s.next = e.Seq + 1
			if e.Kind != audit.KindAlert {
				return nil
			}
			a, err := detect.AlertOf(e)
			if err != nil {
				return fmt.Errorf("read an alert: %w", err)
			}
			if a.Severity < s.least {
				return nil
			}
			out = &respond.Alert{
				ID: a.ID, Seq: e.Seq, Rule: a.Rule, Title: a.Title, Severity: a.Severity, Time: a.Time, Cluster: a.Fields["cluster"],
				Actor: a.Actor, Summary: a.Summary, Evidence: a.Evidence, Tags: a.Tags,
			}
			return errFound
		})
		switch {
		case errors.Is(err, errFound):
			return out, nil
		case err != nil:
			return nil, err //nolint:wrapcheck // it says what it was doing
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // the caller looks at it
		case <-changed:
		}
	}
}

// placeFile keeps how far a receiver was told.
type placeFile string

// Load reads the number, or 0.
func (f placeFile) Load() (uint64, error) {
	raw, err := os.ReadFile(string(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read how far a receiver was told: %w", err)
	case len(raw) != 8:
		return 0, fmt.Errorf("read how far a receiver was told: %s has %d bytes, not 8; remove it to begin with what comes", f, len(raw))
	}
	return binary.BigEndian.Uint64(raw), nil
}

// Save writes the number; it is on the disk when Save returns.
func (f placeFile) Save(seq uint64) error {
	return proof.WriteFile(string(f), binary.BigEndian.AppendUint64(nil, seq), 0o600) //nolint:wrapcheck // it says what it was doing
}
