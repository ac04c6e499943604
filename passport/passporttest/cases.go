package passporttest

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"trailmark/passport"
	"trailmark/statement"
)

// A Case is one passport and what every verifier must say of it.
type Case struct {
	Name string
	Options
	Edit func(t testing.TB, p *passport.Passport, trust *passport.Trust) // nil: as it is
	Raw  func(data []byte) []byte                                        // the file's bytes at last, nil: as they are
	Code passport.Code                                                   // "": it stands
}

// Now is when cases are verified: an hour after the key status.
func Now() time.Time { return Epoch().Add(760 * time.Minute) }

// Make makes the case's passport and trust file.
func (c Case) Make(t testing.TB) ([]byte, *passport.Trust) {
	t.Helper()
	data, trust := Make(t, c.Options)
	if c.Edit != nil {
		p, err := passport.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		c.Edit(t, p, trust)
		if data, err = p.Encode(); err != nil {
			t.Fatal(err)
		}
	}
	if c.Raw != nil {
		data = c.Raw(data)
	}
	return data, trust
}

// Standing are cases that stand, each with a verdict of its own.
func Standing() []Case {
	edit := func(name string, o Options, f func(p *passport.Passport, trust *passport.Trust)) Case {
		return Case{Name: name, Options: o, Edit: func(_ testing.TB, p *passport.Passport, trust *passport.Trust) { f(p, trust) }}
	}
	all := Options{Anchored: true, Older: true, KeyStatus: true}
	successor := func(f func(id *statement.Identity)) Options { return Options{Rotated: &Rotation{Identity: f}} }
	skipped := successor(func(id *statement.Identity) { id.Epoch = 2 })
	skipped.KeyStatus = true
	// The trails of the old key are those of even number, the air's first.
	rotated := Options{Rotated: &Rotation{}}
	return append(slices.Concat(evmStanding(), epochStanding(), cosignedStanding(), journeyStanding()), []Case{
		{Name: "kept"},
		{Name: "brief", Options: Options{Brief: true}},
		{Name: "beyond", Options: Options{Beyond: true}},
		{Name: "withheld", Options: Options{Withheld: true}},
		{Name: "stale", Options: Options{Stale: true}},
		{Name: "humid", Options: Options{Humid: true}},
		{Name: "unruled", Options: Options{Unruled: true}},
		{Name: "moment", Options: Options{Moment: true}},
		{Name: "one-zone-id-at-two-sites", Options: Options{SameZone: true}},
		{Name: "replanned", Options: Options{Replanned: true}},
		{Name: "older-heads", Options: Options{Older: true}},
		{Name: "simulated", Options: Options{Simulated: true}},
		{Name: "anchored", Options: all},
		{Name: "anchored-beyond", Options: Options{Anchored: true, Older: true, Beyond: true}},
		{Name: "unanchored", Options: Options{Unanchored: true}},
		{Name: "audit", Options: Options{Audit: true}},
		{Name: "audit-replanned", Options: Options{Audit: true, Replanned: true, Beyond: true}},
		{Name: "erased", Options: Options{Erased: true}},
		{Name: "audit-erased", Options: Options{Erased: true, Audit: true}},
		{Name: "erased-by-another-site", Options: Options{Erased: true, ErasedByOther: true}},
		{Name: "two-ledgers", Options: Options{Halves: true}},
		{Name: "in-two-zones-at-once", Options: Options{Overlap: true}},
		{Name: "rule-who-1", Options: Options{Rule: "who-1"}},
		{Name: "rule-who-2", Options: Options{Rule: "who-2", Beyond: true}},
		{Name: "revoked-later", Options: Options{Revoked: statement.RoleDevice, RevokedFrom: 100}},
		{Name: "sightings-omitted", Options: Options{Omit: func(k statement.Kind, nth int) bool { return k == statement.KindFrame && nth%3 == 0 }}},
		{Name: "rotated", Options: rotated},
		{Name: "rotated-beyond-audit", Options: Options{Rotated: &Rotation{}, Audit: true, Beyond: true, Older: true}},
		edit("rotated-old-trace-left-out", rotated, func(p *passport.Passport, _ *passport.Trust) { p.Trails = slices.Delete(p.Trails, 0, 1) }),
		edit("rotated-new-trace-left-out", rotated, func(p *passport.Passport, _ *passport.Trust) { p.Trails = slices.Delete(p.Trails, 1, 2) }),
		{Name: "rotated-old-head-from-before-the-end", Options: Options{Rotated: &Rotation{Cut: true}}},
		edit("rotated-new-key-alone", Options{Rotated: &Rotation{}, Omit: func(k statement.Kind, nth int) bool { return k == statement.KindFrame && nth <= 3 }},
			func(p *passport.Passport, _ *passport.Trust) {
				p.Trails = slices.Delete(slices.Delete(p.Trails, 2, 3), 0, 1)
			}),
		{Name: "rotated-to-another-device", Options: successor(func(id *statement.Identity) { id.Subject = "urn:dev:mac:0024befffe804ff9" })},
		{Name: "rotated-from-another-key", Options: successor(func(id *statement.Identity) { id.Replaces = &statement.Hash{7} })},
		{Name: "rotated-over-an-epoch", Options: skipped},
		edit("chain-not-pinned", all, func(_ *passport.Passport, trust *passport.Trust) { trust.Chains = nil }),
		edit("chain-without-keys", all, func(_ *passport.Passport, trust *passport.Trust) { trust.Chains[0].Keys = nil }),
		edit("anchor-of-another-kind", all, func(p *passport.Passport, _ *passport.Trust) { p.Ledgers[0].Newest.Anchor.Kind = passport.EVM }),
		edit("anchor-without-evidence", all, func(p *passport.Passport, _ *passport.Trust) { p.Ledgers[0].Older[0].Proof = nil }),
		edit("older-anchor-dropped", all, func(p *passport.Passport, _ *passport.Trust) {
			p.Ledgers[0].Older[1].Anchor, p.Ledgers[0].Older[1].Proof = nil, nil
		}),
		edit("declared-anchor-altered", Options{}, func(p *passport.Passport, _ *passport.Trust) { p.Ledgers[0].Newest.Anchor.Time -= 60_000 }),
	}...)
}

// first is the first evidence of a kind that shows records, or of any.
func first(t testing.TB, p *passport.Passport, kind statement.Kind) *passport.Evidence {
	t.Helper()
	for i, e := range p.Evidence {
		if s, err := statement.Parse(e.Statement); err == nil && s.Header.Kind == kind && (kind != statement.KindFrame || e.Shown != nil && len(e.Shown.Proof) > 0) {
			return &p.Evidence[i]
		}
	}
	t.Fatalf("no %s in the passport", kind)
	return nil
}

// Flip alters the last byte of a statement's payload, which the signature
// follows: two bytes of head and 64 of signature.
func Flip(raw []byte) []byte {
	raw[len(raw)-67] ^= 1
	return raw
}

// Refused are cases that no verifier lets by.
func Refused() []Case {
	type (
		pp = passport.Passport
		tr = passport.Trust
	)
	stranger, err := statement.NewKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{99}, 32)).Public())
	if err != nil {
		panic(err) // a constant key
	}
	forge := func(kind statement.Kind) Options {
		return Options{Forge: func(k statement.Kind, raw []byte) []byte {
			if k == kind {
				return Flip(raw)
			}
			return raw
		}}
	}
	omit := func(kind statement.Kind, nth int) func(statement.Kind, int) bool { // 0: all
		return func(k statement.Kind, n int) bool { return k == kind && (nth == 0 || n == nth) }
	}
	var out []Case
	add := func(code passport.Code, name string, o Options, f func(p *pp, trust *tr)) {
		out = append(out, Case{Name: name, Options: o, Code: code, Edit: func(_ testing.TB, p *pp, trust *tr) {
			if f != nil {
				f(p, trust)
			}
		}})
	}
	raw := func(name string, f func(data []byte) []byte) {
		out = append(out, Case{Name: name, Code: passport.CodeMalformed, Raw: f})
	}
	frame := func(code passport.Code, name string, f func(e *passport.Evidence)) {
		out = append(out, Case{Name: name, Code: code, Edit: func(t testing.TB, p *pp, _ *tr) { f(first(t, p, statement.KindFrame)) }})
	}
	plain, anchored := Options{}, Options{Anchored: true, Older: true}
	older := Options{Older: true}
	audit := Options{Audit: true}

	add(passport.CodeMalformed, "no-item", plain, func(p *pp, _ *tr) { p.Item.GTIN = "1" })
	add(passport.CodeMalformed, "no-ledger", plain, func(p *pp, _ *tr) { p.Ledgers = nil })
	add(passport.CodeMalformed, "no-evidence", plain, func(p *pp, _ *tr) { p.Evidence = nil })
	add(passport.CodeMalformed, "statement-cut", plain, func(p *pp, _ *tr) { p.Evidence[0].Statement = p.Evidence[0].Statement[1:] })
	add(passport.CodeMalformed, "evidence-without-anchor", anchored, func(p *pp, _ *tr) { p.Ledgers[0].Older[0].Anchor = nil })
	add(passport.CodeMalformed, "anchor-kind-unknown", plain, func(p *pp, _ *tr) { p.Ledgers[0].Newest.Anchor.Kind = 3 })
	add(passport.CodeMalformed, "no-nodes", plain, func(p *pp, _ *tr) { p.Trails[0].Range.Nodes = nil })
	frame(passport.CodeMalformed, "no-records-shown", func(e *passport.Evidence) { e.Shown.Records = nil })
	raw("version-3", func(b []byte) []byte { b = bytes.Clone(b); b[2] = 3; return b })
	raw("trailing-byte", func(b []byte) []byte { return append(bytes.Clone(b), 0) })
	raw("cut-short", func(b []byte) []byte { return bytes.Clone(b[:len(b)-1]) })
	raw("indefinite", func(b []byte) []byte { return append(append([]byte{0xbf}, b[1:]...), 0xff) })
	raw("long-integer", func(b []byte) []byte { return append([]byte{b[0], b[1], 0x18, 0x01}, b[3:]...) })
	raw("unknown-key", func(b []byte) []byte { return append(append([]byte{b[0] + 1}, b[1:]...), 8, 0) })

	add(passport.CodeCheckpoint, "ledger-unknown", plain, func(_ *pp, trust *tr) { trust.Logs[0].Origin = "ledger.example.com/acme/2025h2" })
	add(passport.CodeCheckpoint, "log-key-another", plain, func(_ *pp, trust *tr) { trust.Logs[0].Key.Key = stranger })
	add(passport.CodeCheckpoint, "checkpoint-altered", plain, func(p *pp, _ *tr) { p.Ledgers[0].Newest.Note[len(originOf(0))+1] ^= 1 })
	add(passport.CodeCheckpoint, "ledger-twice", plain, func(p *pp, _ *tr) { p.Ledgers = append(p.Ledgers, p.Ledgers[0]) })
	add(passport.CodeCheckpoint, "older-checkpoint-altered", anchored, func(p *pp, _ *tr) {
		n := p.Ledgers[0].Older[0].Note
		n[len(n)-3] ^= 1
	})
	add(passport.CodeCheckpoint, "older-checkpoints-swapped", anchored, func(p *pp, _ *tr) { o := p.Ledgers[0].Older; o[0], o[1] = o[1], o[0] })
	add(passport.CodeCheckpoint, "older-checkpoint-twice", anchored, func(p *pp, _ *tr) {
		p.Ledgers[0].Older = append(p.Ledgers[0].Older, p.Ledgers[0].Older[2])
	})
	add(passport.CodeCheckpoint, "older-checkpoint-is-the-newest", anchored, func(p *pp, _ *tr) {
		p.Ledgers[0].Older = append(p.Ledgers[0].Older, p.Ledgers[0].Newest)
	})
	add(passport.CodeCheckpoint, "older-checkpoint-of-another-ledger", Options{Halves: true}, func(p *pp, _ *tr) {
		p.Ledgers[0].Older = []passport.Checkpoint{p.Ledgers[1].Newest}
	})

	add(passport.CodeReceipt, "root-signature-altered", plain, func(p *pp, _ *tr) { p.Ledgers[0].Signature.Signature[5] ^= 1 })
	add(passport.CodeReceipt, "root-signature-of-another-ledger", Options{Halves: true}, func(p *pp, _ *tr) { p.Ledgers[1].Signature = p.Ledgers[0].Signature })
	frame(passport.CodeReceipt, "frame-altered-after-it-was-recorded", func(e *passport.Evidence) { Flip(e.Statement) })
	out = append(out, Case{Name: "identity-altered-after-it-was-recorded", Code: passport.CodeReceipt, Edit: func(t testing.TB, p *pp, _ *tr) {
		Flip(first(t, p, statement.KindIdentity).Statement)
	}})
	frame(passport.CodeReceipt, "frame-signature-swapped", func(e *passport.Evidence) { e.Statement[len(e.Statement)-1] ^= 1 })
	add(passport.CodeReceipt, "statements-swapped", plain, func(p *pp, _ *tr) {
		e := p.Evidence
		e[0].Statement, e[1].Statement = e[1].Statement, e[0].Statement
	})
	add(passport.CodeReceipt, "statement-twice", plain, func(p *pp, _ *tr) { p.Evidence = slices.Insert(p.Evidence, 1, p.Evidence[0]) })
	add(passport.CodeReceipt, "statements-out-of-order", plain, func(p *pp, _ *tr) { e := p.Evidence; e[0], e[1] = e[1], e[0] })
	add(passport.CodeReceipt, "statement-dropped", plain, func(p *pp, _ *tr) { p.Evidence = p.Evidence[1:] })
	add(passport.CodeReceipt, "index-of-another-entry", plain, func(p *pp, _ *tr) { p.Evidence[len(p.Evidence)-1].Place.Index++ })
	add(passport.CodeReceipt, "index-beyond-the-ledger", plain, func(p *pp, _ *tr) { p.Evidence[len(p.Evidence)-1].Place.Index = 1000 })
	add(passport.CodeReceipt, "ledger-number-beyond", plain, func(p *pp, _ *tr) { p.Evidence[len(p.Evidence)-1].Place.Ledger = 1 })
	add(passport.CodeReceipt, "ledger-proof-altered", plain, func(p *pp, _ *tr) { p.Ledgers[0].Proof[0][0] ^= 1 })
	add(passport.CodeReceipt, "ledger-proof-short", plain, func(p *pp, _ *tr) { p.Ledgers[0].Proof = p.Ledgers[0].Proof[1:] })
	add(passport.CodeReceipt, "ledger-proof-long", plain, func(p *pp, _ *tr) { p.Ledgers[0].Proof = append(p.Ledgers[0].Proof, statement.Hash{}) })
	add(passport.CodeConsistency, "older-checkpoint-of-another-history", Options{Anchored: true, Forked: true}, nil)

	add(passport.CodeAnchor, "anchor-evidence-altered", anchored, func(p *pp, _ *tr) { e := p.Ledgers[0].Newest.Proof; e[len(e)-100] ^= 1 })
	add(passport.CodeAnchor, "anchor-evidence-of-another-checkpoint", anchored, func(p *pp, _ *tr) {
		p.Ledgers[0].Newest.Proof, p.Ledgers[0].Newest.Anchor = p.Ledgers[0].Older[0].Proof, p.Ledgers[0].Older[0].Anchor
	})
	add(passport.CodeAnchor, "anchor-evidence-is-noise", anchored, func(p *pp, _ *tr) { p.Ledgers[0].Newest.Proof = []byte{0} })
	add(passport.CodeAnchor, "anchor-signed-by-half", Options{Anchored: true, Minority: true}, nil)
	add(passport.CodeAnchor, "anchor-of-other-validators", anchored, func(_ *pp, trust *tr) { trust.Chains[0].Keys[0].Key = [32]byte(stranger.Public().(ed25519.PublicKey)) })
	add(passport.CodeAnchor, "anchor-of-a-missing-validator", anchored, func(_ *pp, trust *tr) {
		trust.Chains[0].Keys, trust.Chains[0].Validators = trust.Chains[0].Keys[1:], 3
	})
	add(passport.CodeAnchor, "anchor-time-altered", anchored, func(p *pp, _ *tr) { p.Ledgers[0].Newest.Anchor.Time-- })
	add(passport.CodeAnchor, "anchor-height-altered", anchored, func(p *pp, _ *tr) { p.Ledgers[0].Newest.Anchor.Height++ })
	add(passport.CodeAnchor, "anchor-block-altered", anchored, func(p *pp, _ *tr) { p.Ledgers[0].Older[0].Anchor.Block[0] ^= 1 })

	add(passport.CodeUntrusted, "authority-another", plain, func(_ *pp, trust *tr) { trust.Authorities[0].Key = stranger })
	add(passport.CodeUntrusted, "plan-by-a-device", Options{WrongRole: true}, nil)
	add(passport.CodeUntrusted, "identities-left-out", Options{Omit: omit(statement.KindIdentity, 0)}, nil)
	add(passport.CodeUntrusted, "device-identity-left-out", Options{Omit: omit(statement.KindIdentity, 4)}, nil)
	add(passport.CodeUntrusted, "site-identity-left-out", Options{Omit: omit(statement.KindIdentity, 1)}, nil)
	add(passport.CodeSignature, "frame-altered-by-the-gateway", forge(statement.KindFrame), nil)
	add(passport.CodeSignature, "product-altered-by-the-gateway", forge(statement.KindProduct), nil)
	add(passport.CodeSignature, "plan-altered-by-the-gateway", forge(statement.KindPlan), nil)
	add(passport.CodeSignature, "identity-altered-by-the-gateway", forge(statement.KindIdentity), nil)
	add(passport.CodeSignature, "audience-another", plain, func(_ *pp, trust *tr) { trust.Audience = "acme/production" })
	add(passport.CodeExpired, "identity-expired", Options{Expired: true}, nil)
	add(passport.CodeRevoked, "device-revoked", Options{Revoked: statement.RoleDevice}, nil)
	add(passport.CodeRevoked, "device-revoked-during-the-journey", Options{Revoked: statement.RoleDevice, RevokedFrom: 3}, nil)
	add(passport.CodeRevoked, "site-revoked", Options{Revoked: statement.RoleSite}, nil)

	frame(passport.CodeRecord, "record-altered", func(e *passport.Evidence) { e.Shown.Records[0].Data[3] ^= 1 }) // its salt
	frame(passport.CodeRecord, "record-proof-altered", func(e *passport.Evidence) { e.Shown.Proof[0][0] ^= 1 })
	frame(passport.CodeRecord, "record-proof-short", func(e *passport.Evidence) { e.Shown.Proof = e.Shown.Proof[1:] })
	frame(passport.CodeRecord, "record-proof-long", func(e *passport.Evidence) { e.Shown.Proof = append(e.Shown.Proof, statement.Hash{}) })
	frame(passport.CodeRecord, "record-twice", func(e *passport.Evidence) { e.Shown.Records = append(e.Shown.Records, e.Shown.Records[0]) })
	frame(passport.CodeRecord, "record-of-another-index", func(e *passport.Evidence) { e.Shown.Records[0].Index-- })
	frame(passport.CodeRecord, "record-beyond-the-frame", func(e *passport.Evidence) { e.Shown.Records[len(e.Shown.Records)-1].Index = 99 })
	out = append(out, Case{Name: "record-of-a-plan", Code: passport.CodeRecord, Edit: func(t testing.TB, p *pp, _ *tr) {
		first(t, p, statement.KindPlan).Shown = first(t, p, statement.KindFrame).Shown
	}})
	add(passport.CodeItem, "sighting-of-another-item", Options{Foreign: true}, nil)
	add(passport.CodeItem, "shown-as-another-item", plain, func(p *pp, _ *tr) { p.Item.Serial = "1002" })

	add(passport.CodeRange, "range-sum-altered", Options{Tampered: true}, nil)
	add(passport.CodeRange, "range-node-dropped", plain, func(p *pp, _ *tr) { p.Trails[0].Range.Nodes = p.Trails[0].Range.Nodes[1:] })
	add(passport.CodeRange, "range-node-too-many", plain, func(p *pp, _ *tr) {
		r := &p.Trails[0].Range
		r.Nodes = append(r.Nodes, r.Nodes[0])
	})
	add(passport.CodeRange, "range-nodes-swapped", plain, func(p *pp, _ *tr) { n := p.Trails[0].Range.Nodes; n[0], n[1] = n[1], n[0] })
	add(passport.CodeRange, "range-minimum-denied", plain, func(p *pp, _ *tr) { p.Trails[0].Range.Nodes[0].Digest.Min++ })
	add(passport.CodeRange, "range-hash-altered", plain, func(p *pp, _ *tr) { p.Trails[0].Range.Nodes[0].Hash[0] ^= 1 })
	add(passport.CodeRange, "range-moved", plain, func(p *pp, _ *tr) { p.Trails[0].Range.B-- })
	add(passport.CodeRange, "range-past-the-end", plain, func(p *pp, _ *tr) { p.Trails[0].Range.B = 1000 })
	add(passport.CodeRange, "range-for-other-heads", older, func(p *pp, _ *tr) { p.Trails[0].Older = p.Trails[0].Older[1:] })
	add(passport.CodeWindow, "first-block-left-out", Options{Narrow: true}, nil)
	add(passport.CodeConsistency, "older-head-of-another-channel", older, func(p *pp, _ *tr) { p.Trails[0].Older[0] = p.Trails[1].Head })
	add(passport.CodeConsistency, "older-heads-swapped", older, func(p *pp, _ *tr) { o := p.Trails[0].Older; o[0], o[1] = o[1], o[0] })
	add(passport.CodeConsistency, "older-head-is-the-newest", older, func(p *pp, _ *tr) { p.Trails[0].Older[0] = p.Trails[0].Head })
	add(passport.CodeConsistency, "older-head-of-a-rewritten-trace", Options{Older: true, Rewritten: true}, nil)
	add(passport.CodeTrace, "trail-headed-by-another-channel", plain, func(p *pp, _ *tr) { p.Trails[0].Head = p.Trails[1].Head })
	add(passport.CodeTrace, "trail-headed-by-a-sighting", plain, func(p *pp, _ *tr) {
		for i, e := range p.Evidence { // a frame before the last shows nothing but sightings
			if e.Shown != nil {
				p.Trails[0].Head = passport.Ref{Evidence: uint64(i), Record: e.Shown.Records[0].Index}
				return
			}
		}
	})
	add(passport.CodeTrace, "trail-headed-by-nothing", plain, func(p *pp, _ *tr) { p.Trails[0].Head.Evidence = 1000 })
	add(passport.CodeTrace, "trail-of-another-start", plain, func(p *pp, _ *tr) { p.Trails[0].Start = p.Trails[1].Start })
	add(passport.CodeTrace, "trail-start-is-noise", plain, func(p *pp, _ *tr) { p.Trails[0].Start = []byte{0} })
	add(passport.CodeTrace, "trail-of-no-leg", plain, func(p *pp, _ *tr) { p.Trails[0].Zone = "elsewhere" })
	add(passport.CodeTrace, "trail-of-another-device", plain, func(p *pp, _ *tr) { p.Trails[0].Device[0] ^= 1 })
	add(passport.CodeTrace, "trail-twice", plain, func(p *pp, _ *tr) { p.Trails = append(p.Trails, p.Trails[0]) })
	add(passport.CodeTrace, "plan-left-out", Options{Omit: omit(statement.KindPlan, 0)}, nil)
	add(passport.CodeTrace, "rotated-epochs-overlap", Options{Rotated: &Rotation{Overlap: true}}, nil)
	add(passport.CodeUntrusted, "rotated-identity-left-out", Options{Rotated: &Rotation{}, Omit: omit(statement.KindIdentity, 5)}, nil)
	add(passport.CodePlan, "plan-that-a-trace-began-under-left-out", Options{Replanned: true, Omit: omit(statement.KindPlan, 1)}, nil)

	add(passport.CodeBlocks, "block-altered", audit, func(p *pp, _ *tr) { r := p.Trails[0].Runs[0].Records[1]; r[5] ^= 1 })
	add(passport.CodeBlocks, "blocks-swapped", audit, func(p *pp, _ *tr) { r := p.Trails[0].Runs[0].Records; r[1], r[2] = r[2], r[1] })
	add(passport.CodeBlocks, "block-of-another-channel", audit, func(p *pp, _ *tr) { p.Trails[0].Runs[0].Records[1] = p.Trails[1].Runs[0].Records[1] })
	add(passport.CodeBlocks, "block-is-a-head", audit, func(p *pp, _ *tr) {
		e := p.Evidence[p.Trails[0].Head.Evidence].Shown.Records
		p.Trails[0].Runs[0].Records[1] = e[len(e)-1].Data
	})
	add(passport.CodeBlocks, "blocks-past-the-range", audit, func(p *pp, _ *tr) { p.Trails[0].Runs[0].First++ })
	add(passport.CodeBlocks, "blocks-overlap", audit, func(p *pp, _ *tr) { p.Trails[0].Runs = append(p.Trails[0].Runs, p.Trails[0].Runs[0]) })
	add(passport.CodeRange, "block-left-out-of-a-run", audit, func(p *pp, _ *tr) { r := &p.Trails[0].Runs[0]; r.Records = r.Records[:2] })
	return slices.Concat(out, evmRefused(), epochRefused(), cosignedRefused(), journeyRefused())
}
