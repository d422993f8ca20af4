#!/usr/bin/env bash
# Infinity is the year 294247 through duckdb-go, and the end of a day is its beginning.
#
# Expected: DuckDB's 'infinity'::TIMESTAMP, '-infinity'::DATE and TIME '24:00:00', for which Go's time.Time has no value, are errors, or
# something else than a time.Time.
# Seen (duckdb-go v2.10503.1, DuckDB 1.5.3): they are 294247-01-10 04:00:54.775807, -5877641-06-24 and 00:00, which DuckDB has as values of
# their own, and no error. "Valid until infinity" becomes a day that a caller may compare, store and show.
#
# What follows for us: the DuckDB plugin refuses what is infinite or outside of the years 1 to 9999 by name, and reads a TIME as text
# (docs/types.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > main.go <<'GO'
package main

import (
	"database/sql"
	"fmt"
	"log"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
)

func main() {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		log.Fatal(err)
	}
	changed := false
	for expression, seen := range map[string]string{
		"'infinity'::TIMESTAMP": "294247-01-10T04:00:54.775807Z",
		"'-infinity'::DATE":     "-5877641-06-24T00:00:00Z",
		"TIME '24:00:00'":       "0001-01-01T00:00:00Z",
	} {
		var value time.Time
		err := db.QueryRow("SELECT " + expression).Scan(&value)
		fmt.Printf("%s is read as %s, error %v\n", expression, value.Format(time.RFC3339Nano), err)
		changed = changed || err != nil || value.Format(time.RFC3339Nano) != seen
	}
	if changed {
		log.Fatal("CHANGED")
	}
}
GO
go mod init finding 2>/dev/null
go get github.com/duckdb/duckdb-go/v2@v2.10503.1 2>/dev/null
go mod tidy 2>/dev/null
go run .
