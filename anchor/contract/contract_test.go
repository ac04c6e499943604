package contract

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The artifact is of the source beside it, and lies where verifiers look.
func TestArtifact(t *testing.T) {
	source, err := os.ReadFile("Anchors.sol")
	if err != nil {
		t.Fatal(err)
	}
	a := Load()
	if sum := sha256.Sum256(source); hex.EncodeToString(sum[:]) != a.SourceSHA256 {
		t.Errorf("source hashes to %x, artifact.json is of %s\nhint: make contract", sum, a.SourceSHA256)
	}
	if len(a.Storage) == 0 || a.Storage[0] != (Variable{"heads", "0", 0}) {
		t.Errorf("storage %+v, docs/wire-format.md wants heads in slot 0", a.Storage)
	}
	if a.EVMVersion != "paris" {
		t.Errorf("compiled for %s", a.EVMVersion)
	}
	if !bytes.HasSuffix(a.Bytecode, a.Deployed) {
		t.Error("what is deployed is not the end of what deploys it: immutables or metadata would change the code hash")
	}
	if len(a.Deployed) > 24576 {
		t.Errorf("%d bytes of code, a chain takes 24576", len(a.Deployed))
	}
	t.Logf("%s: %d bytes deployed", a.Compiler, len(a.Deployed))
}

// Anybody with the same compiler gets the same bytes.
func TestReproducible(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node: artifact.json is not compiled again")
	}
	if _, err := os.Stat(filepath.Join("..", "..", "web", "node_modules", "solc")); err != nil {
		t.Skip("no solc in web/node_modules (make build installs it): artifact.json is not compiled again")
	}
	if out, err := exec.CommandContext(t.Context(), node, "build.mjs", "--check").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
