package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// keys reads the keys that the trail is encrypted with.
func (f *trailFolder) keys() (vault.Keys, error) {
	keys, err := vault.ReadKeys(f.keyFiles...)
	if err != nil {
		return vault.Keys{}, badUse(fmt.Errorf("--encryption-key-file: %w", err))
	}
	return keys, nil
}

// keyNeeded makes the lack of a key wrong usage.
func keyNeeded(err error) error {
	if errors.Is(err, vault.ErrNoKey) {
		return badUse(err)
	}
	return err
}

// warnOfOpenings says when a key lies beside what it encrypts.
func (f *writerFlags) warnOfOpenings(keys vault.Keys, logger *slog.Logger) {
	if !keys.Empty() && f.openings == "" && !f.dropOpenings {
		logger.Warn("the trail is encrypted, but the key of its openings lies in its own folder: give it from elsewhere with --openings-key, or --drop-openings")
	}
}

// detections is where the detections keep what they remember of events: encrypted, where
// the trail is.
func (t *trail) detections() detect.Store {
	path := filepath.Join(t.dir, "detect", "state")
	return encryptedStore{Store: detect.FileStore{Path: path}, path: path, keys: t.keys}
}

// encryptedStore encrypts what a store keeps, if there is a key.
type encryptedStore struct {
	detect.Store
	path string
	keys vault.Keys
}

func stateLabel() vault.Label { return vault.Label{Role: vault.RoleState} }

// Load decrypts what was kept. What is not encrypted was kept before there was a key.
func (s encryptedStore) Load() ([]byte, error) {
	kept, err := s.Store.Load()
	if err != nil || !vault.IsFile(kept) {
		return kept, err //nolint:wrapcheck // the store says what it was doing
	}
	plain, err := vault.Decrypt(kept, s.path, s.keys, stateLabel())
	if err != nil {
		return nil, fmt.Errorf("read the state of detections: %w", err)
	}
	return plain, nil
}

// Save encrypts what is to be kept.
func (s encryptedStore) Save(state []byte) error {
	if !s.keys.Empty() {
		var err error
		if state, err = vault.Encrypt(state, s.keys, rand.Reader, stateLabel()); err != nil {
			return fmt.Errorf("write the state of detections: %w", err)
		}
	}
	return s.Store.Save(state) //nolint:wrapcheck // the store says what it was doing
}

func newAuditKey(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, exchange and look at the keys that encrypt the trail",
		Long: `The keys that encrypt the files of a trail (--encryption-key-file). They have nothing
to do with the key that signs its checkpoints. docs/guide/audit-encryption.md says what
each of them is for.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	cmd.AddCommand(newAuditKeyNew(env), newAuditKeyRotate(env), newAuditKeyStatus(env))
	return cmd
}

func newAuditKeyNew(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "new FILE",
		Short: "Make a key, in a new file",
		Long: `Make a key to encrypt a trail with, in a file that only its owner can read. Keep it
where the trail is not, and a copy of it: without the key nobody can read the trail.

Exit codes: 0; 2, the file is there already or cannot be written.`,
		Example: `  bulwark audit key new audit.key
  bulwark serve audit --data trail --tail audit.log --encryption-key-file audit.key`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := vault.NewKey(rand.Reader)
			if err != nil {
				return err //nolint:wrapcheck // it says what it was doing
			}
			if err := writeNewFile(args[0], key.File()); err != nil {
				return badUse(fmt.Errorf("write the key: %w", err))
			}
			_, err = fmt.Fprintf(env.Stdout, "key %s\n", key.ID())
			return err //nolint:wrapcheck // standard output
		},
	}
}

// writeNewFile writes a file that must not be there yet, for its owner only.
func writeNewFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- the person who runs it names it
	if err != nil {
		return err //nolint:wrapcheck // the caller says what it was
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func newAuditKeyRotate(env *Env) *cobra.Command {
	f := &trailFolder{}
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Encrypt the sealed segments of a trail anew",
		Long: `Encrypt the sealed segments anew that the first --encryption-key-file does not encrypt,
also those that nothing encrypts yet. The keys that they are encrypted with now are
given after it. One segment after the other: written beside the old one, read back,
compared, and put in its place; it can be stopped and run again at any time. What is
signed does not change.

It needs the trail for itself. Stop "bulwark serve audit", rotate, and start it with the
new key first and the old ones after it; what is not sealed yet it seals with the new
key. An old key is needed until "bulwark audit key status" does not name it any more.

Exit codes: 0; 1, it failed in between: what was done is done; 2, wrong usage, a key is
missing, or somebody else has the trail.`,
		Example: `  bulwark audit key rotate --data trail --encryption-key-file new.key --encryption-key-file old.key`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.rotate(cmd.Context(), env) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *trailFolder) rotate(ctx context.Context, env *Env) error {
	if err := f.check(); err != nil {
		return err
	}
	keys, err := f.keys()
	if err != nil {
		return err
	}
	first, ok := keys.First()
	if !ok {
		return badUse(errors.New("--encryption-key-file is required: the key to encrypt with, and after it those that encrypt now"))
	}
	p := newProgress(env)
	defer p.done()
	n := 0
	done, err := log.Rotate(ctx, log.RotateConfig{
		Dir: filepath.Join(f.data, "log"), Keys: keys, Random: rand.Reader,
		Done: func(s log.SegmentFile) { n++; p.say("%d segments, events to %d", n, s.Last) },
	})
	if done.Encrypted+done.Already > 0 || err == nil {
		_, _ = fmt.Fprintf(env.Stderr, "%d segments encrypted with key %s, %d were already\n", done.Encrypted, first, done.Already)
	}
	if done.Waiting > 0 {
		_, _ = fmt.Fprintf(env.Stderr, "%d files of what is not sealed yet are encrypted with another key or not at all: the next writer of the trail seals them with key %s\n", done.Waiting, first)
	}
	switch {
	case errors.Is(err, log.ErrLocked):
		return badUse(fmt.Errorf("%w: stop \"bulwark serve audit\" first", err))
	case errors.Is(err, fs.ErrNotExist) && done.Encrypted == 0:
		return badUse(fmt.Errorf("%s has no trail: %w", f.data, err))
	}
	return keyNeeded(err)
}

// keyUse is what one key is used for.
type keyUse struct {
	// Key is its id; empty for files that are not encrypted.
	Key string `json:"key,omitempty"`
	// Given says that it was given, and Encrypts that it is the one for new files.
	Given    bool `json:"given"`
	Encrypts bool `json:"encrypts"`
	// Segments and Unsealed are how many files need it, and Bytes how long they are.
	Segments int   `json:"segments"`
	Unsealed int   `json:"unsealed"`
	Bytes    int64 `json:"bytes"`
	// Damaged are files of which it cannot be told what encrypts them.
	Damaged int `json:"damaged,omitempty"`
}

func newAuditKeyStatus(env *Env) *cobra.Command {
	f := &trailFolder{}
	format := ""
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say which keys the files of a trail need",
		Long: `Say how many files of a trail each key encrypts, and how many nothing does. No key is
needed for it; of those that are given it says so. It believes what the files say of
themselves: whether that is so, "bulwark audit verify" says.

Exit codes: 0; 2, wrong usage, or there is no trail.`,
		Example: `  bulwark audit key status --data trail`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return f.keyStatus(env, format) },
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVarP(&format, "output", "o", "table", "form of the result: table or json")
	return cmd
}

func (f *trailFolder) keyStatus(env *Env, format string) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := oneOf("output", format, "table", "json"); err != nil {
		return badUse(err)
	}
	keys, err := f.keys()
	if err != nil {
		return err
	}
	dir := filepath.Join(f.data, "log")
	if _, err := os.Stat(dir); err != nil {
		return badUse(fmt.Errorf("%s has no trail: %w", f.data, err))
	}
	files, err := log.StoredFiles(dir)
	if err != nil {
		return f.wrap("look at the files of", err)
	}
	uses := keyUses(files, keys)
	if format == "json" {
		enc := json.NewEncoder(env.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(uses) //nolint:wrapcheck // standard output
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "KEY\tGIVEN\tSEGMENTS\tNOT SEALED\tBYTES\tDAMAGED")
	for _, u := range uses {
		name, given := u.Key, "no"
		switch {
		case name == "":
			name, given = "(none)", ""
		case u.Encrypts:
			given = "first"
		case u.Given:
			given = "yes"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", name, given, u.Segments, u.Unsealed, u.Bytes, u.Damaged)
	}
	return w.Flush() //nolint:wrapcheck // standard output
}

// keyUses counts files by key: those that were given, then others, then none.
func keyUses(files []log.StoredFile, keys vault.Keys) []keyUse {
	uses := []keyUse{}
	place := map[string]int{}
	use := func(key string) *keyUse {
		i, ok := place[key]
		if !ok {
			i = len(uses)
			place[key] = i
			uses = append(uses, keyUse{Key: key})
		}
		return &uses[i]
	}
	for i, id := range keys.IDs() {
		u := use(id.String())
		u.Given, u.Encrypts = true, i == 0
	}
	for _, encrypted := range []bool{true, false} {
		for _, file := range files {
			if file.Encrypted != encrypted {
				continue
			}
			key := ""
			if encrypted {
				key = file.Key.String()
			}
			u := use(key)
			u.Bytes += file.Size
			switch {
			case file.Damage != nil:
				u.Damaged++
			case file.Sealed:
				u.Segments++
			default:
				u.Unsealed++
			}
		}
	}
	return uses
}
