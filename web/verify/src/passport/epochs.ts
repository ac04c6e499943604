// Anchors on a CometBFT chain whose validators have changed since they were pinned,
// dated by a history that a later block commits to (evidence of version 2). The
// format is that of docs/wire-format.md.

import { base64, concat, equal, text, utf8 } from "../bytes.ts";
import { between, bytesHead, bytesOf, decode, encodeInt, hash, list, maxInt, tuple, uint32, uint53, type Of } from "../cbor.ts";
import { edVerify } from "../ed25519.ts";
import { need } from "../fail.ts";
import { sha256 } from "../hash.ts";
import { rootFromPath, treeRoot } from "../tree.ts";
import { field, number, readVote, signBytes, validators, verifyComet as verifyFirst, type Validator } from "./comet.ts";
import type { Anchor, Chain } from "./format.ts";
import { comet } from "./kinds.ts";

type Commit = Of<typeof readCommit>;
const readCommit = tuple({
  height: between(1, maxInt),
  round: between(0, 2147483647),
  header: list(bytesOf(0, 128), 14, 14),
  parts: uint32,
  partHash: hash,
  votes: list(readVote, 1, 64),
});

const readHistory = tuple({
  version: between(2, 2),
  steps: list(tuple({ commit: readCommit, next: list(tuple({ key: hash, power: between(1, maxInt) }), 1, 64) }), 0, 16),
  commit: readCommit,
  height: between(1, maxInt),
  block: hash,
  seconds: between(0, 253402300799),
  nanos: between(0, 999999999),
  size: uint53,
  origins: hash,
  rest: hash,
  index: uint53,
  path: list(hash, 0, 40),
});

/** The anchor that evidence of either version proves for a checkpoint's note. */
export function verifyComet(chain: Chain, note: Uint8Array, evidence: Uint8Array): Anchor {
  if (evidence[1] !== 2) return verifyFirst(chain, note, evidence);
  const id = utf8(chain.id);
  need(id.length > 0 && id.length <= 50 && note.length <= 16384, "chain id or note out of bounds");
  let set = validators(chain.keys);
  const h = decode(evidence, readHistory, 32768);
  for (const { commit, next } of h.steps) {
    if (!equal(commit.header[7], field(1, setHash(set)))) continue; // from before the pinned set
    const to = validators(next);
    signedBlock(commit, id, set, 8, setHash(to));
    set = to;
  }
  signedBlock(h.commit, id, set, 10, appHash(h, id, note));
  return { chain: chain.id, kind: comet, height: h.height, block: h.block, time: h.seconds * 1000 + Math.floor(h.nanos / 1000000) };
}

/** Throws unless over two thirds of the set signed a block of this chain and height with this hash in a field of its header. */
function signedBlock(e: Commit, id: Uint8Array, set: Validator[], at: number, value: Uint8Array): void {
  const want: [number, Uint8Array][] = [
    [1, field(1, id)],
    [2, number(1, e.height)],
    [7, field(1, setHash(set))],
    [at, field(1, value)],
  ];
  for (const [i, b] of want) need(equal(e.header[i], b), "block is not of this chain, height or set, or of another state");
  const block = treeRoot(e.header);
  let signed = 0n;
  let all = 0n;
  for (const v of set) all += v.power;
  e.votes.forEach((v, i) => {
    need(v.validator < set.length && (i === 0 || v.validator > e.votes[i - 1].validator), "votes are not of the set, rising");
    const { point, key, power } = set[v.validator];
    need(edVerify(point, key, signBytes(e, id, block, v), v.signature), "vote carries a wrong signature");
    if (v.flag === 2) signed += power;
  });
  need(signed * 3n > all * 2n, "block is not signed by over two thirds");
}

/** The hash of a set as headers name it. */
const setHash = (set: Validator[]): Uint8Array => treeRoot(set.map((v) => concat(field(1, field(1, v.key)), number(2, Number(v.power)))));

/** The hash of the state that holds the note's anchor where the evidence says. */
function appHash(h: Of<typeof readHistory>, id: Uint8Array, note: Uint8Array): Uint8Array {
  const [origin, size, root] = (text(note) as string).split("\n"); // a note whose form and signature hold
  const leaf = concat(
    [0x87],
    textOf(utf8(origin)),
    encodeInt(Number(size)),
    bytesHead(32),
    base64(root) as Uint8Array,
    encodeInt(h.height),
    bytesHead(32),
    h.block,
    encodeInt(h.seconds),
    encodeInt(h.nanos),
  );
  const history = rootFromPath(leaf, h.index, h.size, h.path);
  const parts = [history, h.origins, h.rest].map((b) => concat(bytesHead(32), b));
  return sha256(concat([0x86], textOf(utf8("trailmark chain state v2")), textOf(id), encodeInt(h.size), ...parts));
}

/** Text as CBOR: the head of as many bytes, of major type 3. */
function textOf(b: Uint8Array): Uint8Array {
  const [first, ...rest] = bytesHead(b.length);
  return concat([first + 0x20, ...rest], b);
}
