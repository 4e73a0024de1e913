package reconcile

import (
	"os"
	"testing"

	"bulwark.dev/bulwark/test/audit/trailtest"
)

func TestMain(m *testing.M) {
	os.Exit(trailtest.Main(m, trailtest.Cluster{Policy: auditPolicy, Webhook: relayed, Users: users}))
}

// The API server sends its events to a relay of the test's, which sends them on. The
// cluster's network is its own, so these ports are free.
const (
	relayed     = "127.0.0.1:9443"
	listen      = "127.0.0.1:9444"
	throughPort = "8080"
)

const users = "gateway-token,gateway,u-gateway\nalice-token,alice,u-alice\n"

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`
