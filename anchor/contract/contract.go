// Package contract is the anchoring contract of EVM chains, Anchors.sol, as it was
// compiled: what a client calls, deploys, and compares a chain's code with.
//
// artifact.json is written by `make contract` with the web workspace's solc and is
// checked in, so that a build needs no compiler; a test compiles it again.
package contract

import (
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
)

//go:embed artifact.json
var artifact []byte

// An Artifact is the compiled contract.
type Artifact struct {
	Contract      string          `json:"contract"`
	Compiler      string          `json:"compiler"`
	EVMVersion    string          `json:"evmVersion"`
	OptimizerRuns int             `json:"optimizerRuns"`
	SourceSHA256  string          `json:"sourceSha256"`
	ABI           json.RawMessage `json:"abi"`
	Bytecode      Code            `json:"bytecode"`         // that deploys it, before the constructor's argument
	Deployed      Code            `json:"deployedBytecode"` // as the chain keeps it
	Storage       []Variable      `json:"storage"`
}

// A Variable is where a state variable lies.
type Variable struct {
	Label  string `json:"label"`
	Slot   string `json:"slot"`
	Offset int    `json:"offset"`
}

// Code is byte code, in JSON as hex after 0x.
type Code []byte

func (c *Code) UnmarshalText(text []byte) (err error) {
	*c, err = hex.DecodeString(strings.TrimPrefix(string(text), "0x"))
	return err
}

// Load is the artifact that this program was built with. Nobody may alter it.
var Load = sync.OnceValue(func() *Artifact {
	var a Artifact
	if err := json.Unmarshal(artifact, &a); err != nil {
		panic(fmt.Sprintf("embedded artifact.json: %v", err)) // of the build, not of an input
	}
	return &a
})
