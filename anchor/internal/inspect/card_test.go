package inspect

import (
	"bytes"
	"errors"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/passport/passporttest"
	"trailmark/statement"
	"trailmark/trace"
)

// TestCard prints a card file item by item, and one that was cut as far as it goes.
func TestCard(t *testing.T) {
	start := trace.Start{Channel: "28-0316a2795fff/temp"}
	frontier, _, err := trace.Frontier{Start: start.Hash()}.Append(statement.Hash{1}, trace.Digest{T0: 1, T1: 2, Covered: 1, Min: 4000, Max: 4000, Sum: 4000})
	if err != nil {
		t.Fatal(err)
	}
	body, err := statement.NewBody(&statement.Happening{Type: statement.Door, At: 1_793_491_200_000, Words: "open"})
	if err != nil {
		t.Fatal(err)
	}
	data, _ := passporttest.Make(t, passporttest.Options{})
	frame := statementOf(t, parsed(t, data), statement.KindFrame)
	up, err := dcbor.Marshal(statement.Up{Version: 1, Statement: frame, Bodies: []statement.WireBody{{Kind: body.Kind, Body: body.Data}}})
	if err != nil {
		t.Fatal(err)
	}
	items := [][]byte{
		dcbor.MustMarshal(statement.CardHead{Mark: statement.CardMark, Version: 1, Traces: []statement.CardTrace{{Start: start, Frontier: frontier}}}),
		up,
		dcbor.MustMarshal(statement.CardCheckpoint{Origin: "example.org/demo/2026h2", Size: 7}),
	}
	data = bytes.Join(items, nil)
	got := show(t, data, Options{})
	wants(t, got, "/ card, ", "/ frontier /", "/ peaks /", "28-0316a2795fff/temp", "/ records /", "door", `/ words / "open"`, "/ tree size / 7", "/ statement /", "records root", "item 2 at byte")

	var out bytes.Buffer
	err = Print(&out, data[:len(data)-3], Options{})
	var damage *Damage
	if !errors.As(err, &damage) {
		t.Fatalf("%v", err)
	}
	wants(t, out.String(), "28-0316a2795fff/temp", "breaks at byte")
}
