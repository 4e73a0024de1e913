package ingest

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"
	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/audit"
)

// quiet keeps the API server's resolver from telling every odd address on stderr.
var quiet = sync.OnceFunc(func() { klog.SetLogger(logr.Discard()) })

// compareTarget holds target against the API server's own resolver.
func compareTarget(t interface{ Fatalf(string, ...any) }, method, uri string) {
	factory := apirequest.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	quiet()
	verb, object, ok := target(method, uri)
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		if ok {
			t.Fatalf("%s %q is no address, and is read as %s %+v", method, uri, verb, object)
		}
		return
	}
	info, err := factory.NewRequestInfo(&http.Request{Method: method, URL: u})
	if err != nil || !info.IsResourceRequest {
		if ok {
			t.Fatalf("%s %q is about no resource (%v), and is read as %s %+v", method, uri, err, verb, object)
		}
		return
	}
	want := audit.ObjectRef{
		APIGroup: info.APIGroup, APIVersion: info.APIVersion, Resource: info.Resource,
		Subresource: info.Subresource, Namespace: info.Namespace, Name: info.Name,
	}
	if diff := cmp.Diff(want, object); diff != "" || !ok || verb != info.Verb {
		t.Fatalf("%s %q: verb %q, want %q; ok %t; %s", method, uri, verb, info.Verb, ok, diff)
	}
}

func addresses() []string {
	return []string{
		"/", "", "/healthz", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/version?x=/api/v1/pods",
		"/api/v1/pods", "/api/v1/pods/", "/api/v1//pods", "//api/v1/pods", "/api/v1/pods?watch=1", "/api/v1/pods?watch", "/api/v1/pods?watch=false",
		"/api/v1/pods?watch=FALSE", "/api/v1/pods?watch=0&watch=1", "/api/v1/pods?watch=%66alse", "/api/v1/pods?limit=x&watch=true",
		"/api/v1/pods?limit=", "/api/v1/pods?timeoutSeconds=1.5&fieldSelector=metadata.name%3Da", "/api/v1/pods?limit=5;watch=1&limit=6",
		"/api/v1/pods?watch=fal%C5%BFe", "/api/v1/pods?watch=fal%C5%BFe&limit=x",
		"/api/v1/pods?fieldSelector=metadata.name%3Dweb", "/api/v1/pods?fieldSelector=metadata.name=web,spec.nodeName=n&watch=true",
		"/api/v1/pods?fieldSelector=metadata.name!=web", "/api/v1/pods?fieldSelector=metadata.name%3Da%2Fb", "/api/v1/pods?fieldSelector=metadata.name=..",
		"/api/v1/pods?fieldSelector=x", "/api/v1/pods?fieldSelector=metadata.name%3Dweb&labelSelector=%21%21", "/api/v1/pods?labelSelector=a%3Db&fieldSelector=metadata.name%3Dweb",
		"/api/v1/namespaces", "/api/v1/namespaces/shop", "/api/v1/namespaces/shop/", "/api/v1/namespaces/shop/status", "/api/v1/namespaces/shop/finalize",
		"/api/v1/namespaces/shop/pods", "/api/v1/namespaces/shop/pods/web", "/api/v1/namespaces/shop/pods/web/exec?command=sh", "/api/v1/namespaces//pods",
		"/api/v1/namespaces/shop/pods/web/log/more/parts", "/api/v1/nodes/n1/proxy/exec/shop/web/c", "/api/v1/namespaces/shop/services/https:web:443/proxy/a/b?c=d",
		"/api/v1/watch/pods", "/api/v1/watch/namespaces/shop/pods/web", "/api/v1/watch", "/api/v1/watch/", "/api/v1/proxy/nodes/n1", "/api/v1/proxy/namespaces/shop/pods/web/x/y", "/api/v1/proxy",
		"/apis/apps/v1/deployments", "/apis/apps/v1/namespaces/shop/deployments/web/scale", "/apis/apps/v1/namespaces", "/apis/apps//deployments",
		"/apis/apps/v1/watch/namespaces/shop/deployments", "/api/v1/pods%2Fweb", "/api/v1/%70ods/we%62", "/api/v1/pods/%zz", "/api/v1/pods/a b", "/api/v1/pods/é", "/api/v1/pods#x?y",
		"https://host/api/v1/pods/web", "api/v1/pods/web", "*", "/api/v1/pods/\x01", "/API/v1/pods", "/apiserver/v1/pods/x", "/api/v1/pods?%zz=1&watch=1",
	}
}

func TestTarget(t *testing.T) {
	t.Parallel()
	n := 0
	for _, uri := range addresses() {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", ""} {
			compareTarget(t, method, uri)
			n++
		}
	}
	if n < 500 {
		t.Errorf("compared only %d requests", n)
	}
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{
			"api", "apis", "v1", "apps", "namespaces", "shop", "pods", "web", "watch", "proxy", "status", "finalize", "exec", "", "a%2Fb", "%C3%A9", "nodes",
		})
		option := rapid.SampledFrom([]string{
			"watch=true", "watch=0", "watch", "limit=1", "limit=x", "fieldSelector=metadata.name%3Dweb", "fieldSelector=metadata.name", "labelSelector=a",
			"labelSelector=a%3Db%3Dc", "timeoutSeconds=-1", "timeoutSeconds=9223372036854775808", "resourceVersion=0", "%", "a;b", "sendInitialEvents=x", "fieldSelector=a=b,metadata.name==%2E",
		})
		uri := "/" + strings.Join(rapid.SliceOfN(piece, 0, 9).Draw(t, "path"), "/")
		if options := rapid.SliceOfN(option, 0, 4).Draw(t, "query"); len(options) > 0 {
			uri += "?" + strings.Join(options, "&")
		}
		compareTarget(t, rapid.SampledFrom([]string{"GET", "POST", "DELETE", "PATCH"}).Draw(t, "method"), uri)
	})
}

func FuzzTarget(f *testing.F) {
	for _, uri := range addresses() {
		f.Add("GET", uri)
	}
	f.Fuzz(func(t *testing.T, method, uri string) { compareTarget(t, method, uri) })
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	pods := func(sub string) audit.ObjectRef {
		return audit.ObjectRef{APIVersion: "v1", Resource: "pods", Namespace: "shop", Name: "web", Subresource: sub}
	}
	nodeProxy := audit.ObjectRef{APIVersion: "v1", Resource: "nodes", Name: "n1", Subresource: "proxy"}
	svcProxy := audit.ObjectRef{APIVersion: "v1", Resource: "services", Namespace: "shop", Name: "web", Subresource: "proxy"}
	tests := []struct {
		name       string
		e          audit.Event
		verb, said string
		object     audit.ObjectRef
	}{
		{"exec by a GET", audit.Event{Verb: "get", Object: pods("exec"), Status: audit.Status{Code: 101}}, "create", "get", pods("exec")},
		{"exec that was refused", audit.Event{Verb: "get", Object: pods("exec"), Status: audit.Status{Code: 403}}, "create", "get", pods("exec")},
		{"exec by a POST", audit.Event{Verb: "create", Object: pods("exec")}, "create", "", pods("exec")},
		{"attach", audit.Event{Verb: "get", Object: pods("attach")}, "create", "get", pods("attach")},
		{"port-forward", audit.Event{Verb: "get", Object: pods("portforward")}, "create", "get", pods("portforward")},
		{"log through a WebSocket", audit.Event{Verb: "get", Object: pods("log"), Status: audit.Status{Code: 101}}, "get", "", pods("log")},
		{"a pod", audit.Event{Verb: "get", Object: pods("")}, "get", "", pods("")},
		{"a watch through a WebSocket", audit.Event{Verb: "watch", Object: pods(""), Status: audit.Status{Code: 101}}, "watch", "", pods("")},
		{"kubelet exec", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy/exec/shop/web/c?command=id"}, "create", "get", nodeProxy},
		{"kubelet run", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/https:n1:10250/proxy/run/shop/web/c"}, "create", "get", nodeProxy},
		{"kubelet exec, escaped", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy/%65xec/shop/web/c"}, "create", "get", nodeProxy},
		{"kubelet exec, by a detour", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy//pods/../exec/shop/web/c"}, "create", "get", nodeProxy},
		{"kubelet portForward", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy/portForward/shop/web"}, "create", "get", nodeProxy},
		{"kubelet attach", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy/attach/shop/web/c"}, "create", "get", nodeProxy},
		{"kubelet metrics", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy/metrics?x=/proxy/exec"}, "get", "", nodeProxy},
		{"kubelet execute", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy/executions"}, "get", "", nodeProxy},
		{"kubelet upgrade", audit.Event{Verb: "get", Object: nodeProxy, RequestURI: "/api/v1/nodes/n1/proxy/x", Status: audit.Status{Code: 101}}, "create", "get", nodeProxy},
		{"service", audit.Event{Verb: "get", Object: svcProxy, Status: audit.Status{Code: 200}}, "get", "", svcProxy},
		{"service upgrade", audit.Event{Verb: "get", Object: svcProxy, Status: audit.Status{Code: 101}}, "create", "get", svcProxy},
		{
			"another group's upgrade",
			audit.Event{Verb: "get", Object: audit.ObjectRef{APIGroup: "subresources.kubevirt.io", Resource: "virtualmachineinstances", Subresource: "console"}, Status: audit.Status{Code: 101}},
			"create", "get",
			audit.ObjectRef{APIGroup: "subresources.kubevirt.io", Resource: "virtualmachineinstances", Subresource: "console"},
		},
		{"no object, a method", audit.Event{Verb: "GET", RequestURI: "/api/v1/namespaces/shop/pods?limit=5"}, "list", "GET", audit.ObjectRef{APIVersion: "v1", Resource: "pods", Namespace: "shop"}},
		{"no object, a method in small letters", audit.Event{Verb: "delete", RequestURI: "/api/v1/namespaces/shop/pods"}, "deletecollection", "delete", audit.ObjectRef{APIVersion: "v1", Resource: "pods", Namespace: "shop"}},
		{"no object, a verb", audit.Event{Verb: "watch", RequestURI: "/apis/apps/v1/deployments"}, "watch", "", audit.ObjectRef{APIGroup: "apps", APIVersion: "v1", Resource: "deployments"}},
		{"no object, no verb", audit.Event{RequestURI: "/api/v1/pods"}, "", "", audit.ObjectRef{APIVersion: "v1", Resource: "pods"}},
		{"no object, exec", audit.Event{Verb: "get", RequestURI: "/api/v1/namespaces/shop/pods/web/exec?command=sh"}, "create", "get", pods("exec")},
		{"no resource", audit.Event{Verb: "get", RequestURI: "/healthz"}, "get", "", audit.ObjectRef{}},
		{"no resource under /api", audit.Event{Verb: "get", RequestURI: "/api/v1"}, "get", "", audit.ObjectRef{}},
		{"another kind", audit.Event{Kind: audit.KindGateway, Verb: "get", RequestURI: "/api/v1/pods"}, "get", "", audit.ObjectRef{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.e.Kind == "" {
				tt.e.Kind = audit.KindAPI
			}
			normalise(&tt.e)
			if tt.e.Verb != tt.verb || tt.e.SaidVerb != tt.said || tt.e.Object != tt.object {
				t.Errorf("verb %q said %q %+v", tt.e.Verb, tt.e.SaidVerb, tt.e.Object)
			}
		})
	}
}
