package leak

import (
	"bytes"
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
			if hits := search(key, text); hits != nil {
				f.add(hits, text, child("data", key), "", "key "+strconv.Quote(key))
			}
		}
	}
	binary, _ := s.Content["binaryData"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(binary)) {
		text, _ := binary[key].(string)
		raw, ok := decodeAll(text)
		if !ok {
			if text != "" {
				f.unseen = "key " + strconv.Quote(key) + " of binaryData is no base64, or longer than an API server takes"
			}
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
		f.add(search(key, raw), raw, path, "", what)
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
				value, _ := entry["value"].(string)
				if hits := search(variable, value); hits != nil {
					f.add(hits, value, c.Path+".env["+strconv.Itoa(j)+"].value", name, "container "+strconv.Quote(name)+": the variable "+variable)
				}
			}
		}
	}
}

func commands(s *control.Subject, f *finder) {
	for i := range s.Pods {
		for _, c := range s.ContainersOf(i) {
			name, _ := c.Spec["name"].(string)
			program, flag := "", ""
			for _, field := range [...]string{"command", "args"} {
				words, _ := c.Spec[field].([]any)
				for j, w := range words {
					word, _ := w.(string)
					hits := search(flag, word)
					if hits == nil {
						hits = attached(program, flag, word)
					}
					if hits != nil {
						f.add(hits, word, c.Path+"."+field+"["+strconv.Itoa(j)+"]", name, "container "+strconv.Quote(name)+": "+field)
					}
					if program == "" {
						program = word[strings.LastIndexByte(word, '/')+1:]
					}
					flag = ""
					if strings.HasPrefix(word, "-") && !strings.ContainsAny(word, "= ") {
						flag = strings.TrimLeft(word, "-") // its value is the next word, in args too
					}
				}
			}
		}
	}
}

// attached gives the password in a word of a command by the ways of its program.
func attached(program, flag, word string) []hit {
	var h hit
	var ok bool
	switch program {
	case "curl":
		if flag == "u" || flag == "user" {
			h, ok = userPassword(word, 0)
		}
	case "mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb":
		if value, is := strings.CutPrefix(word, "-p"); is {
			if kind, severity, found := judgePassword("a login", value); found {
				h, ok = hit{kind, severity, 0, len(word), len(value)}, true
			}
		}
	}
	if !ok {
		return nil
	}
	return []hit{h}
}

func annotations(s *control.Subject, f *finder) {
	look := func(path string, metadata map[string]any) {
		all, _ := metadata["annotations"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			text, _ := all[key].(string)
			hits := search(key, text)
			switch {
			case strings.HasPrefix(key, "checksum/"):
				continue
			case key == "kubectl.kubernetes.io/last-applied-configuration":
				if s.Object.Kind == "Secret" { // there is the control secret-last-applied
					continue
				}
				hits = onlyThere(hits, text, s.Object.Raw())
			}
			if len(hits) > 0 {
				f.add(hits, text, child(path+".annotations", key), "", "the annotation "+key)
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

// onlyThere leaves out of what was found in the copy that kubectl keeps what stands in
// the object too, where it is looked at itself. What is left was moved to a Secret and
// is still readable here.
func onlyThere(hits []hit, copied string, raw []byte) []hit {
	return slices.DeleteFunc(hits, func(h hit) bool {
		return h.at < 0 || bytes.Count(raw, []byte(copied[h.at:h.end])) != 1
	})
}

// fields looks at all texts of an object but those that have a control of their
// own, and what a controller reports. Most objects hold nothing, so that is asked
// first, without a path for each field.
func fields(s *control.Subject, f *finder) {
	own := map[*any]bool{}
	for i := range s.Pods {
		for _, c := range s.ContainersOf(i) {
			for _, field := range [...]string{"env", "command", "args"} {
				if list, _ := c.Spec[field].([]any); len(list) > 0 {
					own[&list[0]] = true
				}
			}
		}
	}
	w := walker{f, own}
	for key, v := range s.Content {
		if !heading(key) && w.any(key, v, 0) {
			w.object("", s.Content, 0)
			return
		}
	}
}

// heading reports whether a field of the root is looked at elsewhere or says nothing.
func heading(key string) bool {
	return key == "metadata" || key == "status" || key == "apiVersion" || key == "kind"
}

type walker struct {
	*finder
	own map[*any]bool // lists that have a control of their own
}

// deepest is how far below the root a text is looked for; an API server refuses
// what is deeper long before.
const deepest = 64

const tooDeep = "the object is nested deeper than is looked at"

// public fields hold certificates, ciphertext or a schema.
func publicField(key string) bool {
	switch key {
	case "caBundle", "encryptedData", "ciphertext", "managedFields", "openAPIV3Schema":
		return true
	}
	return false
}

// under gives the name that a text stands under: its field, or, of a pair of name
// and value as in a list of headers, that name.
func under(m map[string]any, key string) string {
	if key == "value" {
		if name, ok := m["name"].(string); ok {
			return name
		}
	}
	return key
}

// any reports whether there is a credential below.
func (w walker) any(name string, v any, depth int) bool {
	switch v := v.(type) {
	case string:
		return search(name, v) != nil
	case map[string]any:
		if depth > deepest {
			w.unseen = tooDeep
			return false
		}
		for key, e := range v {
			if !publicField(key) && w.any(under(v, key), e, depth+1) {
				return true
			}
		}
	case []any:
		if depth > deepest {
			w.unseen = tooDeep
			return false
		}
		if len(v) > 0 && w.own[&v[0]] {
			return false
		}
		for _, e := range v {
			if w.any(name, e, depth+1) {
				return true
			}
		}
	}
	return false
}

func (w walker) object(path string, m map[string]any, depth int) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		// Annotations of a template have a control of their own.
		if depth == 0 && heading(key) || publicField(key) || key == "metadata" && m["spec"] != nil {
			continue
		}
		w.value(child(path, key), under(m, key), m[key], depth+1)
	}
}

func (w walker) value(path, name string, v any, depth int) {
	switch v := v.(type) {
	case string:
		if hits := search(name, v); hits != nil {
			w.add(hits, v, path, "", path)
		}
	case map[string]any:
		if depth > deepest+1 { // any counts one less
			w.unseen = tooDeep
			return
		}
		w.object(path, v, depth)
	case []any:
		if depth > deepest+1 {
			w.unseen = tooDeep
			return
		}
		if len(v) > 0 && w.own[&v[0]] {
			return
		}
		for i, e := range v {
			w.value(path+"["+strconv.Itoa(i)+"]", name, e, depth+1)
		}
	}
}

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
