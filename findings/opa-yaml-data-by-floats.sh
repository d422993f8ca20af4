#!/usr/bin/env bash
# OPA keeps every digit of its data where that is JSON, and rounds it where it is YAML.
#
# Expected: a limit of 12345678901234567890123 in data.yaml is that in a policy, as it is from data.json.
# Seen (opa 1.20.0): from JSON it is, and so is 0.12345678901234567890. From YAML whole numbers beyond 64 bits and fractions come by way of
# a float: 12345678901234567000000 and 0.12345678901234568. A policy that compares with such a limit decides otherwise by the file's format.
#
# What follows for us: data of the opa plugin that has such numbers is best JSON; docs/types.md says so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
mkdir json yaml
echo '{"whole": 12345678901234567890123, "fraction": 0.12345678901234567890}' > json/data.json
printf 'whole: 12345678901234567890123\nfraction: 0.12345678901234567890\n' > yaml/data.yaml
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/version"
)

// kept says which of the numbers in a folder's data a policy finds equal to themselves.
func kept(folder string) (whole, fraction bool) {
	loaded, err := loader.NewFileLoader().All([]string{folder})
	if err != nil {
		log.Fatal(err)
	}
	store, err := loaded.Store()
	if err != nil {
		log.Fatal(err)
	}
	query := "whole := data.whole == 12345678901234567890123; fraction := data.fraction == 0.12345678901234567890; said := data"
	results, err := rego.New(rego.Query(query), rego.Store(store)).Eval(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	bindings := results[0].Bindings
	fmt.Printf("opa %s, %s: %v\n", version.Version, folder, bindings["said"])
	return bindings["whole"].(bool), bindings["fraction"].(bool)
}

func main() {
	if whole, fraction := kept("json"); !whole || !fraction {
		log.Fatal("CHANGED: JSON is rounded")
	}
	if whole, fraction := kept("yaml"); whole || fraction {
		log.Fatal("CHANGED: YAML is kept")
	}
}
GO
go mod init finding 2>/dev/null
go get github.com/open-policy-agent/opa@v1.20.0 2>/dev/null
go mod tidy 2>/dev/null
go run .
