package e2e

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/test/controltest"
)

// trailAddress is the trail's Service: API servers know no names of the cluster.
const trailAddress = "10.96.0.99"

// trailAccount is the trail's ServiceAccount.
const trailAccount = "system:serviceaccount:" + system + ":bulwark-audit"

// trailValues turn the trail on, over values.
const trailValues = `
audit:
  enabled: true
  certificateSecret: trail-tls
  tokenSecret: trail-tokens
  apiServers: [apiserver]
  clusterIP: ` + trailAddress + `
  extraArgs: ['--seal-age=2s']
  expectServers: [apiserver]
  silence: 10m
  retention: {maxBytes: 10GiB, classes: [{name: reading, search: 'verb=(get,list,watch)', keep: 30d}]}
  reconcile: {ownCredentials: true, grace: 5m}
  encryption: {secret: trail-keys, openingsKey: openings.key}
  respond:
    enabled: true
    actions: [quarantine-pod]
    policy: {expiry: 10m, responses: [{detection: pod-exec-reverse-shell, severity: high, action: quarantine-pod}]}
gateway: {apiServers: ['default/kubernetes:443']}
networkPolicy:
  apiServer: {cidrs: [` + node + `/32]}
  audit:
    senders: [{ipBlock: {cidr: ` + node + `/32}}]
    extraEgress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: witness}}}], ports: [{protocol: TCP, port: 9643}]}]
`

// prepareTrail renders the chart with the trail on, and that of its witness, and gives the
// flags by which the API server sends to it. Until the trail is there, and after it, that
// fails, which the API server has to bear.
func prepareTrail(dir, valuesFile string) ([]string, error) {
	p := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) (string, error) {
		out, err := bulwarkIn(context.Background(), dir, args...).Output()
		if err != nil {
			return "", fmt.Errorf("bulwark %s: %w", strings.Join(args, " "), err)
		}
		return string(out), nil
	}
	_, err := run("audit", "key", "new", p("audit.key"))
	public, werr := run("audit", "witness-key", "--name", "e2e/witness", "--key-file", p("witness.key"))
	trailCert, trailKey, terr := selfSigned("bulwark-audit."+system+".svc", net.ParseIP(trailAddress))
	witnessCert, witnessPrivate, serr := selfSigned("bulwark-witness." + witnesses + ".svc")
	openings := make([]byte, 32)
	_, rerr := rand.Read(openings)
	if err := errors.Join(err, werr, terr, serr, rerr); err != nil {
		return nil, err
	}
	encryption, err := os.ReadFile(p("audit.key"))
	signs, werr := os.ReadFile(p("witness.key"))
	more, merr := json.Marshal(map[string]any{"audit": map[string]any{"witness": map[string]any{"url": "https://bulwark-witness." + witnesses + ".svc:9643", "key": public, "ca": witnessCert}}})
	if err := errors.Join(err, werr, merr); err != nil {
		return nil, err
	}
	tokens := map[string]string{"gateway": rand.Text(), "controller": rand.Text(), "apiserver": rand.Text()}
	config := errors.Join(
		os.WriteFile(p("values-trail.yaml"), []byte(trailValues), 0o600), os.WriteFile(p("values-witness.yaml"), more, 0o600), os.WriteFile(p("witness.pub"), []byte(public), 0o600),
		os.WriteFile(p("trail-ca.crt"), []byte(trailCert), 0o600), os.WriteFile(p("trail-token"), []byte(tokens["apiserver"]), 0o600),
	)
	// What NOTES.txt says.
	webhook, err := run("audit", "webhook-config", "--url", "https://"+trailAddress+":9443/audit/v1/apiserver", "--ca-file", p("trail-ca.crt"), "--token-file", p("trail-token"))
	if err := errors.Join(config, err, os.WriteFile(p("webhook.yaml"), []byte(webhook), 0o600)); err != nil {
		return nil, err
	}
	trail, err := render("-n", system, "-f", valuesFile, "-f", p("values-trail.yaml"), "-f", p("values-witness.yaml"))
	if err != nil {
		return nil, err
	}
	witness, err := render("-chart", "../../deploy/helm/bulwark-witness", "-n", witnesses, "-release", "witness", "-set", "logs[0]="+unknownLog, "-set", "keySecret=witness-key", "-set", "certificateSecret=witness-tls")
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		onNode(dir, "trail", string(trail), system, map[string]map[string]string{
			"trail-tls":    {"tls.crt": trailCert, "ca.crt": trailCert, "tls.key": trailKey},
			"trail-tokens": tokens,
			"trail-keys":   {"audit.key": string(encryption), "openings.key": hex.EncodeToString(openings) + "\n"},
		}),
		onNode(dir, "witness", string(witness), witnesses, map[string]map[string]string{
			"witness-tls": {"tls.crt": witnessCert, "tls.key": witnessPrivate},
			"witness-key": {"witness.key": string(signs)},
		}),
	)
	return []string{"--audit-webhook-config", p("webhook.yaml"), "--apiserver-arg=--audit-webhook-batch-max-wait=500ms", "--apiserver-arg=--audit-webhook-initial-backoff=500ms"}, err
}

const (
	component = "app.kubernetes.io/component"
	// witnesses is the namespace of the witness.
	witnesses = "witness"
	// unknownLog is where the trail's public key goes, which is known when the trail is there.
	unknownLog = "unknown+00000000+AAAA"
)

// selfSigned makes a certificate that is its own authority, as PEM.
func selfSigned(name string, addresses ...net.IP) (cert, key string, err error) {
	pair, err := new(authority).sign(&x509.Certificate{DNSNames: []string{name}, IPAddresses: addresses, IsCA: true, BasicConstraintsValid: true})
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	return certPEM(pair), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}

// onNode writes NAME.yaml: a manifest with Secrets before it, and with the folder NAME in
// place of its persistent volume, which these clusters do not have.
func onNode(dir, name, manifest, namespace string, secrets map[string]map[string]string) error {
	texts := strings.Split(manifest, "\n---\n")
	at := slices.IndexFunc(texts, func(text string) bool { return strings.Contains(text, "\nkind: StatefulSet\n") })
	if at < 0 {
		return fmt.Errorf("the chart of the %s has no StatefulSet", name)
	}
	var set appsv1.StatefulSet
	if err := yaml.UnmarshalStrict([]byte(texts[at]), &set); err != nil {
		return fmt.Errorf("read the StatefulSet of the %s: %w", name, err)
	}
	folder := filepath.Join(dir, name)
	set.Spec.Template.Spec.Volumes = append(set.Spec.Template.Spec.Volumes, corev1.Volume{
		Name: set.Spec.VolumeClaimTemplates[0].Name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: folder}},
	})
	set.Spec.VolumeClaimTemplates = nil
	text, err := yaml.Marshal(&set)
	if err != nil {
		return fmt.Errorf("write the StatefulSet of the %s: %w", name, err)
	}
	texts[at] = string(text)
	for name, data := range secrets {
		b, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": namespace, "labels": map[string]string{component: "audit"}}, "stringData": data,
		})
		if err != nil {
			return err
		}
		texts = append(texts, string(b))
	}
	return errors.Join(
		os.WriteFile(folder+".yaml", []byte(strings.Join(texts, "\n---\n")), 0o600),
		// The pod may write here, as in the root of a volume that fsGroup has made its own.
		os.Mkdir(folder, 0o700), os.Chmod(folder, 0o777),
	)
}

// found gives what a search in the trail's volume finds, by its number in the trail.
func found(t *testing.T, query string) map[uint64]string {
	t.Helper()
	dir := controltest.DataDir()
	out, err := bulwark(t.Context(), "audit", "search", query, "--data", filepath.Join(dir, "trail", "audit"), "--encryption-key-file", filepath.Join(dir, "audit.key"), "--limit", "0", "-o", "json").Output()
	if err != nil {
		t.Fatalf("search %s: %v", query, err)
	}
	all := map[uint64]string{}
	for line := range strings.Lines(string(out)) {
		var e struct {
			Seq        uint64
			RequestURI string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("search %s: %v: %s", query, err, line)
		}
		if _, twice := all[e.Seq]; twice || e.Seq == 0 {
			t.Fatalf("search %s: number %d is missing, or twice: %s", query, e.Seq, line)
		}
		all[e.Seq] = line
	}
	return all
}

// withTrail installs the chart again with the trail on, and takes it away at the end.
func withTrail(t *testing.T) {
	t.Helper()
	put := func(ctx context.Context, manifest string) error {
		_, err := controltest.TryKubectl(ctx, nil, "apply", "--server-side", "-f", filepath.Join(controltest.DataDir(), manifest))
		return err
	}
	settled := func(ctx context.Context) error {
		for _, what := range []string{"deployment/bulwark-controller", "deployment/bulwark-gateway"} {
			if _, err := controltest.TryKubectl(ctx, nil, "rollout", "status", what, "-n", system); err != nil {
				return err
			}
		}
		return nil
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if t.Failed() {
			out, err := controltest.TryKubectl(ctx, nil, "logs", "-n", system, "bulwark-audit-0", "--tail=40")
			t.Logf("the trail's log (%v):\n%s", err, out)
		}
		err := errors.Join(put(ctx, "bulwark.yaml"), settled(ctx))
		_, gone := controltest.TryKubectl(ctx, nil, "delete", "-n", system, "--wait=false", "-l", component+"=audit",
			"statefulset,service,networkpolicy,poddisruptionbudget,configmap,serviceaccount,secret,clusterrole,clusterrolebinding")
		if err := errors.Join(err, gone); err != nil {
			t.Errorf("take the trail away: %v", err)
		}
	})
	if err := put(t.Context(), "trail.yaml"); err != nil {
		t.Fatal(err)
	}
	controltest.Kubectl(t, "rollout", "status", "statefulset/bulwark-audit", "-n", system)
	if err := settled(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestTrail: the trail is turned on by the chart while requests go on, all senders arrive
// in it, it is killed, and nothing that it had taken, and nothing that was sent while it
// was away, is missing. No caller notices anything of all that.
func TestTrail(t *testing.T) {
	quiet(t)
	l, questions := guarded(t, "trail")
	load := newLoad(t, net.JoinHostPort(l.address, "80"), "lab.test", questions...)
	withTrail(t)

	sent := 0
	ask := func(n int) {
		t.Helper()
		for range n {
			sent++
			name := fmt.Sprintf("told-%d", sent)
			l.plain().want(200, "the gateway, with a trail", request{path: "/open/" + name})
			apply(t, object(t, "ConfigMap", l.ns, name, nil, map[string]string{"k": "v"}))
		}
	}
	// There is all that was sent, from both sides.
	told := func() (gateway, server map[uint64]string) {
		t.Helper()
		controltest.Until(t, "all events in the trail", func() error {
			gateway, server = found(t, "kind=gateway uri=/open/told-*"), found(t, "kind=api source=webhook/apiserver verb=create resource=configmaps succeeded=true name=told-* ns="+l.ns)
			for what, have := range map[string]map[uint64]string{`"/open/told-%d"`: gateway, `"told-%d"`: server} {
				all := strings.Join(slices.Collect(maps.Values(have)), "")
				for i := range sent {
					if !strings.Contains(all, fmt.Sprintf(what, i+1)) {
						return fmt.Errorf(what+" is missing among %d", i+1, len(have))
					}
				}
			}
			return nil
		})
		return gateway, server
	}
	witness(t)
	ask(5)
	gateway, server := told()
	for _, part := range []string{"gateway", "controller"} {
		controltest.Until(t, "what the "+part+" tells of itself", func() error {
			if len(found(t, "kind=system verb=start source=webhook/"+part)) == 0 {
				return errors.New("nothing")
			}
			return nil
		})
	}

	pod := ready(t, "audit")
	if len(pod) != 1 {
		t.Fatalf("%d pods of the trail are ready", len(pod))
	}
	controltest.Kubectl(t, "delete", "pod", pod[0].Name, "-n", system, "--grace-period=0", "--force")
	ask(5)
	controltest.Until(t, "another pod of the trail", func() error {
		for _, p := range ready(t, "audit") {
			if p.UID != pod[0].UID {
				return nil
			}
		}
		return errors.New("none is ready")
	})
	ask(2)
	later, laterServer := told()
	for before, after := range map[*map[uint64]string]map[uint64]string{&gateway: later, &server: laterServer} {
		for seq, event := range *before {
			if after[seq] != event {
				t.Errorf("event %d was acknowledged, and is now %q; it was %s", seq, after[seq], event)
			}
		}
	}
	load.clean()
	measures(t)
	data := controltest.DataDir()
	dir := filepath.Join(data, "trail", "audit")
	controltest.Until(t, "a trail that verifies, witnessed", func() error {
		out, err := bulwark(t.Context(), "audit", "verify", "--data", dir, "--key", filepath.Join(dir, "keys", "log.pub"), "--witness", filepath.Join(data, "witness.pub"), "--encryption-key-file", filepath.Join(data, "audit.key")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// witness installs the witness of the trail that is there, in a namespace of its own.
func witness(t *testing.T) {
	t.Helper()
	namespace(t, witnesses)
	public, err := os.ReadFile(filepath.Join(controltest.DataDir(), "trail", "audit", "keys", "log.pub"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(controltest.DataDir(), "witness.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(manifest), unknownLog) {
		t.Fatal("the witness's chart has no place for the trail's key")
	}
	apply(t, strings.ReplaceAll(string(manifest), unknownLog, strings.TrimSpace(string(public))))
	controltest.Kubectl(t, "rollout", "status", "statefulset/bulwark-witness", "-n", witnesses)
}

// measures: the trail's pod may do what its one action takes, by its own token, and the
// API server refuses it any other.
func measures(t *testing.T) {
	t.Helper()
	some := get[corev1.PodList](t, core+"/namespaces/shop/pods").Items
	if len(some) == 0 {
		t.Fatal("the shop has no pods")
	}
	plan := func(action string, args ...string) (string, error) {
		return controltest.TryKubectl(t.Context(), nil, append([]string{"exec", "-n", system, "bulwark-audit-0", "--", "/entrypoint", "audit", "response", "plan", action, "--data", "/var/lib/bulwark/audit", "--reason", "a test"}, args...)...)
	}
	if out, err := plan("quarantine-pod", "--set", "namespace=shop", "--set", "pod="+some[0].Name); err != nil || !strings.Contains(out, some[0].Name) {
		t.Errorf("plan quarantine-pod: %v\n%s", err, out)
	}
	if n := len(slices.DeleteFunc(audited(t, trailAccount), func(e auditEvent) bool { return !e.denied() })); n > 0 {
		t.Errorf("the API server refused the trail %d times what its action takes", n)
	}
	if out, err := plan("cordon-node", "--set", "node=node"); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("plan cordon-node, which has no right: %v\n%s", err, out)
	}
	var refused []string
	for _, e := range audited(t, trailAccount) {
		if e.denied() && e.ObjectRef.Resource != "nodes" {
			refused = append(refused, e.Verb+" "+e.RequestURI)
		}
	}
	if len(refused) > 0 {
		t.Errorf("the API server refused the trail %v", refused)
	}
}
