package bulwark

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	const text = "hunter2-hunter2"
	type holder struct {
		Public string
		S      Secret
		s      Secret
	}
	s := NewSecret([]byte(text))
	h := holder{"p", s, s}
	var printed []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		printed = append(printed, fmt.Sprintf(verb, s), fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h), fmt.Sprintf(verb, []Secret{s}))
	}
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("s", s), slog.Any("h", h))
	printed = append(printed, string(j), log.String())
	for _, p := range printed {
		if strings.Contains(p, "hunter2") || strings.Contains(p, fmt.Sprintf("%x", text)) || strings.Contains(p, "104 117 110 116") {
			t.Errorf("a secret printed itself: %s", p)
		}
	}
	if string(s.Reveal()) != text || s.Empty() || !(Secret{}).Empty() {
		t.Error("Reveal or Empty is wrong")
	}
}

func TestZeroDecisionRefuses(t *testing.T) {
	if (Decision{}).Allowed {
		t.Error("the zero Decision allows")
	}
	var nobody *Identity
	if nobody.Known() || (&Identity{}).Known() || nobody.HasRole("") {
		t.Error("nobody is known")
	}
}
