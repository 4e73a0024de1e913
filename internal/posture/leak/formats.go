package leak

import (
	"hash/crc32"
	"strings"

	"bulwark.dev/bulwark"
)

// format is a token with a published prefix.
type format struct {
	prefix   string
	kind     string
	body     alphabet
	min, max int // length of the body
	severity bulwark.Severity
	check    func(body string) bool // nil: the alphabet, the length and the entropy do
}

const (
	low    = bulwark.SeverityLow
	medium = bulwark.SeverityMedium
	high   = bulwark.SeverityHigh
)

// formats are those of which the issuer's documents, or their own scanners, name the
// prefix and the length.
var formats = []format{
	{"ghp_", "a GitHub personal access token", alnum, 36, 36, high, base62CRC},
	{"gho_", "a GitHub OAuth token", alnum, 36, 36, high, base62CRC},
	{"ghu_", "a GitHub user token", alnum, 36, 36, high, base62CRC},
	{"ghs_", "a GitHub installation token", alnum, 36, 36, high, base62CRC},
	{"ghr_", "a GitHub refresh token", alnum, 36, 76, high, base62CRC},
	{"github_pat_", "a GitHub fine-grained token", alnum | nameByte, 82, 82, high, func(b string) bool { return b[22] == '_' }},
	{"npm_", "an npm token", alnum, 36, 36, high, base62CRC},
	{"glpat-", "a GitLab personal access token", base64url | dot, 20, 320, high, nil},
	{"gldt-", "a GitLab deploy token", base64url | dot, 20, 320, high, nil},
	{"glrt-", "a GitLab runner token", base64url | dot, 20, 320, high, nil},
	{"glptt-", "a GitLab trigger token", base64url | dot, 20, 320, high, nil},
	{"glcbt-", "a GitLab job token", base64url | dot, 20, 320, medium, nil},
	{"glagent-", "a GitLab agent token", base64url | dot, 20, 320, high, nil},
	{"gloas-", "a GitLab OAuth secret", base64url | dot, 20, 320, high, nil},
	{"glsoat-", "a GitLab SCIM token", base64url | dot, 20, 320, high, nil},
	{"glft-", "a GitLab feed token", base64url | dot, 20, 320, medium, nil},
	{"glimt-", "a GitLab mail token", base64url | dot, 20, 320, medium, nil},
	{"glffct-", "a GitLab feature flag token", base64url | dot, 20, 320, medium, nil},
	{"GR1348941", "a GitLab runner registration token", base64url, 20, 20, high, nil},
	{"xoxb-", "a Slack bot token", base64url, 24, 256, high, slack},
	{"xoxp-", "a Slack user token", base64url, 24, 256, high, slack},
	{"xoxa-", "a Slack app token", base64url, 24, 256, high, slack},
	{"xoxs-", "a Slack session token", base64url, 24, 256, high, slack},
	{"xoxr-", "a Slack refresh token", base64url, 24, 256, high, slack},
	{"xoxe-", "a Slack refresh token", base64url, 24, 256, high, slack},
	{"xoxc-", "a Slack session token", base64url, 24, 256, high, slack},
	{"xapp-", "a Slack app-level token", base64url, 24, 256, high, slack},
	{"sk_live_", "a Stripe secret key", alnum, 24, 250, high, nil},
	{"rk_live_", "a Stripe restricted key", alnum, 24, 250, high, nil},
	{"sk_test_", "a Stripe test key", alnum, 24, 250, low, nil},
	{"rk_test_", "a Stripe test key", alnum, 24, 250, low, nil},
	{"whsec_", "a webhook signing secret", alnum | base64std, 24, 100, medium, nil},
	{"pypi-AgEIcHlwaS5vcmc", "a PyPI token", base64url, 50, 1000, high, nil},
	{"pypi-AgENdGVzdC5weXBpLm9yZw", "a TestPyPI token", base64url, 50, 1000, low, nil},
	{"AIza", "a Google API key", base64url, 35, 35, medium, nil},
	{"GOCSPX-", "a Google OAuth client secret", base64url, 28, 28, high, nil},
	{"ya29.", "a Google access token", base64url | dot, 40, 1024, medium, nil},
	{"hvs.", "a Vault token", base64url, 24, 500, high, nil},
	{"hvb.", "a Vault batch token", base64url, 24, 500, high, nil},
	{"hvr.", "a Vault recovery token", base64url, 24, 500, high, nil},
	{"dop_v1_", "a DigitalOcean token", lowerHex, 64, 64, high, nil},
	{"doo_v1_", "a DigitalOcean OAuth token", lowerHex, 64, 64, high, nil},
	{"dor_v1_", "a DigitalOcean refresh token", lowerHex, 64, 64, high, nil},
	{"dckr_pat_", "a Docker Hub token", base64url, 24, 40, high, nil},
	{"dckr_oat_", "a Docker Hub organisation token", base64url, 24, 60, high, nil},
	{"hf_", "a Hugging Face token", alnum, 34, 40, high, mixedCase},
	{"sk-ant-", "an Anthropic API key", base64url, 80, 200, high, nil},
	{"sk-proj-", "an OpenAI API key", base64url, 40, 250, high, nil},
	{"sk-svcacct-", "an OpenAI API key", base64url, 40, 250, high, nil},
	{"sk-or-v1-", "an OpenRouter key", lowerHex, 64, 64, high, nil},
	{"gsk_", "a Groq key", alnum, 52, 52, high, mixedCase},
	{"SG.", "a SendGrid API key", base64url | dot, 66, 66, high, func(b string) bool { return b[22] == '.' }},
	{"glsa_", "a Grafana service account token", alnum | nameByte, 41, 41, high, func(b string) bool { return b[32] == '_' && run(b, 33, lowerHex, 8) == 41 }},
	{"glc_ey", "a Grafana Cloud token", base64std, 40, 500, high, nil},
	{"dapi", "a Databricks token", lowerHex, 32, 32, high, nil},
	{"shpat_", "a Shopify token", lowerHex | alnum, 32, 32, high, nil},
	{"shpss_", "a Shopify shared secret", lowerHex | alnum, 32, 32, high, nil},
	{"NRAK-", "a New Relic key", alnum, 27, 27, high, nil},
	{"lin_api_", "a Linear key", alnum, 40, 40, high, nil},
	{"pul-", "a Pulumi token", lowerHex, 40, 40, high, nil},
	{"tskey-auth-", "a Tailscale auth key", base64url, 20, 80, high, nil},
	{"tskey-api-", "a Tailscale API key", base64url, 20, 80, high, nil},
	{"PMAK-", "a Postman key", base64url, 59, 59, high, nil},
	{"rubygems_", "a RubyGems key", lowerHex, 48, 48, high, nil},
	{"cio", "a crates.io token", alnum, 32, 32, high, mixedCase},
	{"LTAI", "an Alibaba Cloud key id", alnum, 12, 26, medium, mixedCase},
	{"ATATT3xFfGF0", "an Atlassian token", base64url | base64std, 150, 250, high, nil},
	{"dp.pt.", "a Doppler token", alnum, 40, 44, high, nil},
	{"sntrys_eyJ", "a Sentry token", base64std | nameByte, 60, 400, high, nil},
	{"ops_eyJ", "a 1Password service account token", base64url, 200, 1500, high, nil},
	{"AGE-SECRET-KEY-1", "an age secret key", alnum, 58, 58, high, nil},
	{"sq0csp-", "a Square secret", base64url, 43, 43, high, nil},
	{"sqp_", "a SonarQube token", lowerHex, 40, 40, high, nil},
	{"squ_", "a SonarQube token", lowerHex, 40, 40, high, nil},
	{"sqa_", "a SonarQube token", lowerHex, 40, 40, high, nil},
	{"pscale_tkn_", "a PlanetScale token", base64url | dot, 32, 64, high, nil},
	{"pscale_pw_", "a PlanetScale password", base64url | dot, 32, 64, high, nil},
	{"sbp_", "a Supabase token", lowerHex, 40, 40, high, nil},
	{"AKCp", "an Artifactory key", alnum, 69, 69, high, mixedCase},
}

// tokens gives the anchors of formats.
func tokens() []anchor {
	out := make([]anchor, 0, len(formats))
	for i := range formats {
		f := &formats[i]
		out = append(out, anchor{f.prefix, true, f.find})
	}
	return out
}

func (f *format) find(s *source, at int) (hit, bool) {
	text := s.text
	begin := at + len(f.prefix)
	end := s.run(begin, f.body, f.max+1)
	body := text[begin:end]
	for f.body&dot != 0 && strings.HasSuffix(body, ".") { // the end of a sentence
		body, end = body[:len(body)-1], end-1
	}
	if len(body) < f.min || len(body) > f.max || end < len(text) && classes[text[end]]&alnum != 0 {
		return hit{}, false
	}
	least := 3.0
	if f.body == lowerHex {
		least = 2.5
	}
	if f.check != nil && !f.check(body) || madeUp(body) || entropy(body) < least {
		return hit{}, false
	}
	return hit{f.kind, f.severity, at, end, end - at}, true
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62CRC checks the last six characters, which are the CRC32 of those before.
// GitHub and npm document it, so that scanners need no guess.
func base62CRC(body string) bool {
	n := len(body) - 6
	sum := crc32.ChecksumIEEE([]byte(body[:n]))
	for i := len(body) - 1; i >= n; i-- {
		if body[i] != base62[sum%62] {
			return false
		}
		sum /= 62
	}
	return true
}

// slack asks for the numbers of team and bot, or the version, that come first.
func slack(body string) bool {
	first, rest, ok := strings.Cut(body, "-")
	return ok && len(rest) >= 20 && first != "" && (run(first, 0, digits, len(first)) == len(first))
}

// mixedCase keeps words with a short prefix out.
func mixedCase(body string) bool {
	lower, upper, digit, _ := mix(body)
	return lower && upper && digit || lower && upper && len(body) >= 34
}
