#!/usr/bin/env bash
# A decision of OPA's loses an entry whose key is another's text.
#
# Expected: an object that has two entries for a policy has two for who asks, or the decision is an error.
# Seen (opa 1.20.0, by its package rego and its server alike): {1: "a", "1": "b"} has a count of 2 in Rego, and is written as {"1": "b"}.
# json.marshal does the same within a policy, and the other entry is lost without a word: {1: "a", "1": "b"} and {"1": "b"} are two objects
# with one text.
#
# What follows for us: the opa plugin gets its decisions as this JSON, too, and cannot tell; docs/types.md warns of such keys.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat > main.go <<'GO'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/version"
)

// asked is what who asks for a term reads.
func asked(term string) string {
	results, err := rego.New(rego.Query("decision := " + term)).Eval(context.Background())
	if err != nil {
		return err.Error()
	}
	text, err := json.Marshal(results[0].Bindings["decision"])
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func main() {
	both := `{1: "a", "1": "b"}`
	count, decision := asked("count("+both+")"), asked(both)
	same := asked(both + ` == {"1": "b"}`)
	sameText := asked("json.marshal(" + both + `) == json.marshal({"1": "b"})`)
	fmt.Printf("opa %s: %s has %s entries, and is read as %s; equal to {\"1\": \"b\"}: %s, as JSON: %s\n", version.Version, both, count, decision, same, sameText)
	if count != "2" || decision != `{"1":"b"}` || same != "false" || sameText != "true" {
		log.Fatal("CHANGED")
	}
}
GO
go mod init finding 2>/dev/null
go get github.com/open-policy-agent/opa@v1.20.0 2>/dev/null
go mod tidy 2>/dev/null
go run .
