package cometlight

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"

	"trailmark/internal/dcbor"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// golden is a case that other implementations can read; byte strings are in hex.
type golden struct {
	Chain      string         `json:"chain"`
	Validators []goldenVoter  `json:"validators"`
	Note       string         `json:"note"`
	Evidence   string         `json:"evidence"`
	Expect     goldenExpected `json:"expect"`
}

type goldenVoter struct {
	Key   string `json:"key"`
	Power uint64 `json:"power"`
}

type goldenExpected struct {
	Height  uint64 `json:"height"`
	Block   string `json:"block"`
	Time    string `json:"time"`
	Signers int    `json:"signers"`
	Signed  uint64 `json:"signed"`
	Power   uint64 `json:"power"`
}

// newGolden is the case as it comes out today, expected by CometBFT's code.
func newGolden(t testing.TB) (g golden, pinned Chain, data []byte) {
	t.Helper()
	v := newWorld(3, 2, 2, 1).block(t, anchors(t, 5), 3, signed, toNil, signed, signed)
	e, note, err := v.ours()
	if err != nil {
		t.Fatal(err)
	}
	at := must(sm.MedianTime(v.commit, v.vals))(t)
	pinned, data = v.pins(), dcbor.MustMarshal(e)
	g = golden{Chain: testChain, Note: string(note), Evidence: hex.EncodeToString(data), Expect: goldenExpected{
		Height: 7, Block: hex.EncodeToString(v.header.Hash()), Time: at.Format(time.RFC3339Nano), Signers: 3, Signed: 6, Power: 8,
	}}
	for _, val := range pinned.Validators {
		g.Validators = append(g.Validators, goldenVoter{hex.EncodeToString(val.Key), val.Power})
	}
	return g, pinned, data
}

// The form does not drift.
func TestGolden(t *testing.T) {
	const file = "testdata/golden.json"
	if *update {
		g, _, _ := newGolden(t)
		b := must(json.MarshalIndent(g, "", "\t"))(t)
		if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var g golden
	if err := json.Unmarshal(must(os.ReadFile(file))(t), &g); err != nil {
		t.Fatal(err)
	}
	chain := Chain{ID: g.Chain}
	for _, v := range g.Validators {
		chain.Validators = append(chain.Validators, Validator{must(hex.DecodeString(v.Key))(t), v.Power})
	}
	data := must(hex.DecodeString(g.Evidence))(t)
	a, err := Verify(chain, []byte(g.Note), data)
	if err != nil {
		t.Fatal(err)
	}
	got := goldenExpected{a.Height, hex.EncodeToString(a.Block[:]), a.Time.Format(time.RFC3339Nano), a.Signers, a.Signed, a.Power}
	if got != g.Expect {
		t.Errorf("%+v, want %+v", got, g.Expect)
	}
	if now, _, _ := newGolden(t); now.Evidence != g.Evidence || now.Note != g.Note {
		t.Errorf("evidence is now %s", now.Evidence)
	}
	everyBitCounts(t, chain, []byte(g.Note), data, 9)
}

// Whatever bytes come, what is accepted is of the one block that was signed.
func FuzzVerify(f *testing.F) {
	g, pinned, good := newGolden(f)
	f.Add(good)
	f.Add(dcbor.MustMarshal(&evidence{Version: 1, Height: 1, Total: 1, Votes: []vote{{Flag: forBlock}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := Verify(pinned, []byte(g.Note), data); err == nil && (hex.EncodeToString(a.Block[:]) != g.Expect.Block || a.Signed < 6) {
			t.Fatalf("%+v", a)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	tx := anchors(b, 1)
	for name, w := range map[string]*world{"validators=1": newWorld(1), "validators=4": newWorld(1, 1, 1, 1)} {
		v := w.block(b, tx, 0, slices.Repeat([]types.BlockIDFlag{signed}, w.vals.Size())...)
		e, note, err := v.ours()
		if err != nil {
			b.Fatal(err)
		}
		data, pinned := dcbor.MustMarshal(e), v.pins()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Verify(pinned, note, data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(data)), "bytes")
		})
	}
}
