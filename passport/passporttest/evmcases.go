package passporttest

import (
	"bytes"
	"slices"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/passport"
)

// evmStanding are cases of anchors on an EVM chain that stand.
func evmStanding() []Case {
	edit := func(name string, o Options, f func(p *passport.Passport, trust *passport.Trust)) Case {
		return Case{Name: name, Options: o, Edit: func(_ testing.TB, p *passport.Passport, trust *passport.Trust) { f(p, trust) }}
	}
	return []Case{
		{Name: "evm-head", Options: Options{EVM: &EVM{}}},
		{Name: "evm-event", Options: Options{EVM: &EVM{Event: true}, Brief: true}},
		{Name: "evm-heads-of-older-checkpoints", Options: Options{EVM: &EVM{}, Anchored: true, Older: true, KeyStatus: true}},
		edit("evm-among-other-blocks", Options{EVM: &EVM{}, Beyond: true}, func(_ *passport.Passport, trust *passport.Trust) {
			c := trust.Chains[0].Contract
			b := c.Blocks[0]
			c.Blocks = []passport.Block{{Number: b.Number - 1, Hash: [32]byte{1}}, b, {Number: b.Number + 1, Hash: [32]byte{2}}}
		}),
		edit("evm-contract-not-pinned", Options{EVM: &EVM{}}, func(_ *passport.Passport, trust *passport.Trust) { trust.Chains[0].Contract = nil }),
		edit("evm-block-not-pinned", Options{EVM: &EVM{}, Brief: true}, func(_ *passport.Passport, trust *passport.Trust) {
			trust.Chains[0].Contract.Blocks[0] = passport.Block{Number: 49, Hash: [32]byte{1}}
		}),
		edit("evm-without-evidence", Options{EVM: &EVM{Event: true}, Beyond: true}, func(p *passport.Passport, _ *passport.Trust) { p.Ledgers[0].Newest.Proof = nil }),
	}
}

// evmRefused are cases of anchors on an EVM chain that no verifier lets by.
func evmRefused() (out []Case) {
	head, event := Options{EVM: &EVM{}}, Options{EVM: &EVM{Event: true}}
	add := func(name string, o Options, f func(t testing.TB, newest *passport.Checkpoint, trust *passport.Trust)) {
		out = append(out, Case{Name: "evm-" + name, Options: o, Code: passport.CodeAnchor, Edit: func(t testing.TB, p *passport.Passport, trust *passport.Trust) {
			f(t, &p.Ledgers[0].Newest, trust)
		}})
	}
	anchor := func(name string, f func(newest *passport.Checkpoint, trust *passport.Trust)) {
		add(name, head, func(_ testing.TB, newest *passport.Checkpoint, trust *passport.Trust) { f(newest, trust) })
	}
	proof := func(name string, o Options, f func(e *evmProof)) {
		add(name, o, func(t testing.TB, newest *passport.Checkpoint, _ *passport.Trust) {
			var e evmProof
			if err := dcbor.Unmarshal(newest.Proof, &e); err != nil {
				t.Fatal(err)
			}
			f(&e)
			newest.Proof = dcbor.MustMarshal(e)
		})
	}
	holding := func(name string, event bool, f func(h *held)) {
		out = append(out, Case{Name: "evm-" + name, Options: Options{EVM: &EVM{Event: event, held: f}}, Code: passport.CodeAnchor})
	}
	forged := func(name string, event bool, f func(e *evmProof)) {
		out = append(out, Case{Name: "evm-" + name, Options: Options{EVM: &EVM{Event: event, forge: f}}, Code: passport.CodeAnchor})
	}

	anchor("time-altered", func(c *passport.Checkpoint, _ *passport.Trust) { c.Anchor.Time -= 1000 })
	anchor("time-within-the-second-altered", func(c *passport.Checkpoint, _ *passport.Trust) { c.Anchor.Time++ })
	anchor("height-altered", func(c *passport.Checkpoint, _ *passport.Trust) { c.Anchor.Height++ })
	anchor("block-altered", func(c *passport.Checkpoint, _ *passport.Trust) { c.Anchor.Block[31] ^= 1 })
	anchor("contract-another", func(_ *passport.Checkpoint, trust *passport.Trust) { trust.Chains[0].Contract.Address[19] ^= 1 })
	anchor("pinned-number-another", func(_ *passport.Checkpoint, trust *passport.Trust) { trust.Chains[0].Contract.Blocks[0].Number++ })
	anchor("pinned-hash-another", func(_ *passport.Checkpoint, trust *passport.Trust) { trust.Chains[0].Contract.Blocks[0].Hash[0] ^= 1 })
	anchor("evidence-truncated", func(c *passport.Checkpoint, _ *passport.Trust) { c.Proof = c.Proof[:len(c.Proof)-1] })
	anchor("evidence-is-noise", func(c *passport.Checkpoint, _ *passport.Trust) { c.Proof = []byte{0} })
	anchor("evidence-trailing-byte", func(c *passport.Checkpoint, _ *passport.Trust) { c.Proof = append(c.Proof, 0) })
	anchor("evidence-unknown-key", func(c *passport.Checkpoint, _ *passport.Trust) {
		c.Proof = append(append([]byte{c.Proof[0] + 1}, c.Proof[1:]...), 5, 0)
	})
	add("event-contract-another", event, func(_ testing.TB, _ *passport.Checkpoint, trust *passport.Trust) {
		trust.Chains[0].Contract.Address[0] ^= 1
	})
	out = append(out, Case{Name: "evm-evidence-of-another-checkpoint", Options: Options{EVM: &EVM{}, Anchored: true, Older: true}, Code: passport.CodeAnchor,
		Edit: func(_ testing.TB, p *passport.Passport, _ *passport.Trust) {
			p.Ledgers[0].Newest.Proof, p.Ledgers[0].Newest.Anchor = p.Ledgers[0].Older[0].Proof, p.Ledgers[0].Older[0].Anchor
		}})

	proof("evidence-version-2", head, func(e *evmProof) { e.Version = 2 })
	proof("evidence-of-nothing", head, func(e *evmProof) { e.Head = nil })
	proof("evidence-of-both-kinds", head, func(e *evmProof) { e.Event = &evmEvent{Receipt: e.Head.Account} })
	proof("evidence-without-nodes", head, func(e *evmProof) { e.Head.Account = nil })
	proof("evidence-of-65-nodes", head, func(e *evmProof) { e.Head.Size = slices.Repeat(e.Head.Size[len(e.Head.Size)-1:], 65) })
	proof("header-altered", head, func(e *evmProof) { e.Header[len(e.Header)-40] ^= 1 })
	proof("header-cut", head, func(e *evmProof) { e.Header = e.Header[:len(e.Header)-1] })
	proof("header-empty", head, func(e *evmProof) { e.Header = nil })
	proof("header-too-large", head, func(e *evmProof) { e.Header = append(e.Header, make([]byte, 8192)...) })
	proof("account-node-altered", head, func(e *evmProof) { flip(e.Head.Account[0]) })
	proof("account-node-dropped", head, func(e *evmProof) { e.Head.Account = e.Head.Account[1:] })
	proof("account-nodes-swapped", head, func(e *evmProof) { n := e.Head.Account; n[0], n[1] = n[1], n[0] })
	proof("root-node-altered", head, func(e *evmProof) { flip(e.Head.Root[len(e.Head.Root)-1]) })
	proof("root-node-left-out", head, func(e *evmProof) { e.Head.Root = e.Head.Root[:len(e.Head.Root)-1] })
	proof("root-node-too-many", head, func(e *evmProof) { e.Head.Root = append(e.Head.Root, e.Head.Root[0]) })
	proof("size-node-altered", head, func(e *evmProof) { flip(e.Head.Size[len(e.Head.Size)-1]) })
	proof("size-proven-by-the-root", head, func(e *evmProof) { e.Head.Size = e.Head.Root })
	proof("receipt-node-altered", event, func(e *evmProof) { flip(e.Event.Receipt[1]) })
	proof("transaction-another", event, func(e *evmProof) { e.Event.Transaction-- })
	proof("transaction-beyond", event, func(e *evmProof) { e.Event.Transaction = 1 << 32 })
	proof("log-another", event, func(e *evmProof) { e.Event.Log-- })
	proof("log-beyond", event, func(e *evmProof) { e.Event.Log = 3 })

	for _, of := range []struct {
		name  string
		event bool
	}{{"head", false}, {"event", true}} {
		holding(of.name+"-of-another-contract", of.event, func(h *held) { h.contract = []byte("somebody's contract.") })
		holding(of.name+"-of-another-origin", of.event, func(h *held) { h.origin = keccak([]byte("another ledger")) })
		holding(of.name+"-of-a-larger-size", of.event, func(h *held) { h.size = bytes.Clone(h.size); h.size[7]++ })
		holding(of.name+"-of-a-size-above-2-53", of.event, func(h *held) { h.size = bytes.Clone(h.size); h.size[0]++ })
		holding(of.name+"-of-another-root", of.event, func(h *held) { h.root = keccak(h.root) })
	}
	holding("event-of-another-name", true, func(h *held) { h.event = keccak([]byte("Anchored(bytes32,bytes32,uint64)")) })
	holding("event-of-three-topics", true, func(h *held) { h.more = rlpBytes(keccak(nil)) })
	holding("event-with-a-tail", true, func(h *held) { h.root = append(bytes.Clone(h.root), 0) })
	holding("event-of-a-reverted-transaction", true, func(h *held) { h.status = nil })
	holding("event-before-byzantium", true, func(h *held) { h.status = keccak(nil) })

	// What follows hashes well, up to a pinned block that no client would make.
	forged("header-of-14-fields", false, func(e *evmProof) { e.Header = rlpList(fields(e.Header)[:14]...) })
	forged("header-of-33-fields", false, func(e *evmProof) {
		e.Header = rlpList(append(fields(e.Header), slices.Repeat([][]byte{{0x80}}, 12)...)...)
	})
	forged("header-with-a-tail", false, func(e *evmProof) { e.Header = append(e.Header, 0x80) })
	forged("header-of-long-length", false, func(e *evmProof) { e.Header = slices.Concat([]byte{0xfa, 0}, e.Header[1:]) })
	forged("header-is-a-string", false, func(e *evmProof) { e.Header[0] -= 0x40 })
	header := func(name string, field int, front ...byte) { // written before the number that is there
		forged("header-with-a-"+name, false, func(e *evmProof) {
			f := fields(e.Header)
			f[field] = rlpBytes(append(front, content(f[field])...))
			e.Header = rlpList(f...)
		})
	}
	header("number-after-zero", 8, 0)
	header("number-above-2-53", 8, 0x20, 0, 0, 0, 0, 0)
	header("time-after-zero", 11, 0)
	header("time-above-2-53", 11, 0x20, 0, 0)
	header("time-of-nine-bytes", 11, 1, 0, 0, 0, 0)
	leaf := func(name string, event bool, f func(path, value []byte) []byte) { // of the size or the receipt
		forged(name, event, func(e *evmProof) {
			all := e.nodes()
			old := *all[len(all)-1]
			pair := fields(old)
			e.replace(old, f(content(pair[0]), content(pair[1])))
		})
	}
	leaf("slot-with-a-zero-in-front", false, func(path, value []byte) []byte {
		return rlpList(rlpBytes(path), rlpBytes(rlpBytes(append([]byte{0}, content(value)...))))
	})
	leaf("slot-of-33-bytes", false, func(path, value []byte) []byte {
		return rlpList(rlpBytes(path), rlpBytes(rlpBytes(append(bytes.Repeat([]byte{1}, 33-len(content(value))), content(value)...))))
	})
	leaf("slot-holds-a-list", false, func(path, value []byte) []byte { return rlpList(rlpBytes(path), rlpBytes(rlpList(value))) })
	leaf("slot-with-a-tail", false, func(path, value []byte) []byte {
		return rlpList(rlpBytes(path), rlpBytes(append(bytes.Clone(value), 0)))
	})
	leaf("leaf-of-three-items", false, func(path, value []byte) []byte {
		return rlpList(rlpBytes(path), rlpBytes(value), []byte{0x80})
	})
	leaf("leaf-of-no-value", false, func(path, _ []byte) []byte { return rlpList(rlpBytes(path), []byte{0x80}) })
	leaf("leaf-is-a-list", false, func(path, value []byte) []byte { return rlpList(rlpBytes(path), rlpList(value)) })
	leaf("leaf-with-flag-4", false, func(path, value []byte) []byte {
		path = bytes.Clone(path)
		path[0] += 0x40
		return rlpList(rlpBytes(path), rlpBytes(value))
	})
	leaf("leaf-as-an-extension", false, func(path, value []byte) []byte {
		path = bytes.Clone(path)
		path[0] -= 0x20
		return rlpList(rlpBytes(path), rlpBytes(value))
	})
	leaf("leaf-of-long-length", false, func(path, value []byte) []byte {
		body := slices.Concat(rlpBytes(path), rlpBytes(value))
		return slices.Concat([]byte{0xf8, byte(len(body))}, body) // more than a node of this length needs
	})
	leaf("leaf-with-a-tail", false, func(path, value []byte) []byte {
		return append(rlpList(rlpBytes(path), rlpBytes(value)), 0x80)
	})
	leaf("receipt-of-five-fields", true, func(path, value []byte) []byte {
		f := append(fields(value[1:]), []byte{0x80})
		return rlpList(rlpBytes(path), rlpBytes(append([]byte{2}, rlpList(f...)...)))
	})
	leaf("receipt-with-a-tail", true, func(path, value []byte) []byte {
		return rlpList(rlpBytes(path), rlpBytes(append(bytes.Clone(value), 0x80)))
	})
	forged("account-of-five-fields", false, func(e *evmProof) {
		old := e.Head.Account[len(e.Head.Account)-1]
		f := fields(old)
		account := append(fields(content(f[1])), []byte{0x80})
		e.replace(old, rlpList(f[0], rlpBytes(rlpList(account...))))
	})
	forged("branch-of-16-items", false, func(e *evmProof) {
		old := e.Head.Account[0]
		e.replace(old, rlpList(fields(old)[:16]...))
	})
	forged("branch-with-a-short-child", false, func(e *evmProof) {
		old := e.Head.Account[0]
		f := fields(old)
		f[15] = rlpBytes(content(f[15])[1:])
		e.replace(old, rlpList(f...))
	})
	return out
}

// flip alters a node's last byte.
func flip(node []byte) { node[len(node)-1] ^= 1 }

// fields are the items of a well-formed RLP list, each with its head.
func fields(list []byte) (out [][]byte) {
	for rest := content(list); len(rest) > 0; {
		n := len(rest) - len(afterItem(rest))
		out = append(out, bytes.Clone(rest[:n]))
		rest = rest[n:]
	}
	return out
}

// content is an RLP item without its head.
func content(item []byte) []byte {
	head, size := rlpSpan(item)
	return bytes.Clone(item[head : head+size])
}

func afterItem(b []byte) []byte {
	head, size := rlpSpan(b)
	return b[head+size:]
}

// rlpSpan is how long the head and the content of a well-formed item are.
func rlpSpan(b []byte) (head, size int) {
	c := int(b[0])
	if c < 0x80 {
		return 0, 1
	}
	size = c & 0x3f
	if size < 56 {
		return 1, size
	}
	head, size = 1+size-55, 0
	for _, d := range b[1:head] {
		size = size<<8 | int(d)
	}
	return head, size
}
