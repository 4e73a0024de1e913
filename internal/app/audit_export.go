package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/results"
)

// exportFlags are the settings of an export.
type exportFlags struct {
	trailFolder
	format string
	to     string
}

func newAuditExport(env *Env) *cobra.Command {
	f := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "export [QUERY]",
		Short: "Write events for other programs: JSON lines, CSV, OCSF, or the segments as Parquet",
		Long: `Write all events that a QUERY finds, the oldest first, to a new file (--to) or to
standard output: as JSON lines, CSV, or OCSF 1.3.

With -o parquet the sealed segments themselves are copied into a folder, decrypted and
without a QUERY; those that are there already are left alone, so it can be run again and
again.
DuckDB, ClickHouse, Trino and Spark read them.

Exit codes: 0; 1, a part of the trail could not be read, and what is written is
incomplete; 2, wrong usage.`,
		Example: `  bulwark audit export 'since=1d' --data trail -o ocsf --to yesterday.jsonl
  bulwark audit export --data trail -o parquet --to /mnt/lake/audit`,
		RunE: func(cmd *cobra.Command, words []string) error { return keyNeeded(f.run(cmd.Context(), env, words)) },
	}
	fl := cmd.Flags()
	f.add(fl)
	fl.StringVarP(&f.format, "output", "o", "json", "form: json, csv, ocsf or parquet")
	fl.StringVar(&f.to, "to", "", "new file, or folder for parquet (default: standard output)")
	return cmd
}

func (f *exportFlags) run(ctx context.Context, env *Env, words []string) (err error) {
	if err := oneOf("output", f.format, "json", "csv", "ocsf", "parquet"); err != nil {
		return badUse(err)
	}
	if f.format == "parquet" && (f.to == "" || strings.TrimSpace(strings.Join(words, "")) != "") {
		return badUse(errors.New("-o parquet copies whole segments: it wants --to FOLDER and no QUERY"))
	}
	q, err := readQuery(env, words)
	if err != nil {
		return err
	}
	if q.Groups() {
		return badUse(errors.New("export writes events and does not count them: use bulwark audit search"))
	}
	v, err := f.viewFor(env)
	if err != nil {
		return err
	}
	if f.format == "parquet" {
		return f.copySegments(ctx, env, v)
	}
	to := env.Stdout
	if f.to != "" {
		out, err := os.OpenFile(f.to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return badUse(fmt.Errorf("--to: %w", err))
		}
		defer func() { err = errors.Join(err, out.Close()) }()
		to = out
	}
	return exportEvents(ctx, env, v, q, f.format, to)
}

// exportEvents writes everything that a query finds.
func exportEvents(ctx context.Context, env *Env, v *log.View, q *query.Query, format string, to io.Writer) error {
	trail, err := search.Trail(v)
	if err != nil {
		return err //nolint:wrapcheck // it says what it was doing
	}
	out, err := results.New(to, format, results.Style{Location: time.UTC, Version: version()})
	if err != nil {
		return badUse(err)
	}
	stats, err := search.Search(ctx, trail, q, search.Options{OldestFirst: true, Workers: runtime.GOMAXPROCS(0)}, out.Event)
	_, _ = fmt.Fprintln(env.Stderr, &stats)
	return errors.Join(err, out.Flush())
}

// copySegments copies the sealed segments that a folder does not have. A copy has its
// name only when it is whole.
func (f *exportFlags) copySegments(ctx context.Context, env *Env, v *log.View) error {
	files, err := v.Segments()
	if err != nil {
		return f.wrap("list the segments in", err)
	}
	if err := os.MkdirAll(f.to, 0o700); err != nil {
		return badUse(fmt.Errorf("--to: %w", err))
	}
	copied := 0
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("copy segments: %w", err)
		}
		to := filepath.Join(f.to, filepath.Base(file.Path))
		if _, err := os.Stat(to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("copy segments: %w", err)
		}
		if err := copyWhole(v, file, to); err != nil {
			return fmt.Errorf("copy segments: %w", err)
		}
		copied++
	}
	_, _ = fmt.Fprintf(env.Stderr, "%d segments copied, %d were there\n", copied, len(files)-copied)
	return nil
}

func copyWhole(v *log.View, from log.SegmentFile, to string) error {
	in, err := v.OpenSegment(from)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what it was
	}
	defer func() { _ = in.Close() }()
	part := to + ".part"
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- beside its target
	if err != nil {
		return err //nolint:wrapcheck // likewise
	}
	_, err = io.Copy(out, io.NewSectionReader(in, 0, in.Size))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, to) //nolint:wrapcheck // likewise
}
