package message

import (
	"net/url"
	"strings"
	"testing"
)

func TestNormalizePath(t *testing.T) {
	for _, tc := range []struct {
		raw, want string
		odd       Oddity
		bad       bool
	}{
		{raw: "/", want: "/"},
		{raw: "/a/b.c/..d/e..", want: "/a/b.c/..d/e.."},
		{raw: "/a//b///c", want: "/a/b/c"},
		{raw: "//evil", want: "/evil"},
		{raw: "/%61dmin", want: "/admin"},
		{raw: "/a%2db", want: "/a-b"},
		{raw: "/caf%c3%a9", want: "/caf%C3%A9"},
		{raw: "/a%20b", want: "/a%20b"},
		{raw: "/a%3ab%40", want: "/a%3Ab%40"},
		{raw: "/a%2fb", want: "/a%2Fb", odd: EncodedSlash},
		{raw: "/a%3bb;c%3F%23", want: "/a%3Bb;c%3F%23", odd: EncodedSemicolon | PathParameter | EncodedQuestion | EncodedHash},
		{raw: "/100%25", want: "/100%25", odd: EncodedPercent},
		{raw: "/a/./b", bad: true},
		{raw: "/a/../b", bad: true},
		{raw: "/..", bad: true},
		{raw: "/..;/b", bad: true},
		{raw: "/.;x/b", bad: true},
		{raw: "/%2e%2e/b", bad: true},
		{raw: "/a%2e", bad: true},
		{raw: "/%252e%252e/", bad: true},
		{raw: "/a%00b", bad: true},
		{raw: "/a%0d%0ab", bad: true},
		{raw: "/a%5cb", bad: true},
		{raw: `/a\b`, bad: true},
		{raw: "/a%c0%af", bad: true},
		{raw: "/a%ff", bad: true},
		{raw: "/a%", bad: true},
		{raw: "/a%2", bad: true},
		{raw: "/a%zz", bad: true},
		{raw: "/a#b", bad: true},
		{raw: "/a b", bad: true},
		{raw: "/a\tb", bad: true},
		{raw: "/\xc3\xa9", bad: true},
		{raw: "a", bad: true},
		{raw: "", bad: true},
	} {
		got, odd, err := NormalizePath(tc.raw)
		if (err != nil) != tc.bad {
			t.Errorf("NormalizePath(%q): error %v, want refused=%v", tc.raw, err, tc.bad)
			continue
		}
		if got != tc.want || odd != tc.odd {
			t.Errorf("NormalizePath(%q) = %q, %b; want %q, %b", tc.raw, got, odd, tc.want, tc.odd)
		}
	}
}

func TestSplitHost(t *testing.T) {
	for _, tc := range []struct {
		in, host, port string
		bad            bool
	}{
		{in: "Shop.Example", host: "shop.example"},
		{in: "shop.example.:8080", host: "shop.example", port: "8080"},
		{in: "10.0.0.1:80", host: "10.0.0.1", port: "80"},
		{in: "[::1]:80", host: "[::1]", port: "80"},
		{in: "[FE80::1]", host: "[fe80::1]"},
		{in: "", bad: true},
		{in: ".", bad: true},
		{in: "a..b", bad: true},
		{in: ".a", bad: true},
		{in: "a:", bad: true},
		{in: "a:0", bad: true},
		{in: "a:080", bad: true},
		{in: "a:65536", bad: true},
		{in: "a:8a", bad: true},
		{in: "a:80:80", bad: true},
		{in: "u@a", bad: true},
		{in: "a b", bad: true},
		{in: "a,b", bad: true},
		{in: "a/b", bad: true},
		{in: "a%41", bad: true},
		{in: "[::1", bad: true},
		{in: "[::1]80", bad: true},
		{in: "[x]", bad: true},
		{in: "[]", bad: true},
		{in: "[::1%25lo]", bad: true},
		{in: "é", bad: true},
		{in: "a\x00", bad: true},
	} {
		host, port, ok := SplitHost(tc.in)
		if ok == tc.bad || host != tc.host || port != tc.port {
			t.Errorf("SplitHost(%q) = %q, %q, %v", tc.in, host, port, ok)
		}
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/", "/a//b", "/%61%2f;x", "/..;/", "/%25", "/a%c3%a9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, odd, err := NormalizePath(raw)
		if err != nil {
			return
		}
		twice, odd2, err := NormalizePath(once)
		if err != nil || twice != once || odd2 != odd {
			t.Fatalf("not idempotent: %q -> %q -> %q (%v)", raw, once, twice, err)
		}
		decoded, err := url.PathUnescape(once)
		if err != nil {
			t.Fatalf("%q does not decode: %v", once, err)
		}
		if strings.ContainsAny(decoded, "\\\x00") {
			t.Fatalf("%q decodes to a backslash or NUL", once)
		}
		for seg := range strings.SplitSeq(decoded, "/") {
			// An allowed %2F makes decoded segments of its own: even these hold no dots.
			if odd&EncodedSlash == 0 && (seg == "." || seg == "..") {
				t.Fatalf("%q decodes to a dot segment", once)
			}
		}
	})
}
