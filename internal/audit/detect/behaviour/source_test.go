package behaviour

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAppendClient(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string]string{
		"kubectl/v1.33.2 (linux/amd64) kubernetes/7a2f4b1":                                                       "kubectl linux/amd64",
		"kubectl1.29.3/v1.29.3 (darwin/arm64) kubernetes/6813625":                                                "kubectl darwin/arm64",
		"kubectl.exe/v1.30.0 (windows/amd64) kubernetes/7c48c2b":                                                 "kubectl.exe windows/amd64",
		"kube-controller-manager/v1.33.2 (linux/amd64) kubernetes/7a2f4b1/system:serviceaccount:kube-system:x-y": "kube-controller-manager linux/amd64",
		"curl/8.9.1":             "curl",
		"python-requests/2.32.3": "python-requests",
		"Go-http-client/2.0":     "go-http-client",
		"Helm/3.14.0":            "helm",
		"cart-7f9c6d5b4f/v0.0.0 (linux/amd64) go/x":     "cart linux/amd64",
		"operator-v2-1a2b3c4d5e/v0 (linux/amd64)":       "operator linux/amd64",
		"facade/v1 (linux/amd64)":                       "facade linux/amd64",
		"k8s-tool/1":                                    "k8s-tool",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) x/1": "mozilla windows nt",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15)": "mozilla macintosh",
		"OpenAPI-Generator/28.1.0/python":               "openapi-generator",
		"":                                              "",
		"/":                                             "/",
		"(x)":                                           "x",
		" (x) y":                                        "x",
		"1.2.3":                                         "",
		"name with words (linux)":                       "name",
	} {
		if got := string(AppendClient(nil, agent)); got != want {
			t.Errorf("%q is %q, expected %q", agent, got, want)
		}
	}
}

func FuzzAppendClient(f *testing.F) {
	f.Add("kubectl/v1.33.2 (linux/amd64) kubernetes/7a2f4b1")
	f.Add(strings.Repeat("-a1(", 1000))
	f.Fuzz(func(t *testing.T, agent string) {
		got := AppendClient([]byte("before"), agent)
		if len(got) > len("before")+maxClient || !strings.HasPrefix(string(got), "before") {
			t.Errorf("%q", got)
		}
	})
}

func TestSource(t *testing.T) {
	t.Parallel()
	proxies := Network{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	for _, c := range []struct{ ips, plain, behind string }{
		{"198.51.100.1", "198.51.100.1", "198.51.100.1"},
		{"198.51.100.1 192.0.2.1", "192.0.2.1", "198.51.100.1"},
		{"10.0.0.1 198.51.100.1 192.0.2.1", "192.0.2.1", "198.51.100.1"},                    // what a client says is not believed
		{"10.0.0.1 198.51.100.1 2001:db8::1 ::ffff:192.0.2.1", "192.0.2.1", "198.51.100.1"}, // two proxies
		{"junk 192.0.2.1", "192.0.2.1", "192.0.2.1"},                                        // it says nothing
		{"198.51.100.1 junk", "", ""},                                                       // the connection's own cannot be read
		{"fe80::1%eth0", "fe80::1", "fe80::1"},                                              // zones are the server's own
		{"192.0.2.1 192.0.2.2", "192.0.2.2", "192.0.2.1"},                                   // a proxy asks for itself
		{"10.0.0.1 192.0.2.1 203.0.113.5 192.0.2.1", "192.0.2.1", "203.0.113.5"},            // nor what comes through two
	} {
		for n, want := range map[*Network]string{{}: c.plain, &proxies: c.behind} {
			got, ok := n.Source(strings.Fields(c.ips))
			if ok != (want != "") || ok && got.String() != want {
				t.Errorf("%q: %s, expected %q", c.ips, got, want)
			}
		}
	}
	if _, ok := proxies.Source(nil); ok {
		t.Error("there is a source where there is no address")
	}
	n := Network{IPv4: 24, IPv6: 48, Together: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for text, want := range map[string]string{"10.9.8.7": "10.0.0.0/8", "198.51.100.77": "198.51.100.0/24", "2001:db8:1:2::3": "2001:db8:1::/48"} {
		if got := n.Of(netip.MustParseAddr(text)).String(); got != want {
			t.Errorf("%s is in %s, expected %s", text, got, want)
		}
	}
}
