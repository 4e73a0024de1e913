package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/audit/archive"
	"bulwark.dev/bulwark/internal/audit/archive/s3"
)

// archiveFlags are the settings of a copy of the trail.
type archiveFlags struct {
	trailFolder
	to    string
	check bool
}

func newAuditArchive(env *Env) *cobra.Command {
	f := &archiveFlags{}
	cmd := &cobra.Command{
		Use:   "archive",
		Short: "Copy the sealed trail to a bucket or a folder elsewhere",
		Long: `Copy the sealed segments, the ledger and the public key to a bucket or to a folder,
under the trail's own names: what is fetched from there is a folder that "bulwark audit
verify" and "search" read, and DuckDB, ClickHouse, Trino or Spark read the segments where
they lie. Private keys, openings of redacted values and what is not sealed yet stay here.

What is there is never replaced or removed, but for the ledger's checkpoint, which goes
last and only forward: a trail that was rolled back, or has another past than the archive
knows, is refused. With --check nothing is copied, and the content of every file is
compared.

--to is an existing folder, or s3://BUCKET/PREFIX with, where it is not Amazon's,
?endpoint=https://HOST, and region and use_path_style where they are needed. Credentials
come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE) or from
the machine's or pod's own role. "bulwark serve audit --archive" does this all the time.

Exit codes: 0; 1, something could not be copied, or differs; 2, wrong usage.`,
		Example: `  bulwark audit archive --data trail --to /mnt/elsewhere/trail
  bulwark audit archive --data trail --to 's3://trail/prod?region=eu-central-1'
  bulwark audit archive --data trail --to 's3://trail/prod?endpoint=https://storage.googleapis.com' --check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "", "folder of the trail (required)")
	fl.StringVar(&f.to, "to", "", "folder, or s3://BUCKET/PREFIX (required)")
	fl.BoolVar(&f.check, "check", false, "copy nothing, and compare the content of every file")
	return cmd
}

// openArchive opens what --to and --archive name.
func openArchive(to string) (*archive.Archive, error) {
	var store archive.Store
	if strings.HasPrefix(to, s3.Scheme) {
		at, err := s3.ParseAddress(to)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what it was doing
		}
		if store, err = s3.Open(at, nil); err != nil {
			return nil, err //nolint:wrapcheck // likewise
		}
		return archive.New(store), nil
	}
	if strings.Contains(to, "://") {
		return nil, errors.New("expected a folder, or s3://BUCKET/PREFIX")
	}
	store, err := archive.OpenFolder(to)
	if err != nil {
		return nil, err //nolint:wrapcheck // likewise
	}
	return archive.New(store), nil
}

func (f *archiveFlags) run(ctx context.Context, env *Env) error {
	if err := f.trailFolder.check(); err != nil {
		return err
	}
	if f.to == "" {
		return badUse(errors.New("--to is required: a folder, or s3://BUCKET/PREFIX"))
	}
	a, err := openArchive(f.to)
	if err != nil {
		return badUse(fmt.Errorf("--to: %w", err))
	}
	if f.check {
		compared, differ, err := a.Check(ctx, f.data)
		for _, d := range differ {
			_, _ = fmt.Fprintf(env.Stdout, "%s: %s\n", d.Name, d.Why)
		}
		_, _ = fmt.Fprintf(env.Stderr, "%d files compared, %d differ\n", compared, len(differ))
		if err == nil && len(differ) > 0 {
			err = errPrinted
		}
		return err //nolint:wrapcheck // it says what it was doing
	}
	s, err := a.Copy(ctx, f.data)
	_, _ = fmt.Fprintf(env.Stderr, "%d files copied, %d of them segments, %d bytes\n", s.Files, s.Segments, s.Bytes)
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	switch {
	case s.Awaited > 0:
		_, _ = fmt.Fprintf(env.Stderr, "the archive's checkpoint waits for %d segments that are being sealed: run it again; if it is the same then, they are gone\n", s.Awaited)
		return errPrinted
	case s.Records == 0:
		_, _ = fmt.Fprintln(env.Stderr, "nothing of the trail is sealed yet")
	default:
		_, _ = fmt.Fprintf(env.Stderr, "the archive's checkpoint covers %d segments\n", s.Records)
	}
	return nil
}
