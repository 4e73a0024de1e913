package behaviour

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	yaml "go.yaml.in/yaml/v3"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got := parse(t, `
type: peer_group
outcome: any
group-by: [a, b]
fields: [c, d]
peers: {of: g, ignore: [x], members: 4}
roam: {field: d, after: 2}
learning: {for: 90m, events: 3}
forget: 400d
neverLearn: {when: a or b, rare: 2, after: 0s}
identities: 30
values: 40
selection: {}
`)
	want := &Spec{
		Line: 2, Type: PeerGroup, Outcome: OutcomeAny, GroupBy: []string{"a", "b"}, Fields: []string{"c", "d"}, Network: Network{IPv4: 24, IPv6: 48},
		LearnFor: 90 * time.Minute, LearnEvents: 3, Forget: 400 * 24 * time.Hour, Roam: Roam{"d", 2}, Never: Never{When: "a or b", Line: 10, Rare: 2},
		Peers: Peers{"g", []string{"x"}, 4}, Identities: 30, Values: 40,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a", "b", "c", "d", "g"}, got.Names()); d != "" {
		t.Error(d)
	}
	got = parse(t, `{type: new_value, value: network, group-by: [a], network: {ipv4: 16, ipv6: 32, proxies: [192.0.2.0/24], together: ['fc00::/7']}, learning: {for: 7d, events: 3}, forget: 30d, selection: {}}`)
	network := Network{16, 32, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []netip.Prefix{netip.MustParsePrefix("fc00::/7")}}
	if d := cmp.Diff(network, got.Network, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Error(d)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	const first = "type: first_seen\nfields: [a, b]\nselection: {}\n"
	const whole = first + "learning: {for: 7d, events: 3}\nforget: 30d\n"
	for _, c := range [][2]string{
		{"[]", "r.yaml:1: behaviour: expected a mapping"},
		{whole + "window: 1h", "r.yaml:6: behaviour: window says nothing for first_seen"},
		{whole + "groupby: [a]", `r.yaml:6: behaviour: "groupby" is unknown`},
		{whole + "outcome: all", "r.yaml:6: behaviour: outcome \"all\": expected one of"},
		{whole + "group-by: a", "r.yaml:6: behaviour: group-by: expected a list"},
		{whole + "values: 10001", "r.yaml:6: behaviour: values: expected a whole number from 10 to 10000"},
		{whole + "values: '20'", "r.yaml:6: behaviour: values: expected a whole number"},
		{whole + "values: 9999\nidentities: 99999", "identities times values is"},
		{whole + "roam: {field: c, after: 2}", "r.yaml:6: behaviour: roam.field \"c\""},
		{whole + "roam: {field: a}", "roam: field and after are needed"},
		{whole + "neverLearn: {when: x}", "neverLearn: when and after are needed"},
		{whole + "neverLearn: {when: x, often: 2}", `neverLearn: "often" is unknown`},
		{whole + "network: {ipv4: 24}", "network says nothing for first_seen"},
		{first + "forget: 30d", "learning is missing"},
		{first + "learning: {for: 7d, events: 3}", "forget is missing"},
		{first + "learning: {for: 7d}\nforget: 30d", "learning: for and events are needed"},
		{first + "learning: {for: 7w, events: 3}", `r.yaml:4: behaviour: learning.for "7w": expected a number`},
		{first + "learning: {for: 30s, events: 3}", `learning.for "30s": expected from minute to 365 days`},
		{first + "learning: {for: 4000000000d, events: 3}", `expected from`},
		{first + "learning: {for: 99999999999999d, events: 3}", `expected a number`},
		{first + "learning: {for: 7d, events: 3}\nforget: 7d", "forget: it must be longer"},
		{first + "learning: {for: 7d, events: 3}\nforget: 25h", "forget: expected whole days"},
		{"type: first_seen\nselection: {}\nfields: []\nlearning: {for: 7d, events: 3}\nforget: 30d", "fields is empty"},
		{"type: first_seen\nselection: {}\nfields: [a, a]\nlearning: {for: 7d, events: 3}\nforget: 30d", `fields: "a" stands there twice`},
		{"type: seen\nselection: {}", `type "seen": expected one of`},
		{"selection: {}", "type is missing"},
		{"type: rate\nselection: {}\nlearning: {for: 7d, events: 3}\nforget: 30d\ngroup-by: [a]\nwindow: 1h\ntimes: 2", "least is missing, which rate needs"},
		{"type: rate\nselection: {}\nlearning: {for: 7d, events: 3}\nforget: 30d\ngroup-by: []\nwindow: 1h\ntimes: 2\nleast: 2", "group-by is empty"},
		{"type: new_value\nselection: {}\nlearning: {for: 7d, events: 3}\nforget: 30d\ngroup-by: [a]\nvalue: client\nnetwork: {ipv4: 9}", "network says nothing for value client"},
		{"type: new_value\nselection: {}\nlearning: {for: 7d, events: 3}\nforget: 30d\ngroup-by: [a]\nvalue: network\nnetwork: {proxies: [x]}", "network.proxies: netip.ParsePrefix"},
		{"type: new_value\nselection: {}\nlearning: {for: 7d, events: 3}\nforget: 30d\ngroup-by: [a]\nvalue: network\nnetwork: {together: [10.1.0.0/8]}", "is it 10.0.0.0/8?"},
		{"type: new_value\nselection: {}\nlearning: {for: 7d, events: 3}\nforget: 30d\ngroup-by: [a]\nvalue: network\nnetwork: {together: ['::ffff:10.0.0.0/104']}", "write networks of IPv4 as such"},
		{"type: peer_group\nselection: {}\nlearning: {for: 7d, events: 3}\nforget: 30d\ngroup-by: [a]\nfields: [b]\npeers: {of: g}", "peers: of and members are needed"},
	} {
		text, want := c[0], c[1]
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if _, err := Parse("r.yaml", doc.Content[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v\nexpected %s", text, err, want)
		}
	}
	if _, err := New(&Spec{}, nil); err == nil {
		t.Error("a Memory was made of nothing")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(plain)
	f.Add(hourly)
	f.Fuzz(func(t *testing.T, text string) {
		var doc yaml.Node
		if yaml.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
			return
		}
		s, err := Parse("r.yaml", doc.Content[0])
		if err != nil {
			return
		}
		if _, err := New(s, nil); err != nil {
			t.Errorf("%s was read, but: %v", text, err)
		}
	})
}
