package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"bulwark.dev/bulwark/test/audit/trailtest"
	"bulwark.dev/bulwark/test/controltest"
)

func TestMain(m *testing.M) {
	os.Exit(trailtest.Main(m, trailtest.Cluster{Policy: auditPolicy, Webhook: listen, Users: people()}))
}

// listen is where the API server finds Bulwark.
const listen = "127.0.0.1:9443"

// users have a token each, which is their name and "-token".
const users = `alice-token,alice,u-alice,"developers"
ops-token,ops,u-ops,"operators"
mallory-token,mallory,u-mallory,"developers"
ci-bot-token,ci-bot,u-ci-bot,"robots"
eve-token,eve,u-eve,"guests"
`

// people are users and the intruders of the script.
func people() string {
	text := users
	for i := range 30 {
		text += fmt.Sprintf("%[1]s-token,%[1]s,u-%[1]s,intruders\n", intruder(i))
	}
	return text
}

// auditPolicy records everything that rules look at, with bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: RequestResponse}]
`

// serve runs "bulwark serve audit" until the test ends, and gives its data.
func serve(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "trail")
	trailtest.Start(t, append(trailtest.ServeFlags(data, listen), "--cluster", "test")...)
	controltest.Until(t, "the trail", func() error {
		_, err := os.Stat(filepath.Join(data, "log"))
		return err
	})
	return data
}
