package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newAudit reads and keeps the audit trail.
func newAudit(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Search, verify and feed the audit trail",
		Long: `The trail is a folder (--data): what happened, in the order in which it was taken,
in a form that cannot be changed unseen. "bulwark serve audit" writes it; the
commands here read it beside the writer. hold, retain, shred and response ask the
writer to do it, if there is one. import needs the trail for itself.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	cmd.AddCommand(newAuditImport(env), newAuditAlerts(env), newAuditSearch(env), newAuditTail(env), newAuditVerify(env), newAuditArchive(env),
		newAuditKey(env), newAuditProve(env), newAuditExport(env), newAuditCoverage(env), newAuditRules(env), newAuditWebhookConfig(env),
		newAuditResponse(env), newAuditWitnessKey(env), newAuditHold(env), newAuditRetain(env), newAuditShred(env))
	return cmd
}

// trailFolder is the flag of every command that reads or writes a trail.
type trailFolder struct {
	data string
	// keyFiles have the keys that encrypt it.
	keyFiles []string
	// mixed says which files are plain although others are encrypted.
	mixed error
}

func (f *trailFolder) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.data, "data", "", "folder of the trail (required)")
	fl.StringArrayVar(&f.keyFiles, "encryption-key-file", nil, "file with a key that the trail is encrypted with, made by \"bulwark audit key new\": the first encrypts what is written, all decrypt; may be repeated")
}

func (f *trailFolder) check() error {
	if f.data == "" {
		return badUse(errors.New("--data is required: the folder of the trail"))
	}
	return nil
}

// dated says in which folder something failed.
func (f *trailFolder) wrap(doing string, err error) error {
	return fmt.Errorf("%s %s: %w", doing, f.data, err)
}
