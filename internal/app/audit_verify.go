package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/verify"
)

// verifyFlags are the settings of a verification.
type verifyFlags struct {
	trailFolder
	key       string
	kept      []string
	witnesses []string
	format    string
}

func newAuditVerify(env *Env) *cobra.Command {
	f := &verifyFlags{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Say whether the trail is what was written",
		Long: `Verify the trail offline, with nothing but its folder (or a copy of it) and the
public key: the signed checkpoint, the ledger of segments, every event of every
segment, and what is not sealed yet. What is wrong is named: which event, segment,
record or checkpoint. An encrypted trail needs the keys that encrypt it as well
(--encryption-key-file).

Keep the public key (keys/log.pub) elsewhere and give it with --key; without it the
one in the folder is believed, and who replaced everything is not seen. A folder that
was put back whole to an older state is seen only with a checkpoint that was kept
elsewhere (--checkpoint) or with a witness.

Exit codes: 0, nothing is wrong; 1, something is; 2, wrong usage.`,
		Example: `  bulwark audit verify --data trail --key log.pub --checkpoint monday.checkpoint
  bulwark audit verify --data copy-of-trail -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVar(&f.key, "key", "", "file with the log's public key; default: keys/log.pub in the folder")
	fl.StringArrayVar(&f.kept, "checkpoint", nil, "file with an older checkpoint of this log; may be repeated")
	fl.StringArrayVar(&f.witnesses, "witness", nil, "file with the key of a witness who must have signed; may be repeated")
	fl.StringVarP(&f.format, "output", "o", "text", "form of the report: text or json")
	return cmd
}

func (f *verifyFlags) run(ctx context.Context, env *Env) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := oneOf("output", f.format, "text", "json"); err != nil {
		return badUse(err)
	}
	keys, err := f.keys()
	if err != nil {
		return err
	}
	o := verify.Options{Dir: f.data, Keys: keys}
	if f.key == "" {
		f.key = proof.VerifierPath(f.data)
		_, _ = fmt.Fprintln(env.Stderr, "bulwark: the key in the folder itself is believed; keep a copy elsewhere and give it with --key")
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return badUse(fmt.Errorf("--key: %w", err))
	}
	o.Key = string(key)
	for _, file := range f.kept {
		text, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
		if err != nil {
			return badUse(fmt.Errorf("--checkpoint: %w", err))
		}
		o.Kept = append(o.Kept, text)
	}
	for _, file := range f.witnesses {
		text, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
		if err != nil {
			return badUse(fmt.Errorf("--witness: %w", err))
		}
		o.Witnesses = append(o.Witnesses, string(text))
	}
	report, err := verify.Verify(ctx, o)
	if err != nil {
		return badUse(err)
	}
	if f.format == "json" {
		enc := json.NewEncoder(env.Stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = report.WriteText(env.Stdout)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !report.OK() {
		return errPrinted
	}
	return nil
}

func newAuditProve(env *Env) *cobra.Command {
	f := &trailFolder{}
	check, key := "", ""
	cmd := &cobra.Command{
		Use:   "prove EVENT",
		Short: "Print the proof that an event is in the trail, or check one",
		Long: `Print one JSON document that proves that the event of a number is in the trail: the
event, its path to the root of its segment, the segment's path to the root of the
ledger, and the signed checkpoint. With --check such a document is checked, with
nothing but the public key; exit code 1 says that it does not hold.`,
		Example: `  bulwark audit prove 4711 --data trail > proof.json
  bulwark audit prove --check proof.json --key log.pub`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				if len(args) > 0 || key == "" {
					return badUse(errors.New("--check wants --key and no EVENT"))
				}
				return checkProof(env, check, key)
			}
			if len(args) != 1 {
				return badUse(errors.New("which event: expected its number"))
			}
			return prove(cmd.Context(), env, f, args[0])
		},
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVar(&check, "check", "", "file with a proof to check")
	fl.StringVar(&key, "key", "", "file with the log's public key")
	return cmd
}

func prove(ctx context.Context, env *Env, f *trailFolder, event string) error {
	if err := f.check(); err != nil {
		return err
	}
	seq, err := strconv.ParseUint(event, 10, 64)
	if err != nil || seq == 0 {
		return badUse(fmt.Errorf("EVENT %q: expected an event's number, from 1", event))
	}
	keys, err := f.keys()
	if err != nil {
		return err
	}
	p, err := verify.Prove(ctx, f.data, seq, keys)
	if err != nil {
		return keyNeeded(err)
	}
	enc := json.NewEncoder(env.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(p) //nolint:wrapcheck // standard output
}

func checkProof(env *Env, file, keyFile string) error {
	raw, err := os.ReadFile(file) // #nosec G304 -- the person who runs it names it
	if err != nil {
		return badUse(fmt.Errorf("--check: %w", err))
	}
	key, err := os.ReadFile(keyFile) // #nosec G304 -- likewise
	if err != nil {
		return badUse(fmt.Errorf("--key: %w", err))
	}
	p, err := verify.ParseProof(raw)
	if err != nil {
		return badUse(fmt.Errorf("--check %s: %w", file, err))
	}
	if err := verify.CheckProof(p, string(key)); err != nil {
		return fmt.Errorf("the proof does not hold: %w", err)
	}
	_, err = fmt.Fprintf(env.Stdout, "the proof holds: event %d is in the trail\n", p.Seq)
	return err //nolint:wrapcheck // standard output
}
