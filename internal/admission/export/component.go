package export

import (
	"fmt"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"bulwark.dev/bulwark/internal/posture/content"
)

// components adds variables.units: for each container that runs a component what
// the control calls variables.
func components(out *parts, command string, names []string) error {
	// A command is known by the last element of its path; hyperkube runs what its
	// first argument says.
	runs := func(word string) string {
		return fmt.Sprintf(`(%s == %s || %s.endsWith(%s))`, word, strconv.Quote(command), word, strconv.Quote("/"+command))
	}
	words := `(dyn(c).?command.orValue([]).size() > 0 ? dyn(c).command : dyn(c).?args.orValue(dyn([])))`
	out.variables = append(out.variables, admissionregistrationv1.Variable{Name: "components", Expression: fmt.Sprintf(
		`dyn(dyn(variables.containers).filter(c, [%s].all(w, w.size() > 0 && (%s || `+
			`w.size() > 1 && (w[0] == "hyperkube" || w[0].endsWith("/hyperkube")) && %s))))`, words, runs("w[0]"), runs("w[1]"),
	)})
	repeated, err := literal(list(content.Repeated()))
	if err != nil {
		return err
	}
	out.variables = append(out.variables, admissionregistrationv1.Variable{Name: "repeated", Expression: repeated})
	fields := []string{`"container": dyn(c)`}
	for _, name := range names {
		value := "variables." + name
		if name == "args" {
			value = arguments
		}
		fields = append(fields, strconv.Quote(name)+": dyn("+value+")")
	}
	out.variables = append(out.variables, admissionregistrationv1.Variable{Name: "units", Expression: fmt.Sprintf(
		`dyn(dyn(variables.components).map(c, {%s}))`, strings.Join(fields, ", "),
	)})
	return nil
}

func list(words []string) []any {
	out := make([]any, 0, len(words))
	for _, w := range words {
		out = append(out, w)
	}
	return out
}

// arguments is the command and the arguments of container c in one list, each flag
// as --name=value, as content makes it of the same container for a scan. From the
// inside out: the words; each flag joined with its value, and the words that were
// values left out; flags that a later one overrides left out.
var arguments = strings.NewReplacer("\n", " ", "\t", "").Replace( //nolint:gochecknoglobals // constant
	`[dyn(c).?command.orValue([]) + dyn(c).?args.orValue([])]
	.map(words, words.transformList(i, w,
	!(i > 0 && !w.startsWith("-") && words[i-1].matches("^--?[^-=](?s:[^=]+)$")),
	!w.matches("^--?[^-](?s:.+)$") ? w :
	[w.startsWith("--") ? w.substring(2) : w.substring(1)].map(n, n.contains("=") ?
	"--" + n.substring(0, n.indexOf("=")).replace("_", "-") + n.substring(n.indexOf("=")) :
	"--" + n.replace("_", "-") + "=" + (i + 1 < words.size() && !words[i+1].startsWith("-") ? words[i+1] : "true"))[0]))
	.map(flags, flags.transformList(i, w,
	!(w.startsWith("--") && w.contains("=") && !(w.substring(2, w.indexOf("=")) in variables.repeated) &&
	flags.transformList(j, v, j > i && v.startsWith(w.substring(0, w.indexOf("=") + 1)), v).size() > 0), w))[0]`,
)
