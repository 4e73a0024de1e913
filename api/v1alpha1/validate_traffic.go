package v1alpha1

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Encoded lists what RequestForm.AllowEncoded may name.
func Encoded() []string { return []string{"%2F", "%3B", "%3F", "%23", "%25", ";"} }

func validateNetwork(n *Network, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n.Allow == nil && n.Deny == nil {
		errs = append(errs, field.Required(path, "set allow, deny or both; to lift a Gateway's list, allow 0.0.0.0/0 and ::/0"))
	}
	errs = append(errs, validatePrefixes(n.Allow, path.Child("allow"))...)
	return append(errs, validatePrefixes(n.Deny, path.Child("deny"))...)
}

func validatePrefixes(list []string, path *field.Path) field.ErrorList {
	errs := validateNotEmptied(list, path)
	errs = append(errs, validateCount(len(list), 0, 4096, path)...)
	for i, s := range list {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			msg := "must be a CIDR prefix, for example 10.0.0.0/8 or 2001:db8::/32"
			if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
				msg = fmt.Sprintf("must be a CIDR prefix; for this one address write %s/%d", a, a.BitLen())
			}
			errs = append(errs, field.Invalid(path.Index(i), s, msg))
		case p.Addr().Is4In6():
			errs = append(errs, field.Invalid(path.Index(i), s, "must be written as IPv4: sources are compared unmapped"))
		case p.Masked() != p:
			errs = append(errs, field.Invalid(path.Index(i), s, fmt.Sprintf("has bits behind the prefix; write %s", p.Masked())))
		}
	}
	return errs
}

func validateRequest(r *RequestForm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.MaxBodyBytes != nil && *r.MaxBodyBytes < 0 {
		errs = append(errs, field.Invalid(path.Child("maxBodyBytes"), *r.MaxBodyBytes, "must be 0 (no body) or more"))
	}
	at := path.Child("allowEncoded")
	for i, s := range r.AllowEncoded {
		if !slices.Contains(Encoded(), s) {
			errs = append(errs, field.NotSupported(at.Index(i), s, Encoded()))
		} else if slices.Contains(r.AllowEncoded[:i], s) {
			errs = append(errs, field.Duplicate(at.Index(i), s))
		}
	}
	at = path.Child("methods")
	errs = append(errs, validateNotEmptied(r.Methods, at)...)
	return append(errs, validateMethods(r.Methods, 32, at)...)
}

func validateMethods(list []string, count int, path *field.Path) field.ErrorList {
	errs := validateCount(len(list), 0, count, path)
	for i, m := range list {
		upper := strings.ToUpper(m)
		switch {
		case !token(m) || len(m) > 32:
			errs = append(errs, field.Invalid(path.Index(i), m, "must be a method token of at most 32 characters"))
		case m != upper:
			errs = append(errs, field.Invalid(path.Index(i), m, "methods are case-sensitive; write "+upper))
		case m == "CONNECT":
			errs = append(errs, field.Invalid(path.Index(i), m, "the gateway is not a forward proxy: CONNECT is never admitted"))
		case slices.Contains(list[:i], m):
			errs = append(errs, field.Duplicate(path.Index(i), m))
		}
	}
	return errs
}

func validateCORS(c *CORS, path *field.Path) field.ErrorList {
	at := path.Child("allowOrigins")
	errs := validateCount(len(c.AllowOrigins), 1, maxList, at)
	for i, o := range c.AllowOrigins {
		switch {
		case o == "*" && c.AllowCredentials:
			errs = append(errs, field.Invalid(at.Index(i), o, "with allowCredentials every site could act with the user's session; list the origins"))
		case o == "*" && len(c.AllowOrigins) > 1:
			errs = append(errs, field.Invalid(at.Index(i), o, "stands for all origins and must be alone"))
		case o == "*":
		case slices.Contains(c.AllowOrigins[:i], o):
			errs = append(errs, field.Duplicate(at.Index(i), o))
		default:
			if msg := checkOrigin(o); msg != "" {
				errs = append(errs, field.Invalid(at.Index(i), o, msg))
			}
		}
	}
	if c.AllowCredentials || !slices.Equal(c.AllowMethods, []string{"*"}) {
		errs = append(errs, validateNoStar(c.AllowMethods, path.Child("allowMethods"))...)
		errs = append(errs, validateMethods(withoutStar(c.AllowMethods), maxList, path.Child("allowMethods"))...)
	}
	errs = append(errs, validateCORSHeaders(c.AllowHeaders, c.AllowCredentials, path.Child("allowHeaders"))...)
	errs = append(errs, validateCORSHeaders(c.ExposeHeaders, c.AllowCredentials, path.Child("exposeHeaders"))...)
	errs = append(errs, validateDuration(c.MaxAge, 0, MaxCORSMaxAge, path.Child("maxAge"))...)
	if c.MaxAge != nil && c.MaxAge.Duration%time.Second != 0 {
		errs = append(errs, field.Invalid(path.Child("maxAge"), c.MaxAge.Duration.String(), "must be whole seconds"))
	}
	return errs
}

// checkOrigin gives what is wrong with a serialised origin (RFC 6454 section
// 6.2) as browsers send it, or "".
func checkOrigin(o string) string {
	if len(o) > 512 || control(o) || strings.ContainsAny(o, " ,") {
		return "must be one origin of at most 512 characters"
	}
	scheme, rest, ok := strings.Cut(o, "://")
	if !ok || rest == "" {
		return `must be scheme://host or scheme://host:port, for example https://shop.example ("null" is never a good origin)`
	}
	if o != strings.ToLower(o) {
		return "browsers send origins in lower case; write " + strings.ToLower(o)
	}
	// The star is not a host; any label stands in for it while parsing.
	plain := strings.TrimPrefix(rest, "*.")
	u, err := url.Parse(scheme + "://" + plain)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return "must be scheme://host or scheme://host:port"
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || strings.Contains(o, "#"):
		return "an origin ends with its host or port; leave out what follows"
	case u.Port() == "443" && scheme == "https", u.Port() == "80" && scheme == "http":
		return "browsers leave out the scheme's own port; leave it out here too"
	case strings.HasSuffix(u.Host, ":"):
		return "has a colon but no port"
	case u.Port() != "" && !port(u.Port()):
		return "has no valid port"
	}
	host := u.Hostname()
	_, ipErr := netip.ParseAddr(host)
	switch {
	case rest != plain && (ipErr == nil || !strings.Contains(host, ".")):
		return `a "*." must stand before a domain of two labels or more`
	case ipErr != nil && len(validation.IsDNS1123Subdomain(host)) > 0:
		return `must name a host; "*." may stand only as its first label`
	}
	return ""
}

func port(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n < 65536
}

func withoutStar(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "*" })
}

func validateNoStar(list []string, path *field.Path) field.ErrorList {
	if i := slices.Index(list, "*"); i >= 0 {
		return field.ErrorList{field.Invalid(path.Index(i), "*", "stands for all only if alone and without allowCredentials; list them")}
	}
	return nil
}

func validateCORSHeaders(list []string, credentials bool, path *field.Path) field.ErrorList {
	if !credentials && slices.Equal(list, []string{"*"}) {
		return nil
	}
	errs := append(validateCount(len(list), 0, maxList, path), validateNoStar(list, path)...)
	for i, h := range list {
		if !token(h) || len(h) > 256 {
			errs = append(errs, field.Invalid(path.Index(i), h, "must be a header name"))
		}
	}
	return errs
}

func validateTransform(t *Transform, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r := t.Request; r != nil {
		at := path.Child("request")
		errs = append(errs, validateHeaderEdits(r.SetHeaders, r.RemoveHeaders, at)...)
		errs = append(errs, validateQueryEdits(r.SetQuery, r.RemoveQuery, at)...)
		if r.Path != nil {
			errs = append(errs, validatePathTransform(r.Path, at.Child("path"))...)
		}
	}
	if r := t.Response; r != nil {
		errs = append(errs, validateHeaderEdits(r.SetHeaders, r.RemoveHeaders, path.Child("response"))...)
	}
	return errs
}

func validateHeaderEdits(set []NameValue, remove []string, path *field.Path) field.ErrorList {
	seen := map[string]bool{}
	at := path.Child("setHeaders")
	errs := validateCount(len(set), 0, maxList, at)
	for i, nv := range set {
		errs = append(errs, validateHeaderName(nv.Name, at.Index(i).Child("name"))...)
		errs = append(errs, validateNameValue(&nv, strings.ToLower(nv.Name), seen, at.Index(i))...)
		if nv.Value != nil && control(strings.ReplaceAll(*nv.Value, "\t", " ")) {
			errs = append(errs, field.Invalid(at.Index(i).Child("value"), *nv.Value, "must hold no control characters: a line break would begin another header"))
		}
	}
	at = path.Child("removeHeaders")
	errs = append(errs, validateCount(len(remove), 0, maxList, at)...)
	for i, name := range remove {
		errs = append(errs, validateHeaderName(name, at.Index(i))...)
		errs = append(errs, validateRemoved(name, strings.ToLower(name), seen, at.Index(i))...)
	}
	return errs
}

func validateQueryEdits(set []NameValue, remove []string, path *field.Path) field.ErrorList {
	seen := map[string]bool{}
	at := path.Child("setQuery")
	errs := validateCount(len(set), 0, maxList, at)
	for i, nv := range set {
		if nv.Name == "" {
			errs = append(errs, field.Required(at.Index(i).Child("name"), ""))
		}
		errs = append(errs, validateText(nv.Name, 256, at.Index(i).Child("name"))...)
		errs = append(errs, validateNameValue(&nv, nv.Name, seen, at.Index(i))...)
	}
	at = path.Child("removeQuery")
	errs = append(errs, validateCount(len(remove), 0, maxList, at)...)
	for i, name := range remove {
		if name == "" {
			errs = append(errs, field.Required(at.Index(i), "must not be empty"))
		}
		errs = append(errs, validateText(name, 256, at.Index(i))...)
		errs = append(errs, validateRemoved(name, name, seen, at.Index(i))...)
	}
	return errs
}

// validateNameValue checks the union and enters key in seen.
func validateNameValue(nv *NameValue, key string, seen map[string]bool, path *field.Path) field.ErrorList {
	errs := validateOneOf(path, member{"value", nv.Value != nil}, member{"expression", nv.Expression != ""})
	errs = append(errs, validateExpression(nv.Expression, path.Child("expression"))...)
	if nv.Value != nil && runes(*nv.Value) > MaxExpression {
		errs = append(errs, field.TooLong(path.Child("value"), "", MaxExpression))
	}
	if seen[key] {
		errs = append(errs, field.Duplicate(path.Child("name"), nv.Name))
	}
	seen[key] = true
	return errs
}

func validateRemoved(name, key string, seen map[string]bool, path *field.Path) field.ErrorList {
	if seen[key] {
		return field.ErrorList{field.Invalid(path, name, "is named twice: set and remove, or remove and remove")}
	}
	seen[key] = true
	return nil
}

// reserved reports whether a header, in lower case, belongs to the connection
// or to the framing of the message (RFC 9110 section 7.6.1, RFC 9112), so that
// no policy may read a credential from it or edit it.
func reserved(name string) bool {
	switch name {
	case "connection", "content-length", "expect", "host", "http2-settings", "keep-alive",
		"proxy-authenticate", "proxy-authorization", "proxy-connection",
		"te", "trailer", "transfer-encoding", "upgrade":
		return true
	default:
		return false
	}
}

func validateHeaderName(name string, path *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(path, "")}
	case !token(name) || len(name) > 256:
		return field.ErrorList{field.Invalid(path, name, "must be a header name: letters, digits and !#$%&'*+-.^_`|~, at most 256")}
	case reserved(strings.ToLower(name)):
		return field.ErrorList{field.Invalid(path, name, "belongs to the connection or the framing, which the gateway owns")}
	}
	return nil
}

func validatePathTransform(p *PathTransform, path *field.Path) field.ErrorList {
	at := path.Child("pattern")
	if p.Pattern == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if runes(p.Pattern) > 1024 {
		return field.ErrorList{field.TooLong(at, "", 1024)}
	}
	re, err := regexp.Compile(p.Pattern)
	if err != nil {
		msg := err.Error()
		if se := (*syntax.Error)(nil); errors.As(err, &se) {
			msg = string(se.Code) + ": " + se.Expr
		}
		errs = append(errs, field.Invalid(at, p.Pattern, "is not an RE2 pattern: "+msg))
	}
	at = path.Child("replacement")
	errs = append(errs, validateText(p.Replacement, 1024, at)...)
	if re != nil {
		errs = append(errs, validateReplacement(p.Replacement, re, at)...)
	}
	return errs
}

var groupReference = regexp.MustCompile(`\$(\$|\w+|\{[^}]*\})?`)

// validateReplacement refuses references to groups that the pattern lacks:
// regexp.Expand would replace them by nothing, and "$1x" means a group "1x".
func validateReplacement(s string, re *regexp.Regexp, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, m := range groupReference.FindAllStringSubmatch(s, -1) {
		name := strings.TrimSuffix(strings.TrimPrefix(m[1], "{"), "}")
		n, err := strconv.Atoi(name)
		switch {
		case name == "$", err == nil && n <= re.NumSubexp(), err != nil && name != "" && re.SubexpIndex(name) >= 0:
		case name == "":
			errs = append(errs, field.Invalid(path, s, "has a $ without a group; write $$ for the character"))
		default:
			errs = append(errs, field.Invalid(path, s, fmt.Sprintf("the pattern has no group %q; write ${1} where a letter, digit or underscore follows", name)))
		}
	}
	return errs
}
