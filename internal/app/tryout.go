package app

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/vap"
)

func newPolicyTest(env *Env) *cobra.Command {
	var dirs, only []string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run the examples that stand in controls",
		Long: `Read the controls of a folder and judge the examples in each: those under pass
must pass, those under skip must not apply, and those under fail must fail in the
fields that they want and in no others. Without --controls, the controls that
Bulwark ships are tested.

Exits 0 when all agree, 1 when one does not, 2 when a control cannot be read.`,
		Example: "  bulwark policy test --controls ./controls",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := controlsIn(dirs)
			if err != nil {
				return badUse(err)
			}
			if len(only) > 0 {
				all = slices.DeleteFunc(all, func(c *content.Control) bool { return !slices.Contains(only, c.ID) })
			}
			examples, wrong := 0, []string{}
			for _, c := range all {
				n, w := tryControl(c)
				examples += n
				wrong = append(wrong, w...)
			}
			if examples == 0 {
				return badUse(errors.New("there is no control to test"))
			}
			text := fmt.Sprintf("%d controls, %d examples: all agree\n", len(all), examples)
			if len(wrong) > 0 {
				text = strings.Join(wrong, "") + fmt.Sprintf("%d controls, %d examples: %d do not agree\n", len(all), examples, len(wrong))
			}
			if _, err := fmt.Fprint(env.Stdout, text); err != nil {
				return fmt.Errorf("print result: %w", err)
			}
			if len(wrong) > 0 {
				return errPrinted
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&dirs, "controls", nil, "folder with controls of your own; may be repeated")
	cmd.Flags().StringArrayVar(&only, "control", nil, "test only this control; may be repeated")
	return cmd
}

// controlsIn reads the controls of folders, or those of the catalog.
func controlsIn(dirs []string) ([]*content.Control, error) {
	if len(dirs) == 0 {
		out, err := content.Load(catalog.Controls())
		if err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		return out, nil
	}
	var out []*content.Control
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("--controls: %w", err)
		}
		_, rest, err := vap.Load(os.DirFS(dir)) // compiles them, which is all that there is to try
		if err != nil {
			return nil, fmt.Errorf("--controls %s: %w", dir, err)
		}
		more, err := content.Load(rest)
		if err != nil {
			return nil, fmt.Errorf("--controls %s: %w", dir, err)
		}
		out = append(out, more...)
	}
	return out, nil
}

// tryControl judges the examples of a control. It gives how many there are, and a
// line for each that does not agree.
func tryControl(c *content.Control) (int, []string) {
	n, wrong := 0, []string{}
	try := func(name string, object map[string]any, want bulwark.Verdict, fields []string) {
		n++
		if why := tryExample(c, object, want, fields); why != "" {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %s\n", c.File, name, why))
		}
	}
	for i, o := range c.Examples.Pass {
		try(fmt.Sprintf("examples.pass[%d]", i), o, bulwark.VerdictPass, nil)
	}
	for i, o := range c.Examples.Skip {
		try(fmt.Sprintf("examples.skip[%d]", i), o, bulwark.VerdictNotApplicable, nil)
	}
	for i, e := range c.Examples.Fail {
		try(fmt.Sprintf("examples.fail[%d]", i), e.Object, bulwark.VerdictFail, e.Want)
	}
	return n, wrong
}

// tryExample says why an example does not agree, or "".
func tryExample(c *content.Control, object map[string]any, want bulwark.Verdict, fields []string) string {
	s, err := control.SubjectOf(object)
	if err != nil {
		return err.Error()
	}
	if !c.Applies(s) {
		return "appliesTo is not for a " + s.Object.Kind
	}
	var found []string
	for _, r := range c.Judge(s) {
		if r.Verdict != want {
			return strings.TrimRight(fmt.Sprintf("it is %s and not %s: %s %s", r.Verdict, want, r.Field, r.Message+r.Reason), ": ")
		}
		found = append(found, r.Field)
	}
	slices.Sort(found)
	if wanted := slices.Sorted(slices.Values(fields)); want == bulwark.VerdictFail && !slices.Equal(found, wanted) {
		return fmt.Sprintf("it fails in %q, and wants %q", found, wanted)
	}
	return ""
}
