package cometlight

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"

	"trailmark/internal/chain/comet"
	"trailmark/internal/dcbor"
)

const (
	absent = types.BlockIDFlagAbsent
	signed = types.BlockIDFlagCommit
	toNil  = types.BlockIDFlagNil
)

// A running validator anchors checkpoints, several of them in one block. Ours
// and CometBFT's code accept the evidence of each, and refuse it mutated.
func TestNode(t *testing.T) {
	admin, gateway := seeded(1), seeded(2)
	n := must(comet.Start(t.Context(), comet.Config{
		Home: t.TempDir(), ChainID: testChain, Admin: admin.Public().(ed25519.PublicKey), Log: slog.New(slog.DiscardHandler),
	}))(t)
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	var logs []*testLog
	for i := range 5 {
		l := newTestLog(t, "trailmark.example/"+string(rune('a'+i)), 3)
		reg := comet.Registration{Revision: 1, Origin: l.origin, LogKey: l.vkey, Submitters: []ed25519.PublicKey{gateway.Public().(ed25519.PublicKey)}}
		if err := n.Submit(t.Context(), must(comet.NewRegister(testChain, admin, reg))(t)); err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	var wg sync.WaitGroup
	for _, l := range logs {
		tx := must(comet.NewAnchor(testChain, gateway, l.checkpoint(t, 9)))(t)
		wg.Go(func() {
			if err := n.Submit(t.Context(), tx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	smallest, largest, shared, mutants := math.MaxInt, 0, int64(0), 0
	for i, l := range logs {
		head, _, err := n.Head(l.origin)
		if err != nil {
			t.Fatal(err)
		}
		ev := must(n.Evidence(t.Context(), head.Height, head.Tx))(t)
		v := viewOf(t, ev)
		if err := v.sdk(types.VerifyCommitLight); err != nil {
			t.Fatalf("CometBFT: %v", err)
		}
		data := must(ev.Light())(t)
		e, _, err := v.ours()
		if err != nil || !bytes.Equal(data, dcbor.MustMarshal(e)) {
			t.Fatalf("the converter says %x, the test %+v: %v", data, e, err)
		}
		a, err := Verify(v.pins(), l.checkpoint(t, 9), data)
		if err != nil {
			t.Fatal(err)
		}
		want := Anchor{Height: uint64(head.Height), Block: head.BlockHash, Time: head.Time, Signers: 1, Validators: 1, Signed: 1, Power: 1}
		if a != want {
			t.Errorf("anchor %+v, want %+v", a, want)
		}
		if _, err := Verify(v.pins(), l.checkpoint(t, 8), data); err == nil || !strings.Contains(err.Error(), "does not hold the anchor") {
			t.Errorf("evidence of another checkpoint: %v", err)
		}
		smallest, largest, shared = min(smallest, len(data)), max(largest, len(data)), max(shared, ev.Total)
		if i == 0 {
			everyBitCounts(t, v.pins(), l.checkpoint(t, 9), data, 3)
			mutants += differ(t, v)
		}
	}
	t.Logf("evidence of %d to %d bytes, up to %d transactions in a block, %d mutants", smallest, largest, shared, mutants)
}

// everyBitCounts flips every step-th bit of good evidence. Only the total may have other
// values: those under which the path has the same shape.
func everyBitCounts(t *testing.T, pinned Chain, note, data []byte, step int) {
	t.Helper()
	good, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 8*len(data); i += step {
		bad := bytes.Clone(data)
		bad[i/8] ^= 1 << (i % 8)
		a, err := Verify(pinned, note, bad)
		if err != nil {
			continue
		}
		e := must(parse(bad))(t)
		e.Total = good.Total
		if !bytes.Equal(dcbor.MustMarshal(e), data) {
			t.Errorf("bit %d of byte %d flipped: %+v", i%8, i/8, a)
		}
	}
	for i := range data {
		if _, err := Verify(pinned, note, data[:i]); err == nil {
			t.Errorf("cut after %d bytes: accepted", i)
		}
	}
}

// differ mutates every field of the view and wants ours to refuse what CometBFT
// refuses, and each mutant at all; once as it is, and once with the hashes that
// our form leaves out made to fit. The pinned set is that of the view before the
// mutation.
func differ(t *testing.T, good *view) (mutants int) {
	t.Helper()
	pinned := good.pins()
	e, note, err := good.ours()
	if err != nil {
		t.Fatal(err)
	}
	same := dcbor.MustMarshal(e)
	try := func(name string, mutate func(*view)) {
		t.Helper()
		for _, fit := range []bool{false, true} {
			bad := good.clone()
			mutate(bad)
			if fit {
				bad.commit.Height, bad.commit.BlockID.Hash = bad.header.Height, bad.header.Hash()
				bad.proof.LeafHash = sum(0, types.Tx(bad.tx).Hash())
			}
			theirs := bad.sdk(types.VerifyCommitLight)
			e, its, err := bad.ours()
			if errors.Is(err, errUnsayable) {
				if theirs == nil {
					t.Errorf("%s: CometBFT accepts what we have no words for: %v", name, err)
				}
				continue
			}
			if err != nil {
				continue // CometBFT itself cannot encode it
			}
			data := dcbor.MustMarshal(e)
			if bytes.Equal(data, same) && bytes.Equal(its, note) && bad.chainID == good.chainID {
				continue // made to fit again
			}
			mutants++
			if a, err := Verify(pinned, its, data); err == nil {
				t.Errorf("%s: accepted as %+v; CometBFT says: %v", name, a, theirs)
			}
		}
	}
	flips := func(name string, at func(*view) *[]byte) {
		t.Helper()
		for i := range *at(good) {
			try(name+" flipped", func(v *view) { (*at(v))[i] ^= 0x10 })
		}
		try(name+" cut", func(v *view) { b := at(v); *b = (*b)[:len(*b)-1] })
		try(name+" grown", func(v *view) { b := at(v); *b = append(*b, 0) })
		try(name+" dropped", func(v *view) { *at(v) = nil })
	}
	for name := range hashes(good.header) {
		if b := *hashes(good.header)[name]; len(b) > 0 {
			flips(name, func(v *view) *[]byte { return hashes(v.header)[name] })
		}
	}
	flips("block hash", func(v *view) *[]byte { return (*[]byte)(&v.commit.BlockID.Hash) })
	flips("part hash", func(v *view) *[]byte { return (*[]byte)(&v.commit.BlockID.PartSetHeader.Hash) })
	flips("leaf hash", func(v *view) *[]byte { return &v.proof.LeafHash })
	flips("tx", func(v *view) *[]byte { return &v.tx })
	for i := range good.proof.Aunts {
		flips("aunt", func(v *view) *[]byte { return &v.proof.Aunts[i] })
	}
	for i := range good.commit.Signatures {
		if good.commit.Signatures[i].BlockIDFlag == absent {
			continue
		}
		flips("signature", func(v *view) *[]byte { return &v.commit.Signatures[i].Signature })
		flips("address", func(v *view) *[]byte { return (*[]byte)(&v.commit.Signatures[i].ValidatorAddress) })
		for _, d := range []time.Duration{1, -1, time.Second, -200 * 365 * 24 * time.Hour} {
			try("vote time", func(v *view) { s := &v.commit.Signatures[i]; s.Timestamp = s.Timestamp.Add(d) })
		}
		for _, f := range []types.BlockIDFlag{0, absent, signed, toNil, 4, 255} {
			if f != good.commit.Signatures[i].BlockIDFlag {
				try("flag", func(v *view) { v.commit.Signatures[i].BlockIDFlag = f })
			}
		}
	}
	for name, mutate := range map[string]func(*view){
		"chain":           func(v *view) { v.chainID = "another"; v.header.ChainID = "another" },
		"header chain":    func(v *view) { v.header.ChainID += "x" },
		"header height":   func(v *view) { v.header.Height++ },
		"commit height":   func(v *view) { v.commit.Height++ },
		"both heights":    func(v *view) { v.header.Height++; v.commit.Height++ },
		"zero height":     func(v *view) { v.header.Height, v.commit.Height = 0, 0 },
		"negative height": func(v *view) { v.header.Height, v.commit.Height = -1, -1 },
		"round":           func(v *view) { v.commit.Round++ },
		"negative round":  func(v *view) { v.commit.Round = -1 },
		"block version":   func(v *view) { v.header.Version.Block++ },
		"app version":     func(v *view) { v.header.Version.App++ },
		"header time":     func(v *view) { v.header.Time = v.header.Time.Add(1) },
		"last parts":      func(v *view) { v.header.LastBlockID.PartSetHeader.Total++ },
		"parts":           func(v *view) { v.commit.BlockID.PartSetHeader.Total++ },
		"no signatures":   func(v *view) { v.commit.Signatures = nil },
		"index":           func(v *view) { v.proof.Index++ },
		"negative index":  func(v *view) { v.proof.Index = -1 },
		"total":           func(v *view) { v.proof.Total = 2*v.proof.Total + 1 },
		"zero total":      func(v *view) { v.proof.Total = 0 },
		"negative total":  func(v *view) { v.proof.Total = -v.proof.Total },
		"one aunt more":   func(v *view) { v.proof.Aunts = append(v.proof.Aunts, make([]byte, 32)) },
		"100 aunts more": func(v *view) {
			v.proof.Aunts = append(v.proof.Aunts, slices.Repeat([][]byte{make([]byte, 32)}, 100)...)
		},
	} {
		try(name, mutate)
	}
	return mutants
}

// Commits of four validators.
func TestQuorum(t *testing.T) {
	equal, heavy := newWorld(1, 1, 1, 1), newWorld(5, 1, 1, 1)
	tx := anchors(t, 1)
	type flags = []types.BlockIDFlag
	for _, c := range []struct {
		name    string
		w       *world
		flags   flags
		spoil   func(*world, *view)
		refusal string // "" is accepted
		votes   int
		at      time.Duration // after 1e9 s
	}{
		{"4 of 4", equal, flags{signed, signed, signed, signed}, nil, "", 4, 100 * time.Millisecond},
		{"3 of 4", equal, flags{absent, signed, signed, signed}, nil, "", 3, 100 * time.Millisecond},
		{"3 of 4 and one for nil", equal, flags{signed, signed, toNil, signed}, nil, "", 3, 100 * time.Millisecond},
		{"2 of 4", equal, flags{signed, signed, absent, absent}, nil, "power 2 of 4", 0, 0},
		{"2 of 4 and two for nil", equal, flags{signed, signed, toNil, toNil}, nil, "power 2 of 4", 0, 0},
		{"all for nil", equal, flags{toNil, toNil, toNil, toNil}, nil, "power 0 of 4", 0, 0},
		{"nobody", equal, flags{absent, absent, absent, absent}, nil, "0 votes", 0, 0},
		{"5 of 8", heavy, flags{signed, absent, absent, absent}, nil, "power 5 of 8", 0, 0},
		{"6 of 8", heavy, flags{signed, absent, absent, signed}, nil, "", 2, 0},
		{"3 light of 8", heavy, flags{absent, signed, signed, signed}, nil, "power 3 of 8", 0, 0},
		{"one signature twice", equal, flags{signed, signed, signed, absent}, func(_ *world, v *view) {
			v.commit.Signatures[2] = v.commit.Signatures[1]
		}, "follows", 0, 0},
		{"one validator twice", equal, flags{signed, signed, signed, absent}, func(w *world, v *view) {
			v.commit.Signatures[2] = v.commit.Signatures[1]
			v.commit.Signatures[2].Timestamp = time.Unix(1_000_000_007, 0).UTC()
			w.sign(v, 2)
		}, "follows", 0, 0},
		{"out of order", equal, flags{signed, signed, signed, signed}, func(_ *world, v *view) {
			s := v.commit.Signatures
			s[1], s[2] = s[2], s[1]
		}, "follows", 0, 0},
		{"signatures swapped", equal, flags{signed, signed, signed, signed}, func(_ *world, v *view) {
			s := v.commit.Signatures
			s[1].Signature, s[2].Signature = s[2].Signature, s[1].Signature
		}, "wrong signature", 0, 0},
		{"signed for another round", equal, flags{signed, signed, signed, signed}, func(w *world, v *view) {
			v.commit.Round = 3
			w.sign(v, 0)
			w.sign(v, 1)
			v.commit.Round = 2
		}, "wrong signature", 0, 0},
		{"signed for another height", equal, flags{signed, signed, signed, signed}, func(w *world, v *view) {
			v.commit.Height = 8
			w.sign(v, 0)
			w.sign(v, 1)
			v.commit.Height = 7
		}, "wrong signature", 0, 0},
		{"signed for another chain", equal, flags{signed, signed, signed, signed}, func(w *world, v *view) {
			v.chainID = "another"
			w.sign(v, 0)
			w.sign(v, 1)
			v.chainID = testChain
		}, "wrong signature", 0, 0},
		{"nil votes shown as votes", equal, flags{signed, signed, toNil, absent}, func(_ *world, v *view) {
			v.commit.Signatures[2].BlockIDFlag = signed
		}, "wrong signature", 0, 0},
		{"more validators than pinned", equal, flags{signed, signed, signed, signed}, func(w *world, v *view) {
			v.vals = newWorld(1, 1, 1, 1, 1).vals
			v.header.ValidatorsHash = v.vals.Hash()
			v.commit.BlockID.Hash = v.header.Hash()
		}, "other validators", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := c.w.block(t, tx, 0, c.flags...)
			pinned := v.pins()
			if c.spoil != nil {
				c.spoil(c.w, v)
			}
			theirs := v.sdk(types.VerifyCommitLight)
			a, err := v.verify(pinned)
			switch {
			case c.refusal == "":
				if err != nil || theirs != nil {
					t.Fatalf("ours: %v; CometBFT: %v", err, theirs)
				}
				if at := time.Unix(1_000_000_000, 0).UTC().Add(c.at); a.Signers != c.votes || a.Validators != 4 || !a.Time.Equal(at) {
					t.Errorf("%+v, want %d votes at %s", a, c.votes, at)
				}
				everySignatureCounts(t, v)
			case err == nil:
				t.Fatalf("accepted %+v; CometBFT: %v", a, theirs)
			case theirs == nil:
				t.Errorf("CometBFT accepts what is refused with: %v", err)
			case !strings.Contains(err.Error(), c.refusal):
				t.Errorf("refused with %q, want %q", err, c.refusal)
			}
		})
	}
}

// everySignatureCounts flips the signatures of a good commit. With four of four
// CometBFT's light client stops looking after three; ours does not.
func everySignatureCounts(t *testing.T, good *view) {
	t.Helper()
	for i := range good.commit.Signatures {
		if good.commit.Signatures[i].BlockIDFlag == absent {
			continue
		}
		for b := range 64 {
			bad := good.clone()
			bad.commit.Signatures[i].Signature[b] ^= 1
			if _, err := bad.verify(good.pins()); err == nil {
				t.Errorf("byte %d of signature %d flipped: accepted", b, i)
			}
		}
	}
}

// Random sets, powers and votes: the verdict is that of CometBFT's full check,
// the time that of its MedianTime.
func TestRandomCommits(t *testing.T) {
	r := rng()
	txs := anchors(t, 9)
	accepted := 0
	for range 400 {
		n := 1 + r.IntN(9)
		powers := make([]int64, n)
		flags := make([]types.BlockIDFlag, n)
		for i := range n {
			powers[i] = 1 + r.Int64N(1+r.Int64N(6))
			flags[i] = signed
			if r.IntN(5) == 0 {
				flags[i] = types.BlockIDFlag(1 + r.IntN(3))
			}
		}
		w := newWorld(powers...)
		total := 1 + r.IntN(len(txs))
		v := w.block(t, txs[:total], r.IntN(total), flags...)
		for i := range v.commit.Signatures {
			if s := &v.commit.Signatures[i]; s.BlockIDFlag != absent {
				s.Timestamp = time.Unix(1_000_000_000+r.Int64N(3), r.Int64N(3)*300_000_000+r.Int64N(2)).UTC()
				w.sign(v, i)
			}
		}
		theirs := v.sdk(types.VerifyCommit)
		pinned := v.pins()
		r.Shuffle(n, func(i, j int) {
			pinned.Validators[i], pinned.Validators[j] = pinned.Validators[j], pinned.Validators[i]
		})
		a, ours := v.verify(pinned)
		if (theirs == nil) != (ours == nil) {
			t.Fatalf("powers %v, flags %v: ours %v, CometBFT %v", powers, flags, ours, theirs)
		}
		if ours != nil {
			continue
		}
		accepted++
		if want := must(sm.MedianTime(v.commit, v.vals))(t); !a.Time.Equal(want) || a.Block != [32]byte(v.header.Hash()) {
			t.Fatalf("powers %v, flags %v: block %x at %s, want %s", powers, flags, a.Block, a.Time, want)
		}
	}
	if accepted < 100 || accepted > 390 {
		t.Errorf("%d of 400 commits accepted: this tests one side only", accepted)
	}
}

// Every field of a commit in which no vote can be spared.
func TestMutatedCommit(t *testing.T) {
	w := newWorld(1, 1, 1, 1)
	v := w.block(t, anchors(t, 9), 5, signed, signed, absent, signed)
	if _, err := v.verify(v.pins()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d mutants", differ(t, v))
}

// Evidence that all validators have signed, and that says what it must not.
func TestSignedNonsense(t *testing.T) {
	w := newWorld(1, 1, 1, 1)
	v := w.block(t, anchors(t, 5), 4, signed, signed, signed, signed)
	for name, c := range map[string]struct {
		spoil   func(*evidence)
		refusal string
	}{
		"nothing":              {func(*evidence) {}, ""},
		"another round":        {func(e *evidence) { e.Round = math.MaxInt32 }, ""},
		"another app version":  {func(e *evidence) { e.Header[0] = []byte{8, 11, 16, 2} }, ""},
		"another chain":        {func(e *evidence) { e.Header[1] = protoBytes(nil, 1, []byte("another")) }, "not of chain"},
		"no chain":             {func(e *evidence) { e.Header[1] = nil }, "not of chain"},
		"header height":        {func(e *evidence) { e.Header[2] = protoUint(nil, 1, 8) }, "not of height 7"},
		"vote height":          {func(e *evidence) { e.Height = 8 }, "not of height 8"},
		"another data hash":    {func(e *evidence) { e.Header[6] = protoBytes(nil, 1, make([]byte, 32)) }, "does not hold"},
		"another set":          {func(e *evidence) { e.Header[7] = protoBytes(nil, 1, make([]byte, 32)) }, "other validators"},
		"another submitter":    {func(e *evidence) { e.Submitter[0] ^= 1 }, "does not hold"},
		"another tx signature": {func(e *evidence) { e.TxSig[0] ^= 1 }, "does not hold"},
		"height 0":             {func(e *evidence) { e.Height, e.Header[2] = 0, nil }, "height 0"},
		"height over int64":    {func(e *evidence) { e.Height = 1 << 63; e.Header[2] = protoUint(nil, 1, e.Height) }, "height 9223372036854775808"},
		"round over int32":     {func(e *evidence) { e.Round = 1 << 31 }, "round 2147483648"},
		"nanoseconds":          {func(e *evidence) { e.Votes[0].Nanos = 1e9 }, "out of bounds"},
		"year 10000":           {func(e *evidence) { e.Votes[0].Seconds = maxSeconds + 1 }, "out of bounds"},
		"flag 1":               {func(e *evidence) { e.Votes[0].Flag = 1 }, "flag 1"},
		"flag 4":               {func(e *evidence) { e.Votes[0].Flag = 4 }, "flag 4"},
		"validator 4":          {func(e *evidence) { e.Votes[3].Validator = 4 }, "vote of validator 4"},
		"validator at 2^63":    {func(e *evidence) { e.Votes[3].Validator = 1 << 63 }, "vote of validator 9223372036854775808"},
		"no votes":             {func(e *evidence) { e.Votes = nil }, "0 votes"},
		"65 votes":             {func(e *evidence) { e.Votes = make([]vote, 65) }, "65 votes"},
		"index":                {func(e *evidence) { e.Index = e.Total }, "out of bounds"},
		"total":                {func(e *evidence) { e.Total = 1 << 63 }, "out of bounds"},
		"33 aunts":             {func(e *evidence) { e.Aunts = make([][32]byte, 33) }, "out of bounds"},
		"2 aunts":              {func(e *evidence) { e.Aunts = make([][32]byte, 2) }, "path of transaction"},
		"version 3":            {func(e *evidence) { e.Version = 3 }, "version 3"},
	} {
		e, note, err := v.ours()
		if err != nil {
			t.Fatal(err)
		}
		c.spoil(e)
		for i := range e.Votes {
			if val := e.Votes[i].Validator; val < 4 {
				key := w.keys[string(w.vals.Validators[val].Address)]
				e.Votes[i].Sig = [64]byte(ed25519.Sign(key, e.signBytes(testChain, treeHash(e.Header[:]), e.Votes[i])))
			}
		}
		_, err = Verify(v.pins(), note, dcbor.MustMarshal(e))
		if c.refusal == "" && err != nil || c.refusal != "" && (err == nil || !strings.Contains(err.Error(), c.refusal)) {
			t.Errorf("%s: %v, want %q", name, err, c.refusal)
		}
	}
	e, note, _ := v.ours()
	data := dcbor.MustMarshal(e)
	if _, err := Verify(v.pins(), note, append(data, make([]byte, MaxEvidence)...)); err == nil || !strings.Contains(err.Error(), "over the limit") {
		t.Errorf("large evidence: %v", err)
	}
}

// What a trust file may say.
func TestPins(t *testing.T) {
	v := newWorld(1, 1, 1, 1).block(t, anchors(t, 1), 0, signed, signed, signed, signed)
	good := v.pins()
	for name, spoil := range map[string]func(*Chain){
		"another chain":     func(c *Chain) { c.ID = "another" },
		"no chain":          func(c *Chain) { c.ID = "" },
		"long chain":        func(c *Chain) { c.ID = strings.Repeat("x", 51) },
		"nobody":            func(c *Chain) { c.Validators = nil },
		"one fewer":         func(c *Chain) { c.Validators = c.Validators[:3] },
		"one twice":         func(c *Chain) { c.Validators = append(c.Validators, c.Validators[0]) },
		"twice, two powers": func(c *Chain) { c.Validators = append(c.Validators, Validator{c.Validators[0].Key, 2}) },
		"another key":       func(c *Chain) { c.Validators[0].Key = seeded(77).Public().(ed25519.PublicKey) },
		"short key":         func(c *Chain) { c.Validators[0].Key = c.Validators[0].Key[:31] },
		"no key":            func(c *Chain) { c.Validators[0].Key = nil },
		"small-order key":   func(c *Chain) { c.Validators[0].Key = append([]byte{1}, make([]byte, 31)...) },
		"another power":     func(c *Chain) { c.Validators[0].Power = 2 },
		"no power":          func(c *Chain) { c.Validators[0].Power = 0 },
		"too much power":    func(c *Chain) { c.Validators[0].Power = MaxPower - 2 },
		"wrapping power":    func(c *Chain) { c.Validators[0].Power = math.MaxUint64 - 2 },
		"too many":          func(c *Chain) { c.Validators = slices.Repeat(c.Validators, 17) },
	} {
		bad := Chain{good.ID, slices.Clone(good.Validators)}
		spoil(&bad)
		if a, err := v.verify(bad); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if _, err := v.verify(good); err != nil {
		t.Errorf("unspoilt: %v", err)
	}
	e, note, _ := v.ours()
	if _, err := Verify(good, make([]byte, MaxNote+1), dcbor.MustMarshal(e)); err == nil {
		t.Error("a note over the limit is accepted")
	}
	e.Header[10] = make([]byte, maxLeaf+1)
	if _, err := Verify(good, note, dcbor.MustMarshal(e)); err == nil || !strings.Contains(err.Error(), "header field 11 has 129 bytes") {
		t.Errorf("a long leaf: %v", err)
	}
}
