#!/usr/bin/env bash
# A static program for arm64 with duckdb-go in it cannot be linked by GNU's linkers on Debian.
#
# Expected: go build with -extldflags -static, which makes such a program for amd64, makes one for arm64.
# Seen (duckdb-go v2.10503.1, Debian 12: GCC 12.2, binutils 2.40, glibc 2.36): "relocation truncated to fit:
# R_AARCH64_LD64_GOTPAGE_LO15 against symbol `__environ'". Debian's libc.a for arm64 is compiled with -fpic, whose tables of addresses
# have at most 32 KiB; DuckDB's archive takes more of the same table. GNU ld and gold both give up, mold 1.10 links it.
#
# What follows for us: image/go-program links with mold for arm64.
#
# Needs the cross compiler and mold (Debian: apt-get install g++-aarch64-linux-gnu mold), and a minute.
set -euo pipefail
for program in aarch64-linux-gnu-g++ /usr/libexec/mold/ld; do
  command -v "$program" >/dev/null || { echo "missing: $program (Debian: apt-get install g++-aarch64-linux-gnu mold)" >&2; exit 1; }
done
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > main.go <<'GO'
package main

import (
	"database/sql"
	"fmt"
	"log"

	_ "github.com/duckdb/duckdb-go/v2"
)

func main() {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		log.Fatal(err)
	}
	var answer int
	if err := db.QueryRow("SELECT 6 * 7").Scan(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer)
}
GO
go mod init finding 2>/dev/null
go get github.com/duckdb/duckdb-go/v2@v2.10503.1 2>/dev/null
go mod tidy 2>/dev/null

link() { # FLAGS-OF-THE-LINKER
  CGO_ENABLED=1 GOARCH=arm64 CC=aarch64-linux-gnu-gcc CXX=aarch64-linux-gnu-g++ \
    go build -tags netgo,osusergo -ldflags "-linkmode external -extldflags '-static $1'" -o program . >said 2>&1
}
aarch64-linux-gnu-ld --version | head -n 1
if link ""; then echo "CHANGED: GNU ld links it"; exit 1; fi
grep -oE "relocation truncated to fit: R_AARCH64_LD64_GOTPAGE_LO15 against symbol .[a-z_]*'" said | head -n 1 | grep . || { tail -n 5 said; echo "CHANGED: it fails in another way"; exit 1; }
mold --version
link -B/usr/libexec/mold || { tail -n 5 said; echo "CHANGED: mold does not link it"; exit 1; }
aarch64-linux-gnu-readelf --file-header program | grep Machine
echo "mold links it"
