// Package comet is the chain of checkpoints on CometBFT: a validator that runs
// inside the process and a deterministic state machine that keeps, per ledger
// origin, which checkpoint of that ledger came first.
//
// It is the only package that imports CometBFT, and it promises this:
//
//   - A checkpoint is taken only if its origin is registered, its submitter is
//     allowed, the ledger's own signature on it verifies, and it does not
//     contradict one taken before: a smaller size is refused, an equal size
//     needs the equal root and is then refused as "already" (nothing is stored
//     twice; [Node.Submit] counts it as success).
//   - When [Node.Submit] returns nil the anchor is in a committed block, and
//     block, state and the block's time survive loss of power. A time-out says
//     nothing: ask [Node.Head] or [Node.Anchors], or submit the same again.
//   - A refused transaction never gets into a block that honest validators vote
//     for (ProcessProposal runs the same rules). So a transaction under a commit
//     of two thirds was taken, and inclusion is proof enough.
//   - With one validator all this is the operator's word ("1 of 1").
//
// # Transactions
//
// Deterministic CBOR (RFC 8949 section 4.2.1), at most 16 KiB:
//
//	tx       = [version: 1, kind: 1..8, body: bstr, key: bstr .size 32, signature: bstr .size 64]
//	anchor   : 1, body = the signed checkpoint, a C2SP signed note
//	register : 2, body = CBOR [revision: uint, origin: tstr, log key: tstr, [* submitter: bstr .size 32]]
//	anchors  : 3, body = CBOR [1*64 signed checkpoint: bstr], of different origins, all or none
//	rotate   : 4, body = CBOR [revision, origin, log key, next log key, [* submitter]]
//	admin    : 5, body = CBOR [revision: uint, key: bstr .size 32]
//	propose  : 6, body = CBOR [until: int, nonce: uint, [change: 1 / 2, key, power: uint, name: tstr]]
//	vote     : 7, body = SHA-256 of the body of a proposal
//	upgrade  : 8, body = h'02'
//
// The signature is Ed25519 by key over
//
//	SHA-256(CBOR ["trailmark chain tx v1", chain id: tstr, version, kind, body, key])
//
// so it is worth nothing on another chain. Registrations are signed by the
// administrator: the genesis names the first, each names the next (admin), and
// the validators may name another (propose). A revision counts from 1 without
// holes, which keeps an old transaction from being played again. A registration
// keeps one of the log keys that counted before, so that a key is replaced by
// naming both and then the new one alone; submitters are sorted, at most 16, and
// an empty list closes the origin. A log key is a signed-note verifier key
// (Ed25519) whose name is the origin.
//
// # Validators
//
// A validator proposes a change and the others vote for it, each with the key
// that signs its blocks. It is carried out in the block in which over two thirds
// of the power that is there then are for it, until the time it names, 30 days
// at most, by the clock of the blocks. A proposal is kept until then, so that
// none is carried out twice. New validators vote two blocks later; that block
// begins an epoch. Its set stands in the header before it (NextValidatorsHash),
// which the old set signed: so whoever pins one set can follow to any later one.
//
// # State
//
// The app hash covers the whole state, and opens to the parts that proofs need:
//
//	app hash    = SHA-256(CBOR ["trailmark chain state v2", chain id, anchors: uint, history, origins, rest])
//	history     = RFC 6962 root over CBOR [origin, size, root, height, block hash, seconds, nanoseconds],
//	              one for every anchor in the order the chain took them
//	origins     = RFC 6962 root over the origins' hashes, in order of the SHA-256 of the origin line:
//	              SHA-256(CBOR [origin, log key, revision, submitters, count, size, root, fold, next log key])
//	fold'       = SHA-256(CBOR [fold, size, root, height]), 32 zero bytes at first
//	rest        = SHA-256 of the CBOR of who decides, and of the anchors that have no time yet
//
// An anchor's time is known in the block after its own, so it enters the history
// there, the block after that shows the hash, and the chain rests. Hence one
// commit dates every anchor that the chain ever took, with a path of some hashes
// for each. Chains of the first release (version 1) had an app hash without
// times: their one validator upgrades them at its next start by a transaction.
//
// State is kept in memory, about 200 bytes an anchor, and on disk in a journal
// that each Commit writes and fsyncs. The journal is derived from the blocks: a
// torn or damaged tail is cut off and the handshake executes those blocks again.
// A snapshot for a new member is a piece of the journal. After a kill CometBFT
// logs errors at the next start ("step regression", "invalid proposal signature",
// "WAL does not contain #ENDHEIGHT"): it found a vote or proposal that it had
// signed, does not sign another, and goes on with the next round.
//
// # Time
//
// A CometBFT header carries the time of the commit *before* it. On a chain that
// makes no empty blocks that may be hours before the block's contents existed,
// so header time is an upper bound for nothing. [Anchor.Time] is therefore the
// weighted median of the timestamps in the commit *of* the anchor's block, which
// is also the header time of the next one; [Node.Submit] waits for that. A
// verifier must take it from the commit in [Evidence], never from the header.
package comet
