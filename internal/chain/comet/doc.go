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
//	tx       = [version: 1, kind: 1 / 2, body: bstr, key: bstr .size 32, signature: bstr .size 64]
//	anchor   : kind 1, body = the signed checkpoint, a C2SP signed note
//	register : kind 2, body = CBOR [revision: uint, origin: tstr, log key: tstr, [* submitter: bstr .size 32]]
//
// The signature is Ed25519 by key over
//
//	SHA-256(CBOR ["trailmark chain tx v1", chain id: tstr, version, kind, body, key])
//
// so it is worth nothing on another chain. A register transaction is signed by
// the administrator that the genesis names. Its revision counts from 1 per
// origin without holes, which keeps an old list of submitters from being played
// again; the log key never changes (a new key is a new origin); submitters are
// sorted, at most 16, and an empty list closes the origin. The log key is a
// signed-note verifier key (Ed25519) whose name is the origin.
//
// # State
//
// The app hash covers the whole state:
//
//	app hash    = SHA-256(CBOR ["trailmark chain state v1", chain id, admin] ‖ origin leaf ...)
//	origin leaf = SHA-256(CBOR [origin, log key, revision, submitters, count, size, root, fold])
//	fold'       = SHA-256(CBOR [fold, size, root, height]), 32 zero bytes at first
//
// with the leaves in order of the SHA-256 of the origin line. The history is
// kept in memory at 48 bytes an anchor (25 MB for one origin in a year of one a
// minute) and on disk in a journal that each Commit writes and fsyncs. The
// journal is derived from the blocks: a torn or damaged tail is cut off and the
// handshake executes those blocks again. After a kill CometBFT logs errors at
// the next start ("step regression", "invalid proposal signature", "WAL does not
// contain #ENDHEIGHT"): it found a vote or proposal that it had signed, does not
// sign another, and goes on with the next round.
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
