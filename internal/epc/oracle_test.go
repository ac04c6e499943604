package epc

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// oracle asks npm's epc-tds what it makes of each tag URI: the memory, and the
// URIs that it reads back from our memory.
const oracle = `
const lib = require(process.argv[1]); const tds = lib.default ?? lib;
let text = ""; process.stdin.on("data", (d) => text += d).on("end", () => {
  console.log(JSON.stringify(JSON.parse(text).map(({ URI, Hex }) => {
    try {
      const read = tds.valueOf(Hex);
      return { Hex: tds.fromTagURI(URI).toHexString(), URI: read.toTagURI(), ID: read.toIdURI() };
    } catch (e) { return { Err: String(e) }; }
  })));
});`

// TestAgainstAnotherImplementation compares with npm epc-tds 1.4.1, which has
// all codings here but the "+" ones. Left out is what it gets wrong: punctuation in
// serials, and names whose reference has no digits. It pads memory to bytes or
// not at all, so trailing zeros are not compared.
func TestAgainstAnotherImplementation(t *testing.T) {
	module, err := filepath.Abs("../../web/node_modules/epc-tds")
	if err != nil {
		t.Fatal(err)
	}
	node, nodeErr := exec.LookPath("node")
	if _, err := os.Stat(module); err != nil || nodeErr != nil {
		t.Skip("no node, or no web/node_modules/epc-tds: run make web")
	}
	type question struct{ URI, Hex, ID string }
	var asked []question
	r := rand.New(rand.NewPCG(3, 5))
	plain := func(s string) string {
		return strings.Map(func(c rune) rune {
			if strings.ContainsRune("!\"%&'()*+,-./:;<=>?_", c) {
				return 'q'
			}
			return c
		}, s)
	}
	for _, l := range layouts() {
		for range 500 {
			id := randomID(r, l.scheme, !l.text)
			id.Serial, id.Reference = plain(id.Serial), plain(id.Reference)
			if id.Reference == "" {
				continue
			}
			tag, err := id.Tag(l.coding)
			if err != nil {
				t.Fatal(err)
			}
			b, err := tag.Encode()
			if err != nil {
				t.Fatal(err)
			}
			asked = append(asked, question{tag.URI(), hex.EncodeToString(b), tag.ID.URI()})
		}
	}
	in, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "-e", oracle, module)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers []struct{ Hex, URI, ID, Err string }
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(asked) {
		t.Fatalf("%d answers to %d questions, %v", len(answers), len(asked), err)
	}
	bits := func(s string) string { return strings.TrimRight(strings.ToUpper(s), "0") }
	for i, q := range asked {
		if a := answers[i]; a.Err != "" || a.URI != q.URI || a.ID != q.ID || bits(a.Hex) != bits(q.Hex) {
			t.Fatalf("%s %s %s: epc-tds says %+v", q.Hex, q.URI, q.ID, a)
		}
	}
	t.Logf("%d tags read and written alike", len(asked))
}
