package posture

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"bulwark.dev/bulwark"
)

// Fingerprint names a finding in a way that stays when lines move, lists are
// reordered, the version of the API or the wording changes. key is that of
// control.Result.
func Fingerprint(control string, o bulwark.ObjectRef, key string) string {
	h := sha256.New()
	for _, part := range []string{control, o.Group(), o.Kind, o.Namespace, o.Name, key} {
		// Each with its length, so that no two lists of parts are the same text.
		_, _ = h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// number makes equal fingerprints of sorted findings differ by counting them.
func number(findings []bulwark.Finding) {
	seen := make(map[string]int, len(findings))
	for i := range findings {
		f := &findings[i]
		seen[f.Fingerprint]++
		if n := seen[f.Fingerprint]; n > 1 {
			f.Fingerprint += "-" + strconv.Itoa(n)
		}
	}
}
