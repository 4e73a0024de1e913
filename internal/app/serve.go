package app

import (
	"errors"

	"github.com/spf13/cobra"
)

// newServe runs one role of Bulwark, for production pods.
func newServe(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one role, for production pods",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	cmd.AddCommand(newServeController(env), newServeGateway(env), newServeAdmission(env), newServeAudit(env), newServeWitness(env))
	return cmd
}
