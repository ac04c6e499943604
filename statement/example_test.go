package statement_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// workedExample is section 9 of docs/wire-format.md: one block of three readings
// in one frame, from the readings to the ledger entry.
func workedExample(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	put := func(name string, v []byte) { fmt.Fprintf(&out, "%-14s %x\n", name, v) }
	putHash := func(name string, h statement.Hash) { put(name, h[:]) }
	priv := edKey(1)
	key := signer(t, priv).Key()
	put("public-key", key.Encoded())
	putHash("kid", key.ID())

	entry := statement.Channel{Device: key.ID(), Name: "28-0316a2795fff/temp", Unit: "Cel", Nominal: 60_000, Closeness: statement.SameRoom,
		Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8001}}}
	put("channel-entry", dcbor.MustMarshal(entry))
	start := trace.Start{Channel: entry.Name, Plan: entry.Hash(), Basis: trace.Wall, Boot: [16]byte([]byte("bootbootbootboot"))}
	put("start-of", dcbor.MustMarshal(start))
	putHash("start", start.Hash())

	times := []int64{1_760_000_000_000, 1_760_000_060_000, 1_760_000_120_000}
	block, err := statement.NewBlock(entry.Name, -1, times, []int64{4062, 8500, 7937})
	if err != nil {
		t.Fatal(err)
	}
	body, err := statement.NewBody(block)
	if err != nil {
		t.Fatal(err)
	}
	seed := [32]byte(bytes.Repeat([]byte{0x42}, 32))
	put("seed", seed[:])
	put("block", body.Data)
	salt := statement.Salt(seed, 0)
	put("salt-0", salt[:])
	record := statement.SaltedRecord(salt, body)
	put("record-0", record)

	digest, err := entry.Spec().Leaf(-1, times, block.Values)
	if err != nil {
		t.Fatal(err)
	}
	put("digest", dcbor.MustMarshal(digest))
	frontier, _, err := trace.Frontier{Start: start.Hash()}.Append(sha256.Sum256(record), digest)
	if err != nil {
		t.Fatal(err)
	}
	head, err := frontier.Head()
	if err != nil {
		t.Fatal(err)
	}
	putHash("leaf-hash", head.Root)
	headBody, err := statement.NewBody(&statement.HeadRecord{Channel: entry.Name, Head: head, Start: &start})
	if err != nil {
		t.Fatal(err)
	}
	put("head-rec", headBody.Data)
	records := statement.Records(seed, []statement.Body{body, headBody})
	frame := &statement.Frame{Version: 1, Span: [2]int64{times[0], times[2]}, Root: statement.RecordsRoot(records), Count: 2,
		Clock: statement.Clock{BootID: start.Boot, BootCount: 1, Boottime: 180_000_000_000, Wall: times[2], Quality: statement.ClockSynchronised, MaxError: 25},
		Plan:  statement.Hash(bytes.Repeat([]byte{0xcc}, 32))}
	putHash("records-root", frame.Root)
	s := sign(t, signer(t, priv), header(statement.KindFrame), frame)
	put("payload", s.Payload)
	put("signature", s.Signature)
	put("statement", s.Bytes())
	putHash("statement-id", s.ID())
	putHash("ledger-entry", s.Entry())
	return out.String()
}

// TestWorkedExample holds the bytes of section 9 of docs/wire-format.md.
func TestWorkedExample(t *testing.T) {
	doc, err := os.ReadFile("../docs/wire-format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(doc), "```example\n")
	shown, _, _ := strings.Cut(rest, "```")
	if want := workedExample(t); !found || shown != want {
		t.Errorf("section 9 of docs/wire-format.md shows other bytes; it should be\n%s", want)
	}
}
