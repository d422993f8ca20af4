#!/usr/bin/env bash
# JSON comes through duckdb-go with other numbers than DuckDB has.
#
# Expected: SELECT '{"id":9007199254740993,"rate":1.0}'::JSON gives the text that DuckDB has, or values equal to it.
# Seen (duckdb-go v2.10503.1, DuckDB 1.5.3): it is decoded on its way, and numbers become float64. The id is …992, and written again the
# rate is 1. With ::VARCHAR in the query it is as it was. Columns of whole numbers, HUGEINT and BIGNUM among them, keep every digit.
#
# What follows for us: the DuckDB plugin reads JSON as text (docs/types.md).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > main.go <<'GO'
package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"log"

	_ "github.com/duckdb/duckdb-go/v2"
)

func read(db *sql.DB, expression string) (value any) {
	if err := db.QueryRow("SELECT " + expression).Scan(&value); err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		log.Fatal(err)
	}
	const document = `'{"id":9007199254740993,"rate":1.0}'::JSON`
	decoded, kept := read(db, document), read(db, document+"::VARCHAR")
	text, err := json.Marshal(decoded)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s is read as %T, and written again as %s; with ::VARCHAR it is %v\n", document, decoded, text, kept)
	if string(text) != `{"id":9007199254740992,"rate":1}` || kept != `{"id":9007199254740993,"rate":1.0}` {
		log.Fatal("CHANGED")
	}
}
GO
go mod init finding 2>/dev/null
go get github.com/duckdb/duckdb-go/v2@v2.10503.1 2>/dev/null
go mod tidy 2>/dev/null
go run .
