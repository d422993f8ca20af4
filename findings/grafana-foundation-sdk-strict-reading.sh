#!/usr/bin/env bash
# Grafana's Go types of a dashboard return an error from strict reading where nothing is wrong.
#
# Expected: dashboard.Dashboard.UnmarshalJSONStrict of what the same package's builder has made, and marshalled, returns nil.
# Seen (grafana-foundation-sdk/go v0.0.22): the dashboard is read whole, and the error is not nil: it holds a list of mistakes, cog.BuildErrors,
# which is empty. `if err != nil` takes each dashboard for broken.
#
# What follows for us: test/alerts reads our dashboard strictly, and looks into the error for what is in it.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat >go.mod <<'MOD'
module strict

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	built, err := dashboard.NewDashboardBuilder("one").Build()
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(built)
	if err != nil {
		panic(err)
	}
	var read dashboard.Dashboard
	err = read.UnmarshalJSONStrict(text)
	var mistakes cog.BuildErrors
	if err == nil || !errors.As(err, &mistakes) || len(mistakes) != 0 || read.Title == nil || *read.Title != "one" {
		fmt.Printf("CHANGED: %#v\n", err)
		os.Exit(1)
	}
	fmt.Println("seen: an error that holds no mistake")
}
GO
export GOWORK=off GOFLAGS=-mod=mod
go get github.com/grafana/grafana-foundation-sdk/go@v0.0.22 >/dev/null 2>&1
go run .
