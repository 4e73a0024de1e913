package command

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/app"
	"bulwark.dev/bulwark/test/chart"
)

// found is one finding of a scan.
type found struct {
	Control  string `json:"control"`
	Severity string `json:"severity"`
	Verdict  string `json:"verdict"`
	Message  string `json:"message"`
	Reason   string `json:"reason"`
	Field    string `json:"field"`
	Object   struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"object"`
}

func (f *found) String() string {
	return strings.Join([]string{f.Severity, f.Verdict, f.Control, f.Object.Kind, f.Object.Name, f.Field, f.Message, f.Reason}, " ")
}

// scan runs "bulwark scan" over the chart, with the exceptions that it ships for
// what is switched on.
func scan(t *testing.T, set, exceptions []string) []found {
	t.Helper()
	dir, err := chart.Find(".")
	if err != nil {
		t.Fatal(err)
	}
	return scanOf(t, dir, 10, set, exceptions)
}

// scanOf is scan for any chart, which has so many objects at least.
func scanOf(t *testing.T, dir string, least int, set, exceptions []string) []found {
	t.Helper()
	args := []string{"scan", dir, "-o", "json", "--fail-on", "never"}
	for _, s := range set {
		flag := "--set"
		if strings.HasSuffix(s, ".yaml") {
			flag = "--values"
		}
		args = append(args, flag, s)
	}
	for _, e := range exceptions {
		args = append(args, "--exceptions", filepath.Join(dir, "posture", e+".yaml"))
	}
	var out, errs bytes.Buffer
	code := app.Main(args, app.Env{
		Context: t.Context(), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Now:    func() time.Time { return time.Date(2026, time.December, 1, 12, 0, 0, 0, time.UTC) },
		Random: func() uint64 { return 4 },
	})
	var doc struct {
		Summary struct {
			Objects int `json:"objects"`
		} `json:"summary"`
		Findings []found           `json:"findings"`
		Problems []json.RawMessage `json:"problems"`
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || code != 0 {
		t.Fatalf("%v: exit code %d, %v\n%s", args, code, err, &errs)
	}
	if len(doc.Problems) > 0 || doc.Summary.Objects < least {
		t.Errorf("%v: %d objects, problems %s", set, doc.Summary.Objects, doc.Problems)
	}
	return doc.Findings
}

// grave reports whether a finding is one that must not be.
func grave(f *found) bool {
	return f.Verdict != "excepted" && (slices.Contains([]string{"medium", "high", "critical"}, f.Severity) || strings.HasPrefix(f.Control, "exception-") || f.Verdict == "unknown")
}

// Our own chart scans clean: nothing of medium or above fails, nothing is unknown,
// and each exception that the chart ships for it covers something and no more.
func TestOwnChartScansClean(t *testing.T) {
	digest := "image.digest=sha256:" + strings.Repeat("0123456789abcdef", 4)
	webhook := []string{"admission.enabled=true", "admission.certificateSecret=webhook", "admission.dryRun=false"}
	cases := map[string]struct{ set, exceptions []string }{
		"default": {nil, []string{"controller", "provision", "namespace"}},
		"by digest, with metrics and known addresses": {
			[]string{digest, "podMonitor.enabled=true", "networkPolicy.apiServer.cidrs[0]=10.0.0.1/32", "rbac.aggregateEdit=true", "imagePullSecrets[0].name=registry", "controller.replicas=3"},
			[]string{"controller", "provision", "namespace"},
		},
		"without Services": {
			[]string{"provision.enabled=false", "gateway.autoscaling.enabled=false", "gateway.replicas=3", "rbac.aggregateView=false", "gatewayClass.create=false", "crds.install=false"},
			[]string{"controller", "namespace"},
		},
		"with the webhook": {
			append(slices.Clip(webhook), "admission.caBundle=YQ=="),
			[]string{"controller", "provision", "namespace", "admission"},
		},
		"with the webhook and cert-manager": {
			append(slices.Clip(webhook), `admission.webhookAnnotations.cert-manager\.io/inject-ca-from=edge/webhook`, digest),
			[]string{"controller", "provision", "namespace", "admission"},
		},
	}
	cases["with the trail"] = struct{ set, exceptions []string }{
		append(slices.Clip(webhook), "admission.caBundle=YQ==", "audit.enabled=true", "audit.certificateSecret=trail", "audit.tokenSecret=tokens",
			"audit.apiServers={apiserver}", "networkPolicy.audit.senders[0].ipBlock.cidr=10.0.0.1/32"),
		[]string{"controller", "provision", "namespace", "admission"},
	}
	cases["with a trail that can do everything"] = struct{ set, exceptions []string }{
		[]string{trailValues(t), digest}, []string{"controller", "provision", "namespace", "respond", "respond-quarantine", "respond-cordon"},
	}
	excepted := 0
	for name, c := range cases {
		for _, f := range scan(t, c.set, c.exceptions) {
			if grave(&f) {
				t.Errorf("%s: %s", name, &f)
			}
			if f.Verdict == "excepted" {
				excepted++
			}
		}
	}
	if excepted < 5*len(cases) {
		t.Errorf("%d findings are excepted: the exceptions do nothing", excepted)
	}
}

// So does the witness's.
func TestWitnessScansClean(t *testing.T) {
	dir, err := chart.Find(".")
	if err != nil {
		t.Fatal(err)
	}
	excepted := 0
	for _, f := range scanOf(t, dir+"-witness", 6, []string{"logs[0]=a+0123abcd+AbCd=", "keySecret=k", "certificateSecret=c"}, []string{"namespace"}) {
		if grave(&f) {
			t.Error(&f)
		}
		if f.Verdict == "excepted" {
			excepted++
		}
	}
	if excepted == 0 {
		t.Error("nothing is excepted: the scan does not look")
	}
}

// What somebody switches off in the values shows in the scan, in spite of the
// exceptions.
func TestOwnChartScanSeesUnsafeValues(t *testing.T) {
	shipped := []string{"controller", "provision", "namespace"}
	webhook := []string{"admission.enabled=true", "admission.certificateSecret=webhook", "admission.caBundle=YQ=="}
	for want, set := range map[string][]string{
		"namespace-without-ingress-policy": {"networkPolicy.enabled=false"},
		"network-policy-egress-metadata":   {"networkPolicy.gateway.outside.except[0]=10.0.0.1/32", "networkPolicy.gateway.outside.ports={80,443}"},
		"priority-system":                  {"gateway.priorityClassName=system-cluster-critical"},
		"rbac-bind":                        {"audit.enabled=true", "audit.certificateSecret=a", "audit.tokenSecret=b", "audit.respond.enabled=true", "audit.respond.actions={remove-rolebinding}", "audit.respond.allowBind=true"},
		"webhook-fails-open":               append(slices.Clip(webhook), "admission.failurePolicy=Ignore"),
	} {
		exceptions := shipped
		if len(set) > 1 && set[0] == webhook[0] {
			exceptions = append(slices.Clip(shipped), "admission")
		}
		if !slices.ContainsFunc(scan(t, set, exceptions), func(f found) bool { return f.Control == want && f.Verdict == "fail" }) {
			t.Errorf("%v: the scan does not find %s", set, want)
		}
	}
}
