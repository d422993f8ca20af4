package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNewWritesAProjectAndSaysWhatIsNext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "warehouse")
	agenthost(t, "new", "--lang", "go", "warehouse-query", "--sdk", "../..", "--dir", dir).
		expect(t, 0, filepath.Join(dir, "verify.yaml"), "make build test verify")
	if _, err := os.Stat(filepath.Join(dir, "Makefile")); err != nil {
		t.Error(err)
	}
	agenthost(t, "new", "--lang", "go", "warehouse-query", "--sdk", "../..", "--dir", dir).expect(t, exitFailed, "", "is not empty")
}

func TestNewSaysWhatItNeeds(t *testing.T) {
	agenthost(t, "new").expect(t, exitUsage, "", "accepts 1 arg")
	agenthost(t, "new", "x").expect(t, exitUsage, "", "--lang is missing")
	agenthost(t, "new", "x", "--lang", "cobol").expect(t, exitUsage, "", "expected ")
	agenthost(t, "new", "X", "--lang", "go", "--sdk", "../..").expect(t, exitUsage, "", "no name for a plugin")
	agenthost(t, "new", "x", "--lang", "go").expect(t, exitUsage, "", "--sdk or $AGENTHOST_SDK")
	agenthost(t, "new", "x", "--lang", "go", "--sdk", t.TempDir()).expect(t, exitUsage, "", "no checkout of agenthost")
}
