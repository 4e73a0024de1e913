package segment

import (
	"encoding/hex"

	"bulwark.dev/bulwark/internal/audit"
)

// parseUUID takes only what formatUUID gives back, so that no other spelling of an id is
// lost.
func parseUUID(id *[16]byte, s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	for i, at := range [16]byte{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		var both byte
		for _, c := range [2]byte{s[at], s[at+1]} {
			v := c&15 + 9*(c>>6) // without branches: the digits are random
			if v > 15 || hexDigits[v] != c {
				return false
			}
			both = both<<4 | v
		}
		id[i] = both
	}
	return true
}

func formatUUID(id []byte) string {
	var s [36]byte
	hex.Encode(s[0:8], id[0:4])
	hex.Encode(s[9:13], id[4:6])
	hex.Encode(s[14:18], id[6:8])
	hex.Encode(s[19:23], id[8:10])
	hex.Encode(s[24:36], id[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// parseNumber takes only what strconv.FormatInt gives back.
func parseNumber(s string) (int64, bool) {
	if s == "" || len(s) > 18 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	var v int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v = v*10 + int64(s[i]-'0')
	}
	return v, true
}

func appendRedactions(dst []byte, list []audit.Redaction) []byte {
	if len(list) == 0 {
		return dst
	}
	for i, r := range list {
		if i == 0 {
			dst = append(dst, '[')
		} else {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"path":`...), r.Path)
		dst = appendString(append(dst, `,"commitment":`...), r.Commitment)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func parseRedactions(text string) ([]audit.Redaction, error) {
	s := scanner{rest: text}
	var list []audit.Redaction
	for first := true; !s.take("]"); first = false {
		var r audit.Redaction
		var err error
		if first && !s.take("[") || !first && !s.take(",") || !s.take(`{"path":`) {
			return nil, errJSON
		}
		if r.Path, err = s.text(); err != nil {
			return nil, err
		}
		if !s.take(`,"commitment":`) {
			return nil, errJSON
		}
		if r.Commitment, err = s.text(); err != nil {
			return nil, err
		}
		if !s.take("}") {
			return nil, errJSON
		}
		list = append(list, r)
	}
	if string(appendRedactions(nil, list)) != text {
		return nil, errJSON
	}
	return list, nil
}
