package action

import (
	"os"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, name := range []string{"quarantine-pod", "deny-identity", "cordon-node"} {
		text, err := os.ReadFile("../../../../catalog/responses/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text []byte) {
		if a, err := Parse(text); err == nil {
			for i := range a.Steps {
				if _, ok := kindOf[a.Steps[i].Do]; !ok {
					panic("a step of no kind")
				}
			}
		}
	})
}

func FuzzParseRun(f *testing.F) {
	f.Add([]byte(`{"id":"r-010101010101","state":"standing","changes":[{"do":"kubernetes.cordon","object":{"apiVersion":"v1","resource":"nodes","kind":"Node","name":"n"},"fields":[{"path":["spec","unschedulable"],"after":true}]}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if r, err := parseRun(text); err == nil {
			_ = r.clone()
			_ = r.event(Note{})
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(automatic))
	all := map[string]*Action{"quarantine-pod": {Name: "quarantine-pod", From: map[string]Reading{ReadObject: {}}}}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text, all)
		if err != nil {
			return
		}
		for _, b := range p.Responses {
			if b.Mode != ModeDryRun && b.Mode != ModeEnforce || b.Expiry.Duration <= 0 || b.Expiry.Duration > p.MaxExpiry.Duration {
				t.Errorf("%+v", b)
			}
		}
	})
}

// FuzzCELString: no text ends the string that it stands in.
func FuzzCELString(f *testing.F) {
	f.Add(`a" || true || "`)
	f.Add("\\\n\U0001F600")
	f.Fuzz(func(t *testing.T, s string) {
		got := celString(s)
		inner := got[1 : len(got)-1]
		for i := 0; i < len(inner); i++ {
			if inner[i] == '"' || inner[i] < ' ' || inner[i] >= 0x7f {
				t.Fatalf("%q: %s", s, got)
			}
			if inner[i] == '\\' {
				if inner[i+1] != 'u' && inner[i+1] != 'U' {
					t.Fatalf("%q: %s", s, got)
				}
				i++
			}
		}
	})
}
