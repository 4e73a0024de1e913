package respond

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Alertmanager tells Prometheus' Alertmanager, by its API v2.
type Alertmanager struct {
	client *http.Client
	to     *url.URL
	header http.Header
	hold   time.Duration
}

// NewAlertmanager makes one for the base URL of an Alertmanager. An alert stays
// active there for hold. The header is sent with each request, such as Authorization.
func NewAlertmanager(client *http.Client, base string, header http.Header, hold time.Duration) (*Alertmanager, error) {
	u, err := address(base)
	if err != nil {
		return nil, fmt.Errorf("Alertmanager: %w", err)
	}
	if hold <= 0 {
		return nil, fmt.Errorf("Alertmanager: an alert is held for %v, want a positive time", hold)
	}
	return &Alertmanager{client, u.JoinPath("api/v2/alerts"), header, hold}, nil
}

// Tell posts one alert.
func (r *Alertmanager) Tell(ctx context.Context, a *Alert) error {
	labels := map[string]string{"alertname": "Bulwark" + camel(a.Rule), "rule": a.Rule, "severity": a.Severity.String(), "source": "bulwark"}
	for name, value := range map[string]string{"actor": a.Actor, "cluster": a.Cluster} {
		if value != "" {
			labels[name] = value
		}
	}
	body, err := json.Marshal([]any{map[string]any{
		"labels":      labels,
		"annotations": map[string]string{"title": a.Title, "summary": a.Summary, "evidence": numbers(a.Evidence), "tags": strings.Join(a.Tags, " "), "id": a.ID},
		"startsAt":    a.Time.UTC().Format(time.RFC3339Nano),
		"endsAt":      a.Time.Add(r.hold).UTC().Format(time.RFC3339Nano),
	}})
	if err != nil {
		return fmt.Errorf("write alert %s: %w", a.ID, err)
	}
	return post(ctx, r.client, r.to, r.header, "application/json", bytes.NewReader(body))
}

// camel turns secrets-list into SecretsList, as names of alerts are written.
func camel(name string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '-' || r == '_' || r == ' ' }) {
		_, n := utf8.DecodeRuneInString(part)
		b.WriteString(strings.ToUpper(part[:n]) + part[n:])
	}
	return b.String()
}

func numbers(seqs []uint64) string {
	texts := make([]string, len(seqs))
	for i, s := range seqs {
		texts[i] = strconv.FormatUint(s, 10)
	}
	return strings.Join(texts, " ")
}

// Slack tells a channel by an incoming webhook of Slack's form, which Mattermost and
// others take too.
type Slack struct {
	client *http.Client
	to     *url.URL
}

// NewSlack makes one for a webhook's URL, which is a secret.
func NewSlack(client *http.Client, webhook string) (*Slack, error) {
	u, err := address(webhook)
	if err != nil {
		return nil, fmt.Errorf("Slack: %w", err)
	}
	return &Slack{client, u}, nil
}

// Tell posts one message.
func (r *Slack) Tell(ctx context.Context, a *Alert) error {
	// What Slack takes for markup or a mention of everybody begins with one of these.
	plain := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", "∗", "`", "ˋ", "@", "＠", "\n", " ", "\r", " ")
	text := fmt.Sprintf("*%s: %s*\n%s", strings.ToUpper(a.Severity.String()), plain.Replace(a.Title), plain.Replace(a.Summary))
	if a.Cluster != "" {
		text += "\nCluster: " + plain.Replace(a.Cluster)
	}
	text += fmt.Sprintf("\nRule %s, evidence: events %s", plain.Replace(a.Rule), numbers(a.Evidence))
	body, err := json.Marshal(map[string]any{"text": text, "unfurl_links": false, "unfurl_media": false})
	if err != nil {
		return fmt.Errorf("write alert %s: %w", a.ID, err)
	}
	return post(ctx, r.client, r.to, nil, "application/json", bytes.NewReader(body))
}

// CloudEvents tells any receiver of CloudEvents 1.0 over HTTP, in structured mode.
type CloudEvents struct {
	client *http.Client
	to     *url.URL
	header http.Header
	source string
}

// NewCloudEvents makes one for a URL. The source is the events' source attribute, a
// URI reference that names this Bulwark.
func NewCloudEvents(client *http.Client, to string, header http.Header, source string) (*CloudEvents, error) {
	u, err := address(to)
	if err != nil {
		return nil, fmt.Errorf("CloudEvents: %w", err)
	}
	if _, err := url.Parse(source); err != nil || source == "" {
		return nil, fmt.Errorf("CloudEvents: source %q is no URI reference", source)
	}
	return &CloudEvents{client, u, header, source}, nil
}

// Tell posts one event.
func (r *CloudEvents) Tell(ctx context.Context, a *Alert) error {
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "type": "dev.bulwark.alert.v1", "source": r.source, "id": a.ID, "subject": a.Rule,
		"time": a.Time.UTC().Format(time.RFC3339Nano), "datacontenttype": "application/json",
		"data": Document(a),
	})
	if err != nil {
		return fmt.Errorf("write alert %s: %w", a.ID, err)
	}
	return post(ctx, r.client, r.to, r.header, "application/cloudevents+json", bytes.NewReader(body))
}

// Document is an alert's JSON form.
func Document(a *Alert) any {
	return struct {
		ID       string    `json:"id"`
		Seq      uint64    `json:"seq"`
		Rule     string    `json:"rule"`
		Title    string    `json:"title"`
		Severity string    `json:"severity"`
		Time     time.Time `json:"time"`
		Cluster  string    `json:"cluster,omitempty"`
		Actor    string    `json:"actor,omitempty"`
		Summary  string    `json:"summary"`
		Evidence []uint64  `json:"evidence"`
		Tags     []string  `json:"tags,omitempty"`
	}{a.ID, a.Seq, a.Rule, a.Title, a.Severity.String(), a.Time.UTC(), a.Cluster, a.Actor, a.Summary, a.Evidence, a.Tags}
}
