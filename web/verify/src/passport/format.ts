// The passport and what a trust file says of chains: their form, before anything
// is verified. Each schema is the CDDL of docs/wire-format.md section 7.

import {
  anyText,
  between,
  bytes,
  bytesOf,
  checked,
  decode,
  hash,
  list,
  maxInt,
  nonEmpty,
  optional,
  struct,
  take,
  textOf,
  time,
  tuple,
  uint,
  uint53,
  type Of,
  type Read,
} from "../cbor.ts";
import { need, unsupported } from "../fail.ts";
import { label } from "../names.ts";
import { readNode } from "../trace.ts";
import { comet, evm } from "./kinds.ts";
import { readContract } from "#evm";
import { journey } from "#journey";

/** Bounds of a file in bytes: from anybody, and of an audit that somebody asked for. */
export const maxSize = 524288;
export const maxAudit = 16777216;

const kind = between(comet, evm);

/** The block that holds a checkpoint. */
export type Anchor = Of<typeof readAnchor>;
const readAnchor = tuple({ chain: label, kind, height: uint53, block: hash, time });

/** A ledger head, with the chain's evidence for its anchor. */
export type Checkpoint = Of<typeof readCheckpoint>;
const readCheckpoint = checked(
  struct({
    note: bytesOf(1, 65536),
    anchor: optional(readAnchor),
    evidence: optional(bytesOf(1, 32768)), // of the chain
  }),
  (c) => {
    need(!c.evidence || c.anchor, "evidence for no anchor");
  },
);

/** What is shown of one ledger: all evidence and older heads are of its newest. */
export type Ledger = Of<typeof readLedger>;
const readLedger = struct({
  newest: readCheckpoint,
  signature: tuple({ header: bytes, signature: bytes }),
  path: list(hash),
  older: nonEmpty(list(readCheckpoint, 1, 128)),
});

/** A statement, its place in a ledger, and records shown from it. */
export type Evidence = Of<typeof readEvidence>;
const readEvidence = struct({
  statement: bytes,
  place: tuple({ ledger: uint, index: uint }),
  shown: optional(tuple({ records: list(tuple({ index: uint, data: bytes }), 1), path: list(hash) })),
});

/** A disclosed record: which statement, which record. */
export type Ref = Of<typeof readRef>;
const readRef = tuple({ evidence: uint, record: uint });

/** One channel's trace over the time the item was in a zone. */
export type Trail = Of<typeof readTrail>;
const trail = {
  zone: anyText,
  device: hash,
  channel: anyText,
  head: readRef,
  start: bytes,
  range: tuple({ a: uint53, b: uint53, nodes: list(readNode, 1, 2048) }),
  older: nonEmpty(list(readRef, 1, 128)),
  runs: nonEmpty(list(tuple({ first: uint53, records: list(bytesOf(22, 262144), 1, 4096) }), 1)),
};
type Moments = { moments?: { evidence: number; moment: number }[] };
const readTrail: Read<Of<ReturnType<typeof struct<typeof trail>>> & Moments> = struct(
  journey ? Object.assign(trail, { moments: journey.moments }) : trail,
);

/** The decoded file; nothing in it is verified. */
export type Passport = Of<typeof readPassport>;
const passport = {
  version: journey ? journey.version : ((() => take(1) || unsupported("journeys")) as Read<unknown> as Read<number>),
  item: tuple({ gtin: textOf(14, 14), serial: textOf(1, 20) }),
  ledgers: list(readLedger, 1, 8),
  evidence: list(readEvidence, 1, 4096),
  trails: list(readTrail, 0, 256),
};
type Journey = { members?: { evidence: number; list: number; index: number; leaf: Uint8Array; path: Uint8Array[] }[]; inputs?: Uint8Array[] };
const readPassport: Read<Of<ReturnType<typeof struct<typeof passport>>> & Journey> = journey
  ? checked(struct(Object.assign(passport, { members: journey.members, inputs: journey.inputs })), (p) => {
      need(p.version > 1 || !(p.members || p.inputs || p.trails.some((t) => t.moments)), "passport of version 1 with a journey");
    })
  : struct(passport);

/** Decodes a passport of at most max bytes. */
export function parsePassport(data: Uint8Array, max: number): Passport {
  return decode(own(data), readPassport, max);
}

// A Node Buffer or an array of another realm is none for the libraries, and the
// caller may write to his.
export function own(data: Uint8Array): Uint8Array {
  return new Uint8Array(data);
}

/** A chain that anchors count on. */
export type Chain = Of<typeof readChain>;
export const readChain = checked(
  struct({
    id: label,
    kind,
    validators: uint53, // how many vote, 0: unknown
    keys: list(tuple({ key: hash, power: between(1, maxInt) }), 0, 256),
    contract: optional(readContract),
  }),
  ({ kind, validators, keys, contract }) => {
    need(keys.length === 0 || (kind === comet && keys.length === validators), "keys and validators of a chain disagree");
    need(!contract || kind === evm, "contract on a chain of another kind");
  },
);
