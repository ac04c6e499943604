package passporttest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"

	"github.com/transparency-dev/formats/log"

	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
)

// epochs is the four validators' chain with the two sets that it had before: one
// validator, whom the trust file pins, then one and another.
type epochs struct {
	sets []*chain
	// What goes wrong.
	header  bool // the last header is altered after it was signed
	half    bool // the last commit is of two of four
	swapped bool // the second step shows another set than its header names
	skipped bool // the second step is left out
	time    bool // the anchor is dated a second earlier than the history has it
	older   bool // steps from before the pinned set come first
	none    bool // no steps at all: the present set is pinned
}

func newEpochs() *epochs {
	e := &epochs{sets: []*chain{{votes: 1}, {votes: 1}, {votes: 2}, newChain(4)}}
	for i, c := range e.sets[:3] {
		for k := range max(i, 1) {
			seed := byte(120 + i)
			if k > 0 {
				seed = 150
			}
			c.keys = append(c.keys, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
		}
		c.sort()
	}
	return e
}

// pin makes the trust file of the time of the second set, or of the last one.
func (e *epochs) pin(trust *passport.Trust) {
	set := e.sets[1]
	if e.none {
		set = e.sets[3]
	}
	trust.Chains[0].Keys = set.pinned().Keys
	trust.Chains[0].Validators = uint64(len(set.keys))
}

// evidence is comet-evidence-2 as docs/wire-format.md says, with its own code.
func (e *epochs) evidence(t testing.TB, note []byte, a *passport.Anchor) []byte {
	t.Helper()
	var c log.Checkpoint
	if _, err := c.Unmarshal(note); err != nil {
		t.Fatal(err)
	}
	leaf := dcbor.AppendBytes(dcbor.AppendInt(dcbor.AppendText(dcbor.AppendArray(nil, 7), c.Origin), int64(c.Size)), c.Hash)
	leaf = dcbor.AppendBytes(dcbor.AppendInt(leaf, int64(a.Height)), a.Block[:])
	seconds, nanos := a.Time/1000, a.Time%1000*1_000_000
	leaf = dcbor.AppendInt(dcbor.AppendInt(leaf, seconds), nanos)
	if e.time {
		seconds--
		a.Time -= 1000
	}
	// The third anchor of five.
	path := []statement.Hash{{31}, {32}, {33}}
	node := func(l, r statement.Hash) statement.Hash {
		return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
	}
	root := node(node(path[1], node(statement.LeafHash(leaf), path[0])), path[2])
	origins, rest := statement.Hash{34}, statement.Hash{35}
	state := dcbor.AppendInt(dcbor.AppendText(dcbor.AppendText(dcbor.AppendArray(nil, 6), "trailmark chain state v2"), Chain), 5)
	state = dcbor.AppendBytes(dcbor.AppendBytes(dcbor.AppendBytes(state, root[:]), origins[:]), rest[:])
	appHash := sha256.Sum256(state)

	out := dcbor.AppendInt(dcbor.AppendArray(nil, 12), 2)
	var steps []int
	switch {
	case e.older:
		steps = []int{0, 1, 2}
	case e.skipped:
		steps = []int{1}
	case !e.none:
		steps = []int{1, 2}
	}
	out = dcbor.AppendArray(out, len(steps))
	for _, i := range steps {
		from, to := e.sets[i], e.sets[i+1]
		header := from.header(uint64(20 + i))
		header[8] = message(1, to.set())
		out = dcbor.AppendArray(dcbor.AppendArray(out, 2), 6)
		out = append(out, from.commit(header, uint64(20+i), 1_700_000_000_000)...)
		out = dcbor.AppendArray(out, len(to.keys))
		for k, key := range to.keys {
			shown := key[32:]
			if e.swapped && i == 2 && k == 3 {
				shown = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{99}, ed25519.SeedSize))[32:]
			}
			out = dcbor.AppendInt(dcbor.AppendBytes(dcbor.AppendArray(out, 2), shown), 1)
		}
	}
	last := *e.sets[3]
	if e.half {
		last.votes = 2
	}
	height := a.Height + 30
	header := last.header(height)
	header[10] = message(1, appHash[:])
	commit := last.commit(header, height, a.Time+60_000)
	if e.header {
		at := bytes.Index(commit, header[12])
		commit[at+5] ^= 1
	}
	out = append(dcbor.AppendArray(out, 6), commit...)
	out = dcbor.AppendBytes(dcbor.AppendInt(out, int64(a.Height)), a.Block[:])
	out = dcbor.AppendInt(dcbor.AppendInt(out, seconds), nanos)
	out = dcbor.AppendInt(out, 5)
	out = dcbor.AppendBytes(dcbor.AppendBytes(out, origins[:]), rest[:])
	out = dcbor.AppendArray(dcbor.AppendInt(out, 2), len(path))
	for _, h := range path {
		out = dcbor.AppendBytes(out, h[:])
	}
	return out
}

// epochCase gives every anchor of a passport evidence by epochs.
func epochCase(name string, o Options, code passport.Code, spoil func(*epochs)) Case {
	o.Anchored, o.Older = true, true
	return Case{Name: "epochs" + name, Options: o, Code: code,
		Edit: func(t testing.TB, p *passport.Passport, trust *passport.Trust) {
			e := newEpochs()
			spoil(e)
			e.pin(trust)
			for i := range p.Ledgers {
				l := &p.Ledgers[i]
				for k := range l.Older {
					if o := &l.Older[k]; o.Proof != nil {
						o.Proof = e.evidence(t, o.Note, o.Anchor)
					}
				}
				if l.Newest.Proof != nil {
					l.Newest.Proof = e.evidence(t, l.Newest.Note, l.Newest.Anchor)
				}
			}
		}}
}

// epochStanding are cases of validators that changed since they were pinned.
func epochStanding() []Case {
	return []Case{
		epochCase("", Options{}, "", func(*epochs) {}),
		epochCase("-from-before-the-pin", Options{Beyond: true}, "", func(e *epochs) { e.older = true }),
		epochCase("-none", Options{KeyStatus: true, Beyond: true}, "", func(e *epochs) { e.none = true }),
	}
}

// epochRefused are cases of it that no verifier lets by.
func epochRefused() []Case {
	return []Case{
		epochCase("-header-altered", Options{}, passport.CodeAnchor, func(e *epochs) { e.header = true }),
		epochCase("-two-of-four", Options{}, passport.CodeAnchor, func(e *epochs) { e.half = true }),
		epochCase("-set-swapped", Options{}, passport.CodeAnchor, func(e *epochs) { e.swapped = true }),
		epochCase("-step-left-out", Options{}, passport.CodeAnchor, func(e *epochs) { e.skipped = true }),
		epochCase("-time-altered", Options{}, passport.CodeAnchor, func(e *epochs) { e.time = true }),
	}
}
