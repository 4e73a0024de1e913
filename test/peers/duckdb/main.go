// Command duckdb answers the SQL on its standard input with DuckDB, and prints the
// answer and what it cost as one JSON object. The last statement's rows are the answer.
// Times of day are those of UTC, and nothing is fetched: an extension that is not
// built in is an error.
package main

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"syscall"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
)

// answer is what is printed. A cell is null, a boolean, a number or a text: blobs are
// hexadecimal, times are RFC 3339. Of JSON the meaning is given and not the text; for that
// cast it to VARCHAR.
type answer struct {
	Columns []column `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Version string   `json:"version"`
	Spent   spent    `json:"spent"`
}

type column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// spent is what the question cost: the wall clock from the opening of the database, and
// what the whole process took of processors and, at most, of memory. Linux counts there
// also what the parent had when it started this.
type spent struct {
	WallNS   int64 `json:"wallNanoseconds"`
	CPUNS    int64 `json:"cpuNanoseconds"`
	RSSBytes int64 `json:"rssBytes"`
}

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "duckdb:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	question, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the SQL: %w", err)
	}
	begin := time.Now()
	a, err := ask(ctx, string(question))
	if err != nil {
		return err
	}
	a.Spent.WallNS = time.Since(begin).Nanoseconds()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("see what it cost: %w", err)
	}
	a.Spent.CPUNS = used.Utime.Nano() + used.Stime.Nano()
	a.Spent.RSSBytes = used.Maxrss << 10
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(a); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func ask(ctx context.Context, question string) (_ *answer, err error) {
	db, err := sql.Open("duckdb", "?autoinstall_known_extensions=false&autoload_known_extensions=false")
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx) // settings are a connection's
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	a := &answer{Rows: [][]any{}}
	if _, err := conn.ExecContext(ctx, "SET TimeZone = 'UTC'"); err != nil {
		return nil, fmt.Errorf("set the zone: %w", err)
	}
	if err := conn.QueryRowContext(ctx, "SELECT version()").Scan(&a.Version); err != nil {
		return nil, fmt.Errorf("ask for the version: %w", err)
	}
	rows, err := conn.QueryContext(ctx, question)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, fmt.Errorf("ask for the columns: %w", err)
	}
	for _, t := range types {
		a.Columns = append(a.Columns, column{Name: t.Name(), Type: t.DatabaseTypeName()})
	}
	for rows.Next() {
		row, into := make([]any, len(types)), make([]any, len(types))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("read row %d: %w", len(a.Rows), err)
		}
		for i, v := range row {
			if row[i], err = cell(v, a.Columns[i].Type); err != nil {
				return nil, fmt.Errorf("read %s in row %d: %w", a.Columns[i].Name, len(a.Rows), err)
			}
		}
		a.Rows = append(a.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	return a, nil
}

// cell is a value as JSON can have it.
func cell(value any, kind string) (any, error) {
	switch v := value.(type) {
	case nil, bool, string, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, *big.Int:
		return v, nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case []byte:
		if kind == "UUID" {
			id, err := uuid.FromBytes(v)
			return id.String(), err
		}
		return hex.EncodeToString(v), nil
	case []any, map[string]any:
		if kind == "JSON" {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%s is no type that this program prints: cast it to VARCHAR", kind)
}
