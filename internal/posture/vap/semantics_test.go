package vap_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/vap"
)

// policyOf writes a policy named p with a spec, and what else is given.
func policyOf(spec string, more ...string) string {
	out := "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec:\n  " +
		strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ")
	return strings.Join(append([]string{out}, more...), "\n---\n")
}

func bindingOf(spec string) string {
	return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: b}\nspec:\n  policyName: p\n  validationActions: [Deny]\n  " +
		strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ")
}

// on is a matchConstraints for a group and a resource.
func on(group, resource string, more ...string) string {
	return "matchConstraints: {resourceRules: [{apiGroups: ['" + group + "'], apiVersions: ['*'], operations: [CREATE], resources: ['" + resource + "']" +
		strings.Join(more, "") + "}]}\n"
}

const (
	shopMap   = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\ndata: {k: v}\n"
	loose     = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	role      = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\n"
	shop      = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {tier: prod}}\n"
	no        = "validations: [{expression: 'false', message: denied}]"
	chaos     = "apiVersion: chaos.example/v1\nkind: PodChaos\nmetadata: {name: a, namespace: shop}\n"
	chaosKind = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: podchaos.chaos.example}\n" +
		"spec: {group: chaos.example, scope: Namespaced, names: {kind: PodChaos, plural: podchaos}}\n"
	fleet     = "apiVersion: fleet.example/v1\nkind: Fleet\nmetadata: {name: a}\n"
	fleetKind = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: fleets.fleet.example}\n" +
		"spec: {group: fleet.example, scope: Cluster, names: {kind: Fleet, plural: fleets}}\n"
)

// TestSemantics holds verdicts to what an API server does with the same policy.
func TestSemantics(t *testing.T) {
	t.Parallel()
	params := "paramKind: {apiVersion: v1, kind: ConfigMap}\nvalidations: [{expression: 'params != null && params.data.ok == \"yes\"', message: denied}]\n"
	ok, bad := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ok, namespace: shop, labels: {use: p}}\ndata: {ok: 'yes'}\n",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad, namespace: shop, labels: {use: p}}\ndata: {ok: 'no'}\n"
	account := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: shop}\n"
	cases := map[string]struct {
		policy, objects string
		live            bool
		want            []string // "" for what is not matched at all
	}{
		// What matches.
		"a resource with its subresources": {policyOf(on("", "configmaps/*") + no), shopMap, true, []string{"ConfigMap shop/a: fail denied"}},
		"all with their subresources":      {policyOf(on("*", "*/*") + no), shopMap, true, []string{"ConfigMap shop/a: fail denied"}},
		"only a subresource":               {policyOf(on("", "configmaps/status") + no), shopMap, true, nil},
		"policies are exempt": {policyOf(on("*", "*") + no), "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: x}\n---\n" +
			"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: x}\n", true, []string{"ValidatingWebhookConfiguration x: fail denied"}},
		"files of components are never asked about": {policyOf(on("*", "*") + no), "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n", false, nil},
		"namespaced scope":                          {policyOf(on("*", "*", ", scope: Namespaced") + no), shopMap + "---\n" + role + "---\n" + shop, true, []string{"ConfigMap shop/a: fail denied"}},
		"cluster scope":                             {policyOf(on("*", "*", ", scope: Cluster") + no), loose + "---\n" + role + "---\n" + shop, false, []string{"ClusterRole a: fail denied", "Namespace shop: fail denied"}},
		"scope of a custom kind":                    {policyOf(on("fleet.example", "*", ", scope: Cluster") + no), fleet, false, []string{"Fleet a: unknown whether a Fleet lives in a namespace is not known, and the policy chooses by that"}},
		"scope of a defined kind":                   {policyOf(on("fleet.example", "*", ", scope: Cluster") + no), fleet + "---\n" + fleetKind, false, []string{"Fleet a: fail denied"}},
		"a name that no rule of English has":        {policyOf(on("chaos.example", "podchaos") + no), chaos, true, []string{"PodChaos shop/a: unknown whether podchaos is what a PodChaos is called is not known without its CustomResourceDefinition"}},
		"a name that is defined":                    {policyOf(on("chaos.example", "podchaos") + no), chaos + "---\n" + chaosKind, true, []string{"PodChaos shop/a: fail denied"}},
		"a name that is another's":                  {policyOf(on("chaos.example", "networkchaos") + no), chaos, true, nil},
		"a guess that a definition denies":          {policyOf(on("chaos.example", "podchaoses") + no), chaos + "---\n" + chaosKind, true, nil},
		"excluded":                                  {policyOf("matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: ['*']}], excludeResourceRules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: [configmaps], resourceNames: [a]}]}\n" + no), shopMap, true, nil},
		"no name yet":                               {policyOf(on("", "configmaps", ", resourceNames: [a]") + no), strings.Replace(shopMap, "name: a", "generateName: a", 1), false, nil},
		"a namespace that says it is another":       {policyOf("matchConstraints: {namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system]}]}, resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: ['*']}]}\n" + no), strings.Replace(shop, "{tier: prod}", "{kubernetes.io/metadata.name: kube-system}", 1) + "---\n" + shopMap, true, []string{"ConfigMap shop/a: fail denied", "Namespace shop: fail denied"}},
		"by namespace, of what has none":            {policyOf("matchConstraints: {namespaceSelector: {matchLabels: {tier: prod}}, resourceRules: [{apiGroups: ['*'], apiVersions: [v1], operations: ['*'], resources: ['*']}]}\n" + no), role + "---\n" + loose, false, []string{"ClusterRole a: fail denied", "ConfigMap a: unknown the object names no namespace, and the policy chooses by namespace"}},
		"by the name of an unknown namespace":       {policyOf("matchConstraints: {namespaceSelector: {matchLabels: {tier: prod, kubernetes.io/metadata.name: bank}}, resourceRules: [{apiGroups: ['*'], apiVersions: [v1], operations: ['*'], resources: ['*']}]}\n" + no), shopMap, true, nil},
		"labels that the API server fills in":       {policyOf("matchConstraints: {objectSelector: {matchLabels: {app: x}}, resourceRules: [{apiGroups: [batch], apiVersions: [v1], operations: ['*'], resources: ['*']}]}\n" + no), "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a, namespace: shop}\nspec: {template: {metadata: {labels: {app: x}}, spec: {containers: []}}}\n", true, []string{"Job shop/a: fail denied"}},

		// What expressions see.
		"a field that its type always has": {policyOf(on("rbac.authorization.k8s.io", "*") + "validations: [{expression: 'has(object.rules)', message: denied}]"), role, false, []string{"ClusterRole a: pass "}},
		"a field that its type has not":    {policyOf(on("", "configmaps") + "validations: [{expression: 'has(object.approved)', message: denied}]"), shopMap + "approved: true\n", false, []string{"ConfigMap shop/a: fail denied"}},
		"a field of a wrong type":          {policyOf(on("", "configmaps") + "validations: [{expression: 'true'}]"), strings.Replace(shopMap, "k: v", "k: [v]", 1), false, []string{"ConfigMap shop/a: unknown a field is of a type that the API server does not take"}},
		"the user, optionally":             {policyOf(on("", "configmaps") + "validations: [{expression: 'request.?userInfo.username.orValue(\"\") != \"ann\"'}]"), shopMap, true, []string{"ConfigMap shop/a: unknown the policy depends on who asks"}},
		"the user, by a variable":          {policyOf(on("", "configmaps") + "variables: [{name: r, expression: request}]\nvalidations: [{expression: 'variables.r.userInfo.username != \"ann\"'}]"), shopMap, true, []string{"ConfigMap shop/a: unknown the policy depends on who asks"}},
		"the user, on two lines":           {policyOf(on("", "configmaps") + "validations: [{expression: \"request\\n .userInfo.username != 'ann'\"}]"), shopMap, true, []string{"ConfigMap shop/a: unknown the policy depends on who asks"}},
		"a dry run":                        {policyOf(on("", "configmaps") + "validations: [{expression: 'has(request.dryRun) && request.dryRun'}]"), shopMap, true, []string{"ConfigMap shop/a: unknown the policy depends on how it is asked"}},
		"only a text that says authorizer": {policyOf(on("", "configmaps") + "validations: [{expression: 'object.metadata.name == \"authorizer\"', message: denied}]"), shopMap, true, []string{"ConfigMap shop/a: fail denied"}},
		"the user in the message only":     {policyOf(on("", "configmaps") + "validations: [{expression: 'false', message: denied, messageExpression: 'request.userInfo.username + \" may not\"'}]"), shopMap, true, []string{"ConfigMap shop/a: fail denied"}},
		"no namespace yet":                 {policyOf(on("", "configmaps") + "validations: [{expression: 'namespaceObject == null'}]"), loose, false, []string{"ConfigMap a: unknown the object names no namespace, and the policy looks at it"}},
		"the name of no namespace yet":     {policyOf(on("", "configmaps") + "validations: [{expression: '!has(object.metadata.namespace)'}]"), loose, false, []string{"ConfigMap a: unknown the object names no namespace, and the policy looks at it"}},
		"no namespace at all":              {policyOf(on("*", "*") + "validations: [{expression: 'namespaceObject == null'}]"), role + "---\n" + shop, false, []string{"ClusterRole a: pass ", "Namespace shop: pass "}},
		"the request for a namespace":      {policyOf(on("*", "*") + "validations: [{expression: 'request.namespace == \"shop\"'}]"), shop, false, []string{"Namespace shop: pass "}},

		// What cannot be run.
		"a condition, ignored":            {policyOf("failurePolicy: Ignore\n" + on("", "configmaps") + "matchConditions: [{name: c, expression: 'object.data.other == \"x\"'}]\n" + no), shopMap, true, []string{"ConfigMap shop/a: unknown an expression of the policy cannot be run on it"}},
		"a condition, beside a false one": {policyOf(on("", "configmaps") + "matchConditions: [{name: c, expression: 'object.data.other == \"x\"'}, {name: d, expression: 'false'}]\n" + no), shopMap, true, []string{"ConfigMap shop/a: not-applicable no match condition or binding of the policy is for it"}},
		"a validation, ignored":           {policyOf("failurePolicy: Ignore\n" + on("", "configmaps") + "validations: [{expression: 'object.data.other == \"x\"'}]"), shopMap, true, []string{"ConfigMap shop/a: unknown an expression of the policy cannot be run on it"}},
		"one, and another denies":         {policyOf(on("", "configmaps") + "validations: [{expression: 'object.data.other == \"x\"'}, {expression: 'false', message: denied}]"), shopMap, true, []string{"ConfigMap shop/a: fail denied"}},
		"an audit annotation":             {policyOf(on("", "configmaps") + "validations: [{expression: 'true'}]\nauditAnnotations: [{key: k, valueExpression: 'string(object.data.other)'}]"), shopMap, true, []string{"ConfigMap shop/a: unknown an expression of the policy cannot be run on it"}},
		"an audit annotation of the user": {policyOf(on("", "configmaps") + "validations: [{expression: 'true'}]\nauditAnnotations: [{key: k, valueExpression: 'request.userInfo.username'}]"), shopMap, true, []string{"ConfigMap shop/a: pass "}},

		// Parameters.
		"by name": {policyOf(on("", "serviceaccounts")+params, bindingOf("paramRef: {name: ok, parameterNotFoundAction: Deny}")), account + "---\n" + ok, true, []string{"ServiceAccount shop/a: pass "}},
		"all that are selected": {policyOf(on("", "serviceaccounts")+params, bindingOf("paramRef: {selector: {matchLabels: {use: p}}, parameterNotFoundAction: Deny}")), account + "---\n" + ok + "---\n" + bad, true, []string{
			"ServiceAccount shop/a: fail denied",
		}},
		"by an invalid selector":                  {policyOf(on("", "serviceaccounts")+params, bindingOf("paramRef: {selector: {matchExpressions: [{key: a, operator: Odd}]}, parameterNotFoundAction: Allow}")), account + "---\n" + bad, true, []string{"ServiceAccount shop/a: unknown a selector of the policy is not valid"}},
		"by nothing":                              {policyOf(on("", "serviceaccounts")+params, bindingOf("paramRef: {parameterNotFoundAction: Allow}")), account + "---\n" + ok, true, []string{"ServiceAccount shop/a: unknown the binding must name its parameters by either name or selector"}},
		"of the namespace of what has none":       {policyOf(on("rbac.authorization.k8s.io", "*")+params, bindingOf("paramRef: {name: ok, parameterNotFoundAction: Allow}")), role + "---\n" + ok, true, []string{"ClusterRole a: unknown the parameters are those of the object's namespace, and it names none"}},
		"in a namespace, of a kind that has none": {policyOf(on("", "serviceaccounts")+strings.Replace(params, "v1, kind: ConfigMap", "v1, kind: Node", 1), bindingOf("paramRef: {name: ok, namespace: shop, parameterNotFoundAction: Allow}")), account, true, []string{"ServiceAccount shop/a: unknown the binding names a namespace, and parameters of kind Node live in none"}},
		"of another version":                      {policyOf(on("", "serviceaccounts")+strings.Replace(params, "v1, kind: ConfigMap", "rules.example/v2, kind: Rule", 1), bindingOf("paramRef: {name: ok, namespace: shop, parameterNotFoundAction: Deny}")), account + "---\napiVersion: rules.example/v1\nkind: Rule\nmetadata: {name: ok, namespace: shop}\n", true, []string{"ServiceAccount shop/a: unknown parameters Rule shop/ok are written as rules.example/v1, and the policy reads rules.example/v2"}},
		"that are not there, and allowed":         {policyOf(on("", "serviceaccounts")+params, bindingOf("paramRef: {name: none, parameterNotFoundAction: Allow}")), account + "---\n" + ok, true, []string{"ServiceAccount shop/a: not-applicable no match condition or binding of the policy is for it"}},
		"that are not there, and ignored":         {policyOf("failurePolicy: Ignore\n"+on("", "serviceaccounts")+params, bindingOf("paramRef: {name: none, parameterNotFoundAction: Deny}")), account + "---\n" + ok, true, []string{"ServiceAccount shop/a: unknown the parameters of binding b are not there, and the policy is ignored then"}},
		"that a binding does not give":            {policyOf(on("", "serviceaccounts")+params, bindingOf("matchResources: {}")), account, true, []string{"ServiceAccount shop/a: fail denied"}},
		"in files, in no namespace":               {policyOf(on("", "serviceaccounts")+params, bindingOf("paramRef: {name: ok, parameterNotFoundAction: Deny}")), account + "---\n" + strings.Replace(ok, ", namespace: shop", "", 1), false, []string{"ServiceAccount shop/a: unknown parameters ConfigMap ok name no namespace"}},
		"a binding for other namespaces":          {policyOf(on("", "serviceaccounts")+no, bindingOf("matchResources: {namespaceSelector: {matchLabels: {tier: test}}}")), account + "---\n" + shop, true, []string{"ServiceAccount shop/a: not-applicable no match condition or binding of the policy is for it"}},
		"a binding for unknown namespaces":        {policyOf(on("", "serviceaccounts")+no, bindingOf("matchResources: {namespaceSelector: {matchLabels: {tier: test}}}")), account, true, []string{"ServiceAccount shop/a: unknown the labels of namespace shop are not known"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := vap.NewSet(read(t, c.policy))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, line := range judge(t, set, inventory.NewSnapshot(read(t, c.objects), inventory.Facts{Live: c.live}, nil, nil)) {
				got = append(got, strings.TrimPrefix(line, "vap-p [medium] "))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A policy that reads what no scan knows is compiled all the same: a mistake in it
// is told.
func TestMistakesBesideTheUser(t *testing.T) {
	t.Parallel()
	_, err := vap.NewSet(read(t, policyOf(on("", "configmaps")+"validations: [{expression: 'request.userInfo.username == \"ann\" && nothing'}]")))
	if err == nil || !strings.Contains(err.Error(), "undeclared reference to 'nothing'") {
		t.Errorf("error %v", err)
	}
}

// What the API server would not take is an error, not a policy that says nothing.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		`unknown field "validatons"`: policyOf(on("", "configmaps") + strings.Replace(no, "validations", "validatons", 1)),
		"resourceRules is missing":   policyOf("matchConstraints: {namespaceSelector: {}}\n" + no),
		"validations is missing":     policyOf(on("", "configmaps")),
		`unknown field "params"`:     policyOf(on("", "configmaps")+no, bindingOf("params: {name: a}")),
	} {
		if _, err := vap.NewSet(read(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// A change of an object of any kind has its verdict found anew.
func TestIncremental(t *testing.T) {
	t.Parallel()
	set, err := vap.NewSet(read(t, policyOf(on("", "configmaps")+"validations: [{expression: 'object.data.k == \"v\"', message: denied}]")))
	if err != nil {
		t.Fatal(err)
	}
	e, err := posture.New(posture.Options{Joint: set.Checks()})
	if err != nil {
		t.Fatal(err)
	}
	inc, err := e.Incremental(t.Context(), inventory.NewSnapshot(read(t, shopMap), inventory.Facts{Live: true}, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	findings := func() int {
		t.Helper()
		rep, err := inc.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(rep.Findings)
	}
	if n := findings(); n != 0 {
		t.Errorf("%d findings before the change", n)
	}
	if _, err := inc.Update(t.Context(), read(t, strings.Replace(shopMap, "k: v", "k: w", 1)), nil); err != nil {
		t.Fatal(err)
	}
	if n := findings(); n != 1 {
		t.Errorf("%d findings after it, want 1", n)
	}
}
