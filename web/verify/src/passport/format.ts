// The passport and the trust file: their form, before anything is verified.
// Each schema is the CDDL of docs/wire-format.md section 7.

import {
  anyText,
  between,
  bytes,
  bytesOf,
  decode,
  hash,
  list,
  nonEmpty,
  one,
  optional,
  sized,
  struct,
  textOf,
  time,
  tuple,
  uint,
  uint53,
  type Of,
  type Read,
} from "../cbor.ts";
import { need } from "../fail.ts";
import { readKey } from "../key.ts";
import { label } from "../payload.ts";
import { readNode } from "../trace.ts";

/** Bounds of a file in bytes: from anybody, and of an audit that somebody asked for. */
export const maxSize = 524288;
export const maxAudit = 16777216;

/** Kinds of chains. */
export const comet = 1;
export const evm = 2;
const kind = between(comet, evm);

/** The block that holds a checkpoint. */
export type Anchor = Of<typeof readAnchor>;
const readAnchor = tuple({ chain: label, kind, height: uint53, block: hash, time });

/** A ledger head, with the chain's evidence for its anchor. */
export type Checkpoint = Of<typeof checkpointFields>;
const checkpointFields = struct({
  note: [1, bytesOf(1, 65536)],
  anchor: [2, readAnchor, optional],
  proof: [3, bytesOf(1, 32768), optional],
});
const readCheckpoint: Read<Checkpoint> = (r) => {
  const c = checkpointFields(r);
  need(c.proof === undefined || c.anchor !== undefined, "evidence for no anchor");
  return c;
};

/** What is shown of one ledger: all evidence and older heads are of its newest. */
export type Ledger = Of<typeof readLedger>;
const readLedger = struct({
  newest: [1, readCheckpoint],
  signature: [2, tuple({ header: bytes, signature: bytes })],
  proof: [3, list(hash)],
  older: [4, list(readCheckpoint, 1, 128), nonEmpty],
});

/** A statement, its place in a ledger, and records shown from it. */
export type Evidence = Of<typeof readEvidence>;
const readEvidence = struct({
  statement: [1, bytes],
  place: [2, tuple({ ledger: uint, index: uint })],
  shown: [3, tuple({ records: list(tuple({ index: uint, data: bytes }), 1), proof: list(hash) }), optional],
});

/** A disclosed record: which statement, which record. */
export type Ref = Of<typeof readRef>;
const readRef = tuple({ evidence: uint, record: uint });

/** One channel's trace over the time the item was in a zone. */
export type Trail = Of<typeof readTrail>;
const readTrail = struct({
  zone: [1, anyText],
  device: [2, hash],
  channel: [3, anyText],
  head: [4, readRef],
  start: [5, bytes],
  range: [6, tuple({ a: uint53, b: uint53, nodes: list(readNode, 1, 2048) })],
  older: [7, list(readRef, 1, 128), nonEmpty],
  runs: [8, list(tuple({ first: uint53, records: list(bytesOf(22, 262144), 1, 4096) }), 1), nonEmpty],
});

/** The decoded file; nothing in it is verified. */
export type Passport = Of<typeof readPassport>;
const readPassport = struct({
  version: [1, one],
  item: [2, tuple({ gtin: textOf(14, 14), serial: textOf(1, 20) })],
  ledgers: [3, list(readLedger, 1, 8)],
  evidence: [4, list(readEvidence, 1, 4096)],
  trails: [5, list(readTrail, 0, 256)],
});

/** Decodes a passport of at most max bytes. */
export function parsePassport(data: Uint8Array, max: number): Passport {
  return decode(own(data), readPassport, max);
}

// A Node Buffer or an array of another realm is none for the libraries, and the
// caller may write to his.
function own(data: Uint8Array): Uint8Array {
  return new Uint8Array(data);
}

/** A chain that anchors count on. */
export type Chain = Of<typeof chainFields>;
const chainFields = struct({
  id: [1, label],
  kind: [2, kind],
  validators: [3, uint53], // how many vote, 0: unknown
  keys: [4, list(tuple({ key: hash, power: between(1, Number.MAX_SAFE_INTEGER) }), 0, 256)],
  contract: [5, tuple({ address: sized(20), blocks: list(tuple({ number: uint53, hash }), 1, 4096) }), optional],
});
const readChain: Read<Chain> = (r) => {
  const c = chainFields(r);
  need(c.keys.length === 0 || (c.kind === comet && c.keys.length === c.validators), "keys and validators of a chain disagree");
  if (c.contract) {
    const { blocks } = c.contract;
    need(c.kind === evm && blocks.every((b, i) => i === 0 || b.number > blocks[i - 1].number), "contract's blocks are out of order");
  }
  return c;
};

/** What a verifier pins; it comes from elsewhere than the passport. */
export type Trust = Of<typeof trustFields>;
const trustFields = struct({
  version: [1, between(1, 2)],
  authorities: [2, list(readKey, 1, 16)],
  logs: [3, list(tuple({ origin: anyText, key: readKey }), 1, 64)],
  audience: [4, anyText],
  chains: [5, list(readChain, 0, 16)],
});

const readTrust: Read<Trust> = (r) => {
  const t = trustFields(r);
  need((t.version === 2) === t.chains.some((c) => c.contract !== undefined), "trust file of another version than its chains");
  return t;
};

/** Decodes a trust file. */
export function parseTrust(data: Uint8Array): Trust {
  return decode(own(data), readTrust);
}
