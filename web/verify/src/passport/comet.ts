// Whether a CometBFT chain holds the anchor of a checkpoint, and since when,
// from evidence that needs no node. The format and the promise are those of the
// package comment of passport/internal/cometlight: over two thirds of the pinned
// voting power signed a block that holds exactly this note.

import { compare, concat, equal, hex, utf8 } from "../bytes.ts";
import { between, big, bytesHead, bytesOf, decode, hash, list, maxInt, sized, tuple, uint, uint32, type Of } from "../cbor.ts";
import { edPublicKey, edVerify, type EdPoint } from "../ed25519.ts";
import { fail, need } from "../fail.ts";
import { sha256 } from "../hash.ts";
import { rootFromPath, treeRoot } from "../tree.ts";
import type { Anchor, Chain } from "./format.ts";
import { comet } from "./kinds.ts";
import { version } from "#version";

const maxBytes = 16384; // of evidence, and of a note
const forBlock = 2;

export const readVote = tuple({
  validator: uint,
  flag: between(forBlock, 3), // 3: for nil
  seconds: between(0, 253402300799),
  nanos: between(0, 999999999),
  signature: sized(64),
});

// Heights over 2^53 are no anchor's; index and total are nobody's word, only the
// shape of a path, and may be anything below 2^63.
type Proof = Of<typeof readProof>;
const readProof = tuple({
  version,
  height: between(1, maxInt),
  round: between(0, 2147483647),
  header: list(bytesOf(0, 128), 14, 14),
  parts: uint32,
  partHash: hash,
  votes: list(readVote, 1, 64),
  submitter: hash,
  signature: sized(64),
  index: big,
  total: big,
  aunts: list(hash, 0, 32),
});

export interface Validator {
  key: Uint8Array;
  point: EdPoint;
  power: bigint;
  address: Uint8Array;
}

/** The anchor that the evidence proves for a checkpoint's note; throws when it proves none. */
export function verifyComet(chain: Chain, note: Uint8Array, evidence: Uint8Array): Anchor {
  const id = utf8(chain.id);
  need(id.length > 0 && id.length <= 50 && note.length <= maxBytes, "chain id or note out of bounds");
  const set = validators(chain.keys);
  const e = decode(evidence, readProof, maxBytes);
  const block = blockHash(e, id, set, note);
  let over = 0n; // three times the power that signed, less twice all of it
  let before = -1;
  for (const v of set) over -= v.power * 2n;
  for (const v of e.votes) {
    const by = set[v.validator];
    need(by && v.validator > before, "votes are not of the pinned set, rising");
    before = v.validator;
    need(edVerify(by.point, by.key, signBytes(e, id, block, v), v.signature), "vote carries a wrong signature");
    if (v.flag === forBlock) over += by.power * 3n;
  }
  need(over > 0n, "block is not signed by over two thirds");
  return { chain: chain.id, kind: comet, height: e.height, block, time: medianTime(e, set) };
}

/** A set, of which the caller knows that it is not empty, in CometBFT's order: falling power, then rising address. */
export function validators(keys: Chain["keys"]): Validator[] {
  need(
    keys.length <= 64 && new Set(keys.map((k) => hex(k.key))).size === keys.length,
    "validators out of bounds or named twice",
  );
  return keys
    .map(({ key, power }) => ({ key, power: BigInt(power), point: edPublicKey(key), address: sha256(key).subarray(0, 20) }))
    .sort((a, b) => Number(b.power - a.power) || compare(a.address, b.address));
}

/** The hash of the block, if it is of this chain, height and set and holds the anchor of note. */
function blockHash(e: Proof, id: Uint8Array, set: Validator[], note: Uint8Array): Uint8Array {
  const tx = concat([0x85, 1, 1], bytesHead(note.length), note, bytesHead(32), e.submitter, bytesHead(64), e.signature);
  const data = rootFromPath(sha256(tx), e.index, e.total, e.aunts);
  const simple = set.map((v) => concat(field(1, field(1, v.key)), number(2, Number(v.power))));
  const { header } = e;
  need(
    equal(header[1], field(1, id)) &&
      equal(header[2], number(1, e.height)) &&
      equal(header[6], field(1, data)) &&
      equal(header[7], field(1, treeRoot(simple))),
    "block is not of this chain, height or set, or lacks the note",
  );
  return treeRoot(header);
}

/** The CanonicalVote of a precommit with its length in front: what a validator signs. */
export function signBytes(e: Pick<Proof, "height" | "round" | "parts" | "partHash">, id: Uint8Array, block: Uint8Array, v: Proof["votes"][0]): Uint8Array {
  const b = concat(
    [8, 2], // type: SIGNED_MSG_TYPE_PRECOMMIT
    fixed(2, e.height),
    fixed(3, e.round),
    v.flag === forBlock ? field(4, concat(field(1, block), field(2, concat(number(1, e.parts), field(2, e.partHash))))) : [],
    field(5, concat(number(1, v.seconds), number(2, v.nanos))),
    field(6, id),
  );
  return concat(varint(b.length), b);
}

/** CometBFT's median of the votes' times, weighted by power, in ms. */
function medianTime(e: Proof, set: Validator[]): number {
  const votes = e.votes.slice().sort((a, b) => a.seconds - b.seconds || a.nanos - b.nanos);
  let left = 0n;
  for (const v of votes) left += set[v.validator].power;
  left /= 2n;
  for (const v of votes) {
    left -= set[v.validator].power;
    if (left <= 0n) return v.seconds * 1000 + Math.floor(v.nanos / 1000000);
  }
  fail("no votes");
}

// The forms of protobuf fields that CometBFT hashes and signs; zeros are left out.

function varint(n: number): number[] {
  return n > 127 ? [(n % 128) + 128, ...varint(Math.floor(n / 128))] : [n];
}

export function number(key: number, n: number): Uint8Array {
  return concat(n === 0 ? [] : [key << 3, ...varint(n)]);
}

function fixed(key: number, n: number): number[] {
  return n === 0 ? [] : [(key << 3) | 1, ...[0, 1, 2, 3, 4, 5, 6, 7].map((i) => Math.floor(n / 256 ** i) % 256)];
}

export function field(key: number, b: Uint8Array): Uint8Array {
  return concat([(key << 3) | 2], varint(b.length), b);
}
