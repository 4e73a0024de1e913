package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"bulwark.dev/bulwark/test/control/netns"
)

const apiPort = 6443

const metadataPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// apiserverFlags gives kube-apiserver's command line; the caller's own flags
// come last, and win.
func (c *config) apiserverFlags() ([]string, error) {
	p := func(file string) string { return filepath.Join(c.pki(), file) }
	flags := []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", "--secure-port=" + strconv.Itoa(apiPort), "--advertise-address=" + netns.NodeIP,
		"--tls-cert-file=" + p("apiserver.crt"), "--tls-private-key-file=" + p("apiserver.key"),
		"--client-ca-file=" + p("ca.crt"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p("sa.pub"), "--service-account-signing-key-file=" + p("sa.key"),
		"--service-cluster-ip-range=" + netns.ServiceCIDR,
		"--requestheader-client-ca-file=" + p("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p("front-proxy-client.crt"), "--proxy-client-key-file=" + p("front-proxy-client.key"),
		"--kubelet-certificate-authority=" + p("ca.crt"),
		"--kubelet-client-certificate=" + p("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + p("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true",
		"--profiling=false",
	}
	policy := c.AuditPolicy
	if policy == "" && (c.Audit || c.AuditWebhook != "") {
		policy = filepath.Join(c.DataDir, "audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(metadataPolicy), 0o600); err != nil {
			return nil, fmt.Errorf("audit policy: %w", err)
		}
	}
	for _, f := range []struct{ name, value string }{
		{"--audit-policy-file=", policy},
		{"--audit-webhook-config-file=", c.AuditWebhook},
		{"--encryption-provider-config=", c.Encryption},
		{"--authentication-config=", c.Authentication},
	} {
		if f.value != "" {
			flags = append(flags, f.name+f.value)
		}
	}
	if c.Audit {
		flags = append(flags, "--audit-log-path="+filepath.Join(c.DataDir, "audit.log"))
	}
	return append(flags, c.APIServerArgs...), nil
}

// managerFlags gives kube-controller-manager's command line, or nil without it.
func (c *config) managerFlags() []string {
	if !c.has(partManager) {
		return nil
	}
	p := func(file string) string { return filepath.Join(c.pki(), file) }
	return append([]string{
		"--kubeconfig=" + p("controllers.kubeconfig"),
		"--leader-elect=false", "--secure-port=0",
		"--service-account-private-key-file=" + p("sa.key"), "--root-ca-file=" + p("ca.crt"),
		"--cluster-signing-cert-file=" + p("ca.crt"), "--cluster-signing-key-file=" + p("ca.key"),
		// Else each controller fetches a token of its own first: the first Deployment takes 6 s.
		"--use-service-account-credentials=false",
		"--cluster-cidr=" + netns.PodRange, "--allocate-node-cidrs=false",
		"--kube-api-qps=200", "--kube-api-burst=400",
	}, c.ManagerArgs...)
}

// schedulerFlags gives kube-scheduler's command line, or nil without it.
func (c *config) schedulerFlags() []string {
	if !c.has(partScheduler) {
		return nil
	}
	return []string{
		"--kubeconfig=" + filepath.Join(c.pki(), "scheduler.kubeconfig"),
		"--leader-elect=false", "--secure-port=0",
	}
}
