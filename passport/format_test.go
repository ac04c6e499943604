package passport_test

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

// TestStandaloneReceipt: every statement of a passport gives a COSE Receipt that
// stands on its own, and a transparent statement.
func TestStandaloneReceipt(t *testing.T) {
	for name, o := range map[string]passporttest.Options{"one ledger": {Anchored: true, Older: true}, "two ledgers": {Halves: true}} {
		data, trust := passporttest.Make(t, o)
		p := parse(t, data)
		for i, e := range p.Evidence {
			log := trust.Logs[e.Place.Ledger]
			c, err := statement.OpenCheckpoint(p.Ledgers[e.Place.Ledger].Newest.Note, log.Origin, log.Key.Key)
			if err != nil {
				t.Fatal(err)
			}
			shown, err := p.Transparent(i)
			if err != nil {
				t.Fatal(err)
			}
			s, receipts, err := statement.DetachReceipts(shown)
			if err != nil || !bytes.Equal(s.Bytes(), e.Statement) {
				t.Fatalf("%s: statement %d: %v", name, i, err)
			}
			if err := receipts[0].Verify(s.Entry(), c, log.Key.Key); err != nil {
				t.Errorf("%s: statement %d: %v", name, i, err)
			}
			raw, err := p.Receipt(i)
			if err != nil {
				t.Fatal(err)
			}
			entry := s.Entry()
			if f, err := statement.VerifyForeignReceipt(raw, entry[:], log.Key.Key); err != nil || f.Index != e.Place.Index || f.Root != c.Root {
				t.Errorf("%s: statement %d: as a receipt of RFC 9942: %+v, %v", name, i, f, err)
			}
		}
		if _, err := p.Receipt(len(p.Evidence)); err == nil {
			t.Error("receipt of no statement")
		}
	}
}

// TestAnchorEvidence: what the chain's signatures prove, and what is left to the
// passport's word without them.
func TestAnchorEvidence(t *testing.T) {
	v := made(t, passporttest.Options{Anchored: true, Older: true, KeyStatus: true})
	if len(v.Anchors) != 5 || checked(v) != 5 || v.Anchors[0].Validators != 4 {
		t.Fatalf("anchors %+v", v.Anchors)
	}
	t0 := passporttest.Epoch().UnixMilli()
	at := func(m int64) passport.Bound { return passport.Bound{Time: t0 + minutes(m), Proof: passport.Proven} }
	// Anchors at minutes 122, 302, 482, 662 and 720; the last frames are of minutes 420 and 660.
	if store := v.Legs[0]; store.NotBefore.Proof != passport.None || store.NotAfter != at(482) {
		t.Errorf("store between %+v and %+v", store.NotBefore, store.NotAfter)
	}
	if truck := v.Legs[1]; truck.NotBefore != at(302) || truck.NotAfter != at(662) {
		t.Errorf("truck between %+v and %+v", truck.NotBefore, truck.NotAfter)
	}
	air := v.Legs[0].Channels[0]
	var heads []passport.HeadFacts
	for _, h := range []struct{ at, anchor int64 }{{60, 122}, {180, 302}, {360, 482}, {420, 482}} {
		heads = append(heads, passport.HeadFacts{At: t0 + minutes(h.at), Size: uint64(h.at / 60), Anchor: at(h.anchor)})
	}
	if !slices.Equal(air.Heads, heads) || air.LateProof != passport.Proven || air.Late != minutes(122) || air.HeadGap != minutes(170) {
		t.Errorf("air %+v, late %d, gap %d", air.Heads, air.Late, air.HeadGap)
	}
	if k := v.KeyStatus; k == nil || k.Age != minutes(60) {
		t.Errorf("key status %+v", k)
	}

	data, trust := passporttest.Make(t, passporttest.Options{Anchored: true, Older: true})
	trust.Chains[0].Keys = nil
	v = verify(t, data, trust)
	if air := v.Legs[0].Channels[0]; checked(v) != 0 || air.LateProof != passport.Declared || v.Legs[1].NotBefore.Proof != passport.Declared {
		t.Errorf("without keys: %d checked, lateness %s", checked(v), air.LateProof)
	}
	v = made(t, passporttest.Options{Unanchored: true})
	if air := v.Legs[0].Channels[0]; air.LateProof != passport.None || air.Late != 0 || v.Legs[0].NotAfter.Proof != passport.None {
		t.Errorf("without anchors: %+v", v.Legs[0])
	}
}

// TestEVMEvidence: what a contract holds or logs under a pinned block is proven,
// at the time of its header; under any other block it is the passport's word.
func TestEVMEvidence(t *testing.T) {
	t0 := passporttest.Epoch().UnixMilli()
	for _, event := range []bool{false, true} {
		o := passporttest.Options{Anchored: true, Older: true, KeyStatus: true, EVM: &passporttest.EVM{Event: event}}
		v := made(t, o)
		if len(v.Anchors) != 5 || checked(v) != 5 || v.Anchors[0].Kind != passport.EVM || v.Anchors[0].Time != t0+minutes(720) {
			t.Fatalf("anchors %+v", v.Anchors)
		}
		if truck := v.Legs[1]; truck.NotBefore != (passport.Bound{Time: t0 + minutes(302), Proof: passport.Proven}) ||
			truck.NotAfter != (passport.Bound{Time: t0 + minutes(662), Proof: passport.Proven}) {
			t.Errorf("truck between %+v and %+v", truck.NotBefore, truck.NotAfter)
		}
		data, trust := passporttest.Make(t, o)
		blocks := trust.Chains[0].Contract.Blocks
		trust.Chains[0].Contract.Blocks = slices.Delete(slices.Clone(blocks), 0, 2)
		if v := verify(t, data, trust); checked(v) != 3 {
			t.Errorf("%d anchors are checked under 3 of 5 blocks", checked(v))
		}
		p := parse(t, data)
		newest := p.Ledgers[0].Newest
		if a, err := trust.Chains[0].Anchor(newest.Note, newest.Proof); err != nil || a != *newest.Anchor {
			t.Errorf("%+v, %v; want %+v", a, err, newest.Anchor)
		}
		older := p.Ledgers[0].Older[0]
		if _, err := trust.Chains[0].Anchor(older.Note, older.Proof); !errors.Is(err, passport.ErrUnpinned) {
			t.Errorf("evidence of a block that is not pinned: %v", err)
		}
		for _, bad := range []string{"", "a\nb\nc\n", "a\n1\nAAAA\n"} {
			if _, err := trust.Chains[0].Anchor([]byte(bad), newest.Proof); err == nil {
				t.Errorf("%q is taken for a checkpoint", bad)
			}
		}
		words := v.Explain(passport.English, time.UTC)
		if !slices.ContainsFunc(words, func(s passport.Section) bool {
			return strings.Contains(strings.Join(s.Lines, "\n"), "at height 50, 2026-03-02 12:00:00 (its validators are not known); checked offline against a block that the trust file names")
		}) {
			t.Errorf("the anchor's words are missing: %v", words)
		}
	}
}

// TestAudit: an audit shows every reading; the readings are those of the summary.
func TestAudit(t *testing.T) {
	v := made(t, passporttest.Options{Audit: true})
	for _, leg := range v.Legs {
		for _, ch := range leg.Channels {
			low, high := int64(1<<31), int64(-1<<31)
			for i, r := range ch.Readings {
				low, high = min(low, r.Value), max(high, r.Value)
				if i > 0 && r.Time <= ch.Readings[i-1].Time {
					t.Errorf("%s: reading %d is not after the one before", ch.Channel, i)
				}
			}
			if ch.Shown != ch.Blocks || len(ch.Readings) != 12*int(ch.Blocks) || low != ch.Min || high != ch.Max {
				t.Errorf("%s: %d of %d blocks, %d readings, %d to %d", ch.Channel, ch.Shown, ch.Blocks, len(ch.Readings), low, high)
			}
		}
	}
	if plain := made(t, passporttest.Options{}); plain.Legs[0].Channels[0].Readings != nil {
		t.Error("a plain passport shows readings")
	}
}

// TestErased: erased readings leave every proof standing and are named; another
// site's word does not count.
// TestBlockRecordOfTooManyBytes: both verifiers call it malformed, before they look at it.
func TestBlockRecordOfTooManyBytes(t *testing.T) {
	for size, ok := range map[int]bool{dcbor.MaxMessage: true, dcbor.MaxMessage + 1: false} {
		data, err := dcbor.Marshal([][]byte{make([]byte, size)})
		if err != nil {
			t.Fatal(err)
		}
		var b passport.Blocks
		if err := b.UnmarshalCBOR(data); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestErased(t *testing.T) {
	whole := made(t, passporttest.Options{})
	for name, c := range map[string]struct {
		o             passporttest.Options
		erased, shown uint64
	}{
		"erased":          {passporttest.Options{Erased: true}, 2, 0},
		"audit":           {passporttest.Options{Erased: true, Audit: true}, 2, 4},
		"by another site": {passporttest.Options{Erased: true, ErasedByOther: true}, 0, 0},
	} {
		v := made(t, c.o)
		air, want := v.Legs[0].Channels[0], whole.Legs[0].Channels[0]
		if v.Outcome != passport.Kept || air.Erased != c.erased || air.Shown != c.shown || air.Min != want.Min || air.Mean != want.Mean || air.Blocks != want.Blocks {
			t.Errorf("%s: %s, %d erased, %d shown of %d", name, v.Outcome, air.Erased, air.Shown, air.Blocks)
		}
	}
}

// TestVerifySize: only who asks for an audit passport gets a large one verified.
func TestVerifySize(t *testing.T) {
	var r *passport.Refusal
	_, trust := passporttest.Make(t, passporttest.Options{})
	_, err := passport.Verify(make([]byte, passport.MaxSize+1), trust, now())
	if !errors.As(err, &r) || r.Code != passport.CodeMalformed {
		t.Errorf("large passport: %v", err)
	}
	data, trust := passporttest.Make(t, passporttest.Options{Audit: true})
	if _, err := passport.VerifyAudit(data, trust, now()); err != nil {
		t.Error(err)
	}
}

// TestCostOfStrangers: whatever a stranger sends costs at most 16 MB held at once
// and a second.
func TestCostOfStrangers(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory")
	}
	data, trust := passporttest.Make(t, passporttest.Options{Anchored: true, Older: true, Audit: true})
	type edit = func(p *passport.Passport)
	fill := func(p *passport.Passport, more func() int) { // grows one list until the file is full
		for size := 0; size < passport.MaxSize-len(data)-4096; {
			size += more()
		}
	}
	for name, f := range map[string]edit{
		"nodes": func(p *passport.Passport) {
			r := &p.Trails[0].Range
			for len(r.Nodes) < 2048 {
				r.Nodes = append(r.Nodes, r.Nodes[0])
			}
		},
		"trails": func(p *passport.Passport) {
			for len(p.Trails) < 256 {
				p.Trails = append(p.Trails, p.Trails[0])
			}
		},
		"evidence": func(p *passport.Passport) {
			fill(p, func() int {
				p.Evidence = append(p.Evidence, p.Evidence[0])
				p.Evidence[len(p.Evidence)-1].Place.Index = uint64(len(p.Evidence))
				return len(p.Evidence[0].Statement) + 12
			})
		},
		"evidence of one byte": func(p *passport.Passport) {
			for len(p.Evidence) < 4096 {
				p.Evidence = append(p.Evidence, passport.Evidence{Statement: []byte{0}})
			}
		},
		"hashes": func(p *passport.Passport) {
			for len(p.Ledgers[0].Proof) < 8192 {
				p.Ledgers[0].Proof = append(p.Ledgers[0].Proof, statement.Hash{})
			}
		},
		"older checkpoints": func(p *passport.Passport) {
			for len(p.Ledgers[0].Older) < 128 {
				p.Ledgers[0].Older = append(p.Ledgers[0].Older, p.Ledgers[0].Older[2])
			}
		},
		"records": func(p *passport.Passport) {
			for i := range p.Evidence {
				if s := p.Evidence[i].Shown; s != nil {
					fill(p, func() int { s.Records = append(s.Records, passport.Record{Index: 8191}); return 4 + len(p.Evidence) })
					s.Records = s.Records[:min(8192, len(s.Records))]
					return
				}
			}
		},
		"records everywhere": func(p *passport.Passport) {
			for range 19 {
				p.Evidence = append(p.Evidence, passport.Evidence{Statement: []byte{0}, Shown: &passport.Shown{Records: make([]passport.Record, 8192)}})
			}
		},
		"checkpoints everywhere": func(p *passport.Passport) {
			for range 15 {
				p.Ledgers = append(p.Ledgers, passport.Ledger{Older: make([]passport.Checkpoint, 8192)})
			}
		},
		"references everywhere": func(p *passport.Passport) {
			for range 18 {
				t := p.Trails[0]
				t.Older = make([]passport.Ref, 8192)
				p.Trails = append(p.Trails, t)
			}
		},
		"empty blocks": func(p *passport.Passport) {
			for i := range 100 {
				p.Trails[0].Runs = append(p.Trails[0].Runs, passport.Run{First: uint64(i), Records: make(passport.Blocks, passport.MaxRun)})
			}
		},
		"small blocks": func(p *passport.Passport) {
			small := make(passport.Blocks, passport.MaxRun)
			for i := range small {
				small[i] = make([]byte, 22)
			}
			for i := range 3 {
				p.Trails[0].Runs = append(p.Trails[0].Runs, passport.Run{First: uint64(i * passport.MaxRun), Records: small})
			}
		},
		"empty runs": func(p *passport.Passport) {
			p.Trails[0].Runs = make([]passport.Run, 8192)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, data)
			f(p)
			bad, err := p.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if len(bad) > passport.MaxSize {
				t.Fatalf("%d bytes", len(bad))
			}
			var before, peak runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err = passport.Verify(bad, trust, now())
			took := time.Since(began)
			runtime.ReadMemStats(&peak)
			if err == nil {
				t.Error("it stands")
			}
			allocated := peak.TotalAlloc - before.TotalAlloc
			t.Logf("%d bytes: %v, %d bytes allocated: %v", len(bad), took, allocated, err)
			if took > time.Second && !raced || allocated > 16<<20 {
				t.Errorf("%v and %d bytes", took, allocated)
			}
		})
	}
}

// A pin is added in order, once, and never against another.
func TestPin(t *testing.T) {
	trust := &passport.Trust{Version: 1}
	at := [20]byte{1}
	for _, n := range []uint64{7, 3, 7, 9} {
		if err := trust.Pin("eip155:1", at, passport.Block{Number: n, Hash: statement.Hash{byte(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	c := trust.Chains[0]
	if len(trust.Chains) != 1 || c.Kind != passport.EVM || len(c.Contract.Blocks) != 3 || c.Contract.Blocks[0].Number != 3 || c.Contract.Blocks[2].Number != 9 {
		t.Errorf("pinned %+v", trust.Chains)
	}
	if err := trust.Pin("eip155:1", at, passport.Block{Number: 7, Hash: statement.Hash{8}}); err == nil {
		t.Error("another hash of a pinned block")
	}
	if err := trust.Pin("eip155:1", [20]byte{2}, passport.Block{Number: 11}); err == nil {
		t.Error("another contract")
	}
}
