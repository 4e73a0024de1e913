package pss_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/pss"
)

// fixtures gives the folder of the pods that upstream tests its checks with.
func fixtures(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatalf("find the module of the fixtures: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "test", "testdata")
}

func subject(t *testing.T, text []byte) *control.Subject {
	t.Helper()
	text, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	o, err := inventory.New(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := control.NewSubject(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stricter are the checks of restricted that stand for one of baseline.
var stricter = map[string]string{
	"hostpathvolumes": "restrictedvolumes", "seccompprofile_baseline": "seccompprofile_restricted",
	"capabilities_baseline": "capabilities_restricted", "procmount": "procmount_restricted",
}

// together are the checks that fire beside the one that a pod is for, since what that
// one forbids cannot be had without what the other forbids.
var together = []string{
	"baseline windowshostprocess: hostnamespaces", "restricted allowprivilegeescalation: capabilities_restricted",
	"restricted privileged: allowprivilegeescalation", "restricted windowshostprocess: hostnamespaces",
}

var numbered = regexp.MustCompile(`\d*\.yaml$`)

// TestFixtures holds our verdicts, and the check that fires and no other, against all
// official pods of every level and version.
func TestFixtures(t *testing.T) {
	t.Parallel()
	ran := map[string]int{}
	checks := map[string]bool{}
	more := map[string]bool{}
	for _, level := range []string{"baseline", "restricted"} {
		versions, err := os.ReadDir(filepath.Join(fixtures(t), level))
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range versions {
			controls, err := pss.Controls(pss.Options{Level: level, Version: version.Name()})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"pass", "fail"} {
				files, err := filepath.Glob(filepath.Join(fixtures(t), level, version.Name(), want, "*.yaml"))
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range files {
					text, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					ran[want]++
					s := subject(t, text)
					fired := map[string]bool{}
					for _, c := range controls {
						for _, r := range c.Judge(s) {
							switch r.Verdict { //nolint:exhaustive // the others are wrong here
							case bulwark.VerdictPass:
							case bulwark.VerdictFail:
								fired[strings.ToLower(string(c.Check))] = true
								checks[string(c.Check)] = true
								if r.Field == "spec" || r.Field == "" || r.Key == "" {
									t.Errorf("%s: %s names no field", name, c.ID)
								}
							default:
								t.Errorf("%s: %s says %s: %s", name, c.ID, r.Verdict, r.Reason)
							}
						}
					}
					is := numbered.ReplaceAllString(filepath.Base(name), "")
					if want == "pass" && len(fired) > 0 || want == "fail" && !fired[is] && !fired[stricter[is]] {
						t.Errorf("%s/%s/%s/%s: fired %v", level, version.Name(), want, is, fired)
						ran["wrong"]++
					}
					for check := range fired {
						if check != is && check != stricter[is] {
							more[level+" "+is+": "+check] = true
						}
					}
				}
			}
		}
	}
	if diff := cmp.Diff(together, slices.Sorted(maps.Keys(more))); diff != "" {
		t.Errorf("checks that fire beside the one that a pod is for (-want +got):\n%s", diff)
	}
	t.Logf("%d official pods: %d pass, %d fail, %d disagree; %d checks fired", ran["pass"]+ran["fail"], ran["pass"], ran["fail"], ran["wrong"], len(checks))
	if ran["pass"] < 900 || ran["fail"] < 3000 || len(checks) != 19 {
		t.Errorf("too few ran: %v, %d checks", ran, len(checks))
	}
}

// TestFields: the fields that a pod fails at are the ones that were broken.
func TestFields(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, id, spec string
		want           []string
	}{
		{
			"pod and containers apart", "pss-restricted-run-as-non-root", `{securityContext: {runAsNonRoot: false}, containers: [{name: a}, {name: b, securityContext: {runAsNonRoot: false}}]}`,
			[]string{"spec.securityContext.runAsNonRoot", "spec.containers[1].securityContext.runAsNonRoot"},
		},
		{
			"only the container that has nothing", "pss-restricted-run-as-non-root", `{containers: [{name: a, securityContext: {runAsNonRoot: true}}, {name: b}]}`,
			[]string{"spec.containers[1].securityContext.runAsNonRoot"},
		},
		{
			"one of several namespaces", "pss-baseline-host-namespaces", `{hostPID: true, hostIPC: true, containers: [{name: a}]}`,
			[]string{"spec.hostPID", "spec.hostIPC"},
		},
		{
			"what is set and allowed", "pss-baseline-host-namespaces", `{hostNetwork: false, hostPID: true, hostIPC: false, containers: [{name: a}]}`,
			[]string{"spec.hostPID"},
		},
		{
			"two of several probes", "pss-baseline-host-probes",
			`{containers: [{name: a, livenessProbe: {httpGet: {port: 80, host: 127.0.0.1}}, readinessProbe: {httpGet: {port: 80, host: ""}}, startupProbe: {tcpSocket: {port: 80, host: shop.example}}}]}`,
			[]string{"spec.containers[0].livenessProbe.httpGet.host", "spec.containers[0].startupProbe.tcpSocket.host"},
		},
		{
			"two containers of one name", "pss-baseline-privileged", `{containers: [{name: a}, {name: a, securityContext: {privileged: true}}]}`,
			[]string{"spec.containers[1].securityContext.privileged"},
		},
		{
			"init and ephemeral containers", "pss-baseline-privileged", `{initContainers: [{name: i, securityContext: {privileged: true}}], containers: [{name: a}], ephemeralContainers: [{name: e, securityContext: {privileged: true}}]}`,
			[]string{"spec.initContainers[0].securityContext.privileged", "spec.ephemeralContainers[0].securityContext.privileged"},
		},
		{
			"one volume", "pss-baseline-host-path-volumes", `{containers: [{name: a}], volumes: [{name: v, emptyDir: {}}, {name: w, hostPath: {path: /}}]}`,
			[]string{"spec.volumes[1].hostPath"},
		},
		{
			"one port", "pss-baseline-host-ports", `{containers: [{name: a, ports: [{containerPort: 80}, {containerPort: 81, hostPort: 81}]}]}`,
			[]string{"spec.containers[0].ports[1].hostPort"},
		},
		{
			"one sysctl", "pss-baseline-sysctls", `{securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: "0"}, {name: kernel.msgmax, value: "1"}]}, containers: [{name: a}]}`,
			[]string{"spec.securityContext.sysctls[1]"},
		},
		{"a type that the API refuses is unknown", "pss-baseline-privileged", `{containers: [{name: a, securityContext: {privileged: "yes"}}]}`, []string{"spec"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			controls, err := pss.Controls(pss.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := subject(t, []byte("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: "+tt.spec+"}"))
			i := slices.IndexFunc(controls, func(c *pss.Control) bool { return c.ID == tt.id })
			if i < 0 {
				t.Fatalf("there is no control %s", tt.id)
			}
			var got []string
			for _, r := range controls[i].Judge(s) {
				if r.Verdict == bulwark.VerdictPass {
					t.Errorf("it passes")
				}
				got = append(got, r.Field)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("fields %v, want %v", got, tt.want)
			}
		})
	}
}
