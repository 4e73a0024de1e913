package leak

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

func hasPods(s *control.Subject) bool  { return len(s.Pods) > 0 }
func everything(*control.Subject) bool { return true }
func isConfigMap(s *control.Subject) bool {
	return s.Object.Kind == "ConfigMap" && s.Object.Group() == ""
}

// isOther leaves out what has a control of its own, copies of other objects, and
// kinds that machines write in great numbers and that have no room for a credential.
func isOther(s *control.Subject) bool {
	switch s.Object.Group() {
	case "", "events.k8s.io":
		switch s.Object.Kind {
		case "ConfigMap", "Secret", "Event", "Node", "Endpoints", "ServiceAccount", "Namespace":
			return false
		}
	case "apps":
		return s.Object.Kind != "ControllerRevision"
	case "apiextensions.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "metrics.k8s.io", "bitnami.com", "rbac.authorization.k8s.io":
		return false
	}
	return true
}

func configMap(s *control.Subject, f *finder) {
	data, _ := s.Content["data"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if text, ok := data[key].(string); ok {
			f.field(child("data", key), "", "key "+strconv.Quote(key), key, text)
		}
	}
	binary, _ := s.Content["binaryData"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(binary)) {
		text, _ := binary[key].(string)
		raw, ok := decodeAll(text)
		if !ok {
			continue
		}
		path, what := child("binaryData", key), "key "+strconv.Quote(key)
		if kind := store(raw); kind != "" {
			f.out = append(f.out, control.Result{
				Verdict: bulwark.VerdictFail, Field: path, Severity: medium, Key: what + " " + kind,
				Message: what + " holds " + kind + " (" + strconv.Itoa(len(raw)) + " bytes)",
			})
			continue
		}
		f.field(path, "", what, key, raw)
	}
}

// store names a file that keeps private keys under a password, by its first bytes.
func store(raw string) string {
	switch {
	case strings.HasPrefix(raw, "\xfe\xed\xfe\xed") || strings.HasPrefix(raw, "\xce\xce\xce\xce"):
		return "a Java key store"
	case len(raw) > 64 && raw[0] == 0x30 && raw[1] == 0x82 && raw[4:7] == "\x02\x01\x03":
		return "a PKCS #12 store"
	}
	return ""
}

func environment(s *control.Subject, f *finder) {
	for i := range s.Pods {
		for _, c := range s.ContainersOf(i) {
			name, _ := c.Spec["name"].(string)
			env, _ := c.Spec["env"].([]any)
			for j, e := range env {
				entry, _ := e.(map[string]any)
				variable, _ := entry["name"].(string)
				if value, ok := entry["value"].(string); ok {
					f.field(c.Path+".env["+strconv.Itoa(j)+"].value", name, "container "+strconv.Quote(name)+": the variable "+variable, variable, value)
				}
			}
		}
	}
}

func commands(s *control.Subject, f *finder) {
	for i := range s.Pods {
		for _, c := range s.ContainersOf(i) {
			name, _ := c.Spec["name"].(string)
			for _, field := range [...]string{"command", "args"} {
				words, _ := c.Spec[field].([]any)
				what := "container " + strconv.Quote(name) + ": " + map[string]string{"command": "the command", "args": "an argument"}[field]
				flag := ""
				for j, w := range words {
					word, _ := w.(string)
					f.field(c.Path+"."+field+"["+strconv.Itoa(j)+"]", name, what, flag, word)
					flag = ""
					if strings.HasPrefix(word, "-") && !strings.ContainsAny(word, "= ") {
						flag = strings.TrimLeft(word, "-") // its value is the next word
					}
				}
			}
		}
	}
}

func annotations(s *control.Subject, f *finder) {
	look := func(path string, metadata map[string]any) {
		all, _ := metadata["annotations"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			// The copy that kubectl keeps repeats fields that are looked at themselves; for
			// Secrets there is the control secret-last-applied.
			if key == "kubectl.kubernetes.io/last-applied-configuration" || strings.HasPrefix(key, "checksum/") {
				continue
			}
			if text, ok := all[key].(string); ok {
				f.field(child(path+".annotations", key), "", "the annotation "+key, key, text)
			}
		}
	}
	metadata, _ := s.Content["metadata"].(map[string]any)
	look("metadata", metadata)
	for i := range s.Pods {
		if p := &s.Pods[i]; p.MetadataPath != "" && p.MetadataPath != "metadata" {
			look(p.MetadataPath, p.Metadata)
		}
	}
}

// fields looks at all texts of an object but those that have a control of their
// own, and what a controller reports.
func fields(s *control.Subject, f *finder) {
	skip := map[string]bool{"metadata": true, "status": true, "apiVersion": true, "kind": true}
	for i := range s.Pods {
		if p := s.Pods[i].MetadataPath; p != "" {
			skip[p] = true
		}
		for _, c := range s.ContainersOf(i) {
			skip[c.Path+".env"], skip[c.Path+".command"], skip[c.Path+".args"] = true, true, true
		}
	}
	w := walker{f, skip}
	w.object("", s.Content, 0)
}

type walker struct {
	*finder
	skip map[string]bool
}

// deepest is how far below the root a text is looked for; an API server refuses
// what is deeper long before.
const deepest = 64

func (w walker) object(path string, m map[string]any, depth int) {
	if depth > deepest {
		return
	}
	// A list of names and values, as of headers.
	if name, ok := m["name"].(string); ok {
		if value, isText := m["value"].(string); isText {
			w.text(child(path, "value"), name, value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		switch key {
		case "caBundle", "encryptedData", "ciphertext", "managedFields", "openAPIV3Schema":
			continue
		case "value":
			if _, ok := m["name"].(string); ok {
				if _, isText := m["value"].(string); isText {
					continue
				}
			}
		}
		w.value(child(path, key), key, m[key], depth+1)
	}
}

func (w walker) value(path, key string, v any, depth int) {
	if len(w.skip) > 0 && w.skip[path] {
		return
	}
	switch v := v.(type) {
	case string:
		w.text(path, key, v)
	case map[string]any:
		w.object(path, v, depth)
	case []any:
		if depth > deepest {
			return
		}
		for i, e := range v {
			w.value(path+"["+strconv.Itoa(i)+"]", key, e, depth+1)
		}
	}
}

func (w walker) text(path, name, text string) { w.field(path, "", path, name, text) }

// child gives the path of a field, quoted where its name is no plain one.
func child(path, key string) string {
	for i := range len(key) {
		if classes[key[i]]&nameByte == 0 {
			return path + "[" + strconv.Quote(key) + "]"
		}
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func decodeAll(s string) (string, bool) {
	if len(s) > maxWrapped {
		return "", false
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	return string(raw), err == nil && len(raw) > 0
}
