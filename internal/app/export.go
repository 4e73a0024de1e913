package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"bulwark.dev/bulwark/internal/admission/export"
	"bulwark.dev/bulwark/internal/posture/content"
)

func newPolicyExportVAP(env *Env) *cobra.Command {
	var judge scanControls
	var actions, exempt []string
	cmd := &cobra.Command{
		Use:   "export-vap",
		Short: "Write controls as ValidatingAdmissionPolicies, which the API server enforces by itself",
		Long: `Print a ValidatingAdmissionPolicy and its binding for each control that looks at
one object. The API server then judges what is created and changed as a scan
would, with no webhook. Controls that cannot be a policy are named on standard
error, with the reason.

Warn, the default, refuses nothing. Before Deny, look at what a scan of the
cluster finds: a policy refuses changes to objects that fail already, too, which
"bulwark serve admission" does not.`,
		Example: `  bulwark policy export-vap | kubectl apply -f -
  bulwark policy export-vap --action Deny --control container-privileged --exempt-namespace kube-system`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			set, err := judge.load()
			if err != nil {
				return badUse(err)
			}
			var controls []*content.Control
			var left []export.LeftOut
			for _, c := range set.single {
				if c, ok := c.(*content.Control); ok {
					controls = append(controls, c)
					continue
				}
				left = append(left, export.LeftOut{Control: c.Meta().ID, Reason: "it is not written in CEL"})
			}
			opt := export.Options{ExemptNamespaces: exempt}
			for _, a := range actions {
				opt.Actions = append(opt.Actions, admissionregistrationv1.ValidationAction(a))
			}
			policies, more, err := export.Policies(controls, opt)
			if err != nil {
				return badUse(err)
			}
			for _, l := range append(left, more...) {
				if _, err := fmt.Fprintf(env.Stderr, "no policy for %s: %s\n", l.Control, l.Reason); err != nil {
					return fmt.Errorf("print what is left out: %w", err)
				}
			}
			if len(policies) == 0 {
				return badUse(errors.New("none of these controls can be a policy"))
			}
			text, err := export.YAML(policies)
			if err != nil {
				return fmt.Errorf("export policies: %w", err)
			}
			if _, err := env.Stdout.Write(text); err != nil {
				return fmt.Errorf("print policies: %w", err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&actions, "action", []string{"Warn"}, "what the API server does: Deny, Warn or Audit; may be repeated, but not Deny with Warn")
	fl.StringArrayVar(&exempt, "exempt-namespace", nil, "namespace that the policies do not look at; may be repeated")
	fl.StringArrayVar(&judge.only, "control", nil, "write only this control; may be repeated")
	fl.StringArrayVar(&judge.dirs, "controls", nil, "folder with controls of your own; may be repeated")
	fl.StringVar(&judge.parameters, "parameters", "", "file with values for the parameters of controls")
	return cmd
}
