// Whether the anchoring contract of an EVM chain holds a checkpoint, and since
// when at the latest, from evidence that needs no node. The format and the promise
// are those of the package comment of passport/internal/evmanchor: under a block
// hash that the trust file pins, Merkle Patricia proofs (appendices B and D of the
// Ethereum yellow paper) lead to the contract's head or event. A build without
// this resolves "#evm" to evm-none.ts.

import { concat, equal, utf8 } from "../bytes.ts";
import { between, bytes, bytesOf, checked, decode, hash, list, one, optional, sized, struct, tuple, uint32, uint53, type Of } from "../cbor.ts";
import { need } from "../fail.ts";
import { sha256 } from "../hash.ts";
import { keccak256 } from "../keccak.ts";
import type { Checkpoint } from "../note.ts";
import type { Anchor, Chain } from "./format.ts";
import { evm } from "./kinds.ts";

/** The anchoring contract of a chain, and the blocks that are trusted on it. */
export type Contract = Of<typeof readContract>;
export const readContract = checked(
  tuple({ address: sized(20), blocks: list(tuple({ number: uint53, hash }), 1, 4096) }),
  ({ blocks }) => {
    need(blocks.every((b, i) => i === 0 || b.number > blocks[i - 1].number), "contract's blocks are out of order");
  },
);

/** Reports whether a contract's pins say anything of a block, by its number or its hash. */
export function pins({ blocks }: Contract, { height, block }: Anchor): boolean {
  return blocks.some((b) => b.number === height || equal(b.hash, block));
}

const maxBytes = 32768; // of evidence

const nodes = list(bytes, 1, 64);
type Evidence = Of<typeof readEvidence>;
const readEvidence = struct({
  version: one,
  header: bytesOf(1, 8192),
  head: optional(tuple({ account: nodes, root: nodes, size: nodes })),
  event: optional(tuple({ transaction: uint32, log: between(0, 2047), receipt: nodes })),
});

/** The anchor that the evidence proves for a checkpoint; throws when it proves none. */
export function verifyEvm(chain: Chain, head: Checkpoint, evidence: Uint8Array): Anchor {
  const { address, blocks } = chain.contract!;
  const e = decode(evidence, readEvidence, maxBytes);
  need((e.head === undefined) !== (e.event === undefined), "not exactly one of a head and an event is proven");
  const block = keccak256(e.header);
  const pin = blocks.find((b) => equal(b.hash, block));
  need(pin !== undefined, "block is not pinned");
  const header = listOf(e.header, 32);
  need(header.length >= 15, "header of too few fields");
  const state = hashOf(header[3]);
  const receipts = hashOf(header[5]);
  const height = uintOf(header[8]);
  const time = uintOf(header[11]) * 1000;
  need(height === pin.number, "block is pinned with another number");
  const origin = sha256(utf8(head.origin));
  if (e.head) verifyHead(e.head, state, address, origin, head);
  else verifyEvent(e.event!, receipts, address, origin, head);
  return { chain: chain.id, kind: evm, height, block, time };
}

/** Reads the two slots of the origin's head. */
function verifyHead(p: NonNullable<Evidence["head"]>, state: Uint8Array, address: Uint8Array, origin: Uint8Array, head: Checkpoint): void {
  const account = lookUp(state, keccak256(address), p.account);
  need(account !== undefined, "contract does not exist");
  const f = listOf(account, 4); // nonce, balance, storage root, code hash
  need(f.length === 4, "account is malformed");
  uintOf(f[0]);
  hashOf(f[3]);
  const slot = keccak256(concat(origin, new Uint8Array(32))); // of the mapping in slot 0
  need(equal(wordAt(f[2], slot, p.root), head.root), "contract holds another root");
  need(equal(wordAt(f[2], next(slot), p.size).subarray(24), uint64(head.size)), "contract holds another size");
}

/** The slot after another, modulo 2^256. */
export function next(slot: Uint8Array): Uint8Array {
  const out = slot.slice();
  for (let i = 31; i >= 0; i--) {
    out[i]++;
    if (out[i] !== 0) break;
  }
  return out;
}

/** Finds the event among the logs of its transaction. */
function verifyEvent(
  p: NonNullable<Evidence["event"]>,
  receipts: Uint8Array,
  address: Uint8Array,
  origin: Uint8Array,
  head: Checkpoint,
): void {
  let receipt = lookUp(receipts, encodeUint(p.transaction), p.receipt);
  need(receipt !== undefined, "transaction does not exist");
  if (receipt[0] < 0x80) receipt = receipt.subarray(1); // EIP-2718's type
  const [status, , , logs, more] = listOf(receipt, 4); // status, gas used, bloom, logs
  need(logs !== undefined && more === undefined && equal(stringOf(status), Uint8Array.of(1)), "transaction was reverted");
  const all = itemsOf(logs, 2048).map((l) => {
    const f = itemsOf(l, 3);
    need(f.length === 3 && stringOf(f[0]).length === 20, "log is malformed");
    return { address: f[0].content, topics: itemsOf(f[1], 4).map(hashOf), data: stringOf(f[2]) };
  });
  need(p.log < all.length, "log does not exist");
  const { address: by, topics, data } = all[p.log];
  need(
    equal(by, address) &&
      topics.length === 2 &&
      equal(topics[0], keccak256(utf8("Anchored(bytes32,uint64,bytes32)"))) &&
      equal(topics[1], origin) &&
      equal(data, concat(new Uint8Array(24), uint64(head.size), head.root)),
    "log is not this anchor's",
  );
}

/** What a slot holds, as 32 bytes; its absence proves zero. */
function wordAt(storage: Item, slot: Uint8Array, proof: Uint8Array[]): Uint8Array {
  const leaf = lookUp(hashOf(storage), keccak256(slot), proof);
  const word = new Uint8Array(32);
  if (leaf === undefined) return word;
  const number = stringOf(itemOf(leaf));
  need(number.length > 0 && number.length <= 32 && number[0] !== 0, "slot holds no number");
  word.set(number, 32 - number.length);
  return word;
}

/** The value at a key of the trie with this root; undefined if the nodes prove that there is none. */
export function lookUp(root: Uint8Array, key: Uint8Array, proof: Uint8Array[]): Uint8Array | undefined {
  let path = nibbles(key);
  let used = 0;
  let child: Item | undefined = { list: false, content: root, size: 32 };
  let value: Uint8Array | undefined;
  while (child) {
    let item: Item = child;
    if (!item.list) {
      need(used < proof.length, "proof ends before the path");
      const raw = proof[used++];
      need(equal(keccak256(raw), item.content), "node has another hash");
      item = itemOf(raw);
    }
    const { branch, part, leaf, value: held } = readNode(item);
    child = undefined;
    if (branch && path.length > 0) {
      if (!isEmpty(branch[path[0]])) child = branch[path[0]];
      path = path.slice(1);
    } else if (part.length <= path.length && part.every((n, i) => n === path[i])) {
      path = path.slice(part.length);
      if (!branch && !leaf) child = held;
      else if (path.length === 0 && held.content.length > 0) value = held.content;
    }
  }
  need(used === proof.length, "proof goes on after the path");
  return value;
}

interface Node {
  branch?: Item[]; // the 16 children; undefined: leaf or extension
  part: number[]; // of the path, nibbles; none of a branch
  leaf: boolean;
  value: Item; // of a branch (may be empty) or a leaf; child of an extension
}

/** Decodes a node and all nodes that are written into it. */
function readNode(item: Item): Node {
  const f = itemsOf(item, 17);
  const value = f[f.length - 1];
  if (f.length === 17) {
    const branch = f.slice(0, 16);
    for (const c of branch) need(isEmpty(c) || isChild(c), "branch has a malformed child");
    stringOf(value);
    return { branch, part: [], leaf: false, value };
  }
  need(f.length === 2, "node is neither of 17 items nor of 2");
  const packed = stringOf(f[0]);
  const path = nibbles(packed);
  const odd = path[0] & 1;
  need(packed.length > 0 && packed.length <= 33 && path[0] < 4 && (odd === 1 || path[1] === 0), "path of a node is malformed");
  const part = path.slice(2 - odd);
  const leaf = path[0] > 1;
  if (leaf) need(stringOf(value).length > 0, "leaf of no value");
  else need(part.length > 0 && isChild(value), "extension is malformed");
  return { part, leaf, value };
}

/** Reports whether an item is a hash, or throws unless it is a node under 32 bytes. */
function isChild(item: Item): boolean {
  if (item.list && item.size < 32) readNode(item); // ends: each level is shorter
  return item.list ? item.size < 32 : item.content.length === 32;
}

function nibbles(b: Uint8Array): number[] {
  const out: number[] = [];
  for (const v of b) out.push(v >> 4, v & 15);
  return out;
}

// Recursive length prefix, in its one canonical form.

interface Item {
  list: boolean;
  content: Uint8Array; // without the head
  size: number; // bytes, with it
}

const malformed = "malformed rlp";

/** Decodes the first item of bytes that may be hostile. */
function firstOf(b: Uint8Array): Item {
  const c = b[0];
  need(c !== undefined, malformed);
  if (c < 0x80) return { list: false, content: b.subarray(0, 1), size: 1 };
  let head = 1;
  let n = c & 0x3f;
  if (n > 55) {
    head = n - 54;
    need(head <= b.length && b[1] !== 0, malformed);
    n = b.subarray(1, head).reduce((n, v) => n * 256 + v, 0);
    need(n > 55, malformed);
  }
  need(n <= b.length - head, malformed);
  const list = c >= 0xc0;
  need(list || n !== 1 || b[head] >= 0x80, malformed);
  return { list, content: b.subarray(head, head + n), size: head + n };
}

/** Decodes bytes that are one item. */
function itemOf(b: Uint8Array): Item {
  const item = firstOf(b);
  need(item.size === b.length, malformed);
  return item;
}

/** Decodes an item that is a list of at most max items. */
function itemsOf(item: Item, max: number): Item[] {
  need(item.list, malformed);
  const out: Item[] = [];
  for (let rest = item.content; rest.length > 0; rest = rest.subarray(out[out.length - 1].size)) {
    need(out.length < max, malformed);
    out.push(firstOf(rest));
  }
  return out;
}

const listOf = (b: Uint8Array, max: number): Item[] => itemsOf(itemOf(b), max);
const isEmpty = (item: Item): boolean => !item.list && item.content.length === 0;

function stringOf(item: Item): Uint8Array {
  need(!item.list, malformed);
  return item.content;
}

function hashOf(item: Item): Uint8Array {
  need(stringOf(item).length === 32, malformed);
  return item.content;
}

/** A number of at most 8 bytes. Above 2^53 it is rounded, and equal to none that is compared with it. */
function uintOf(item: Item): number {
  const b = stringOf(item);
  need(b.length <= 8 && b[0] !== 0, malformed);
  return b.reduce((n, v) => n * 256 + v, 0);
}

/** A number below 2^53 in 8 bytes, big-endian. */
function uint64(n: number): Uint8Array {
  const out = new Uint8Array(8);
  for (let i = 7; n > 0; i--, n = Math.floor(n / 256)) out[i] = n % 256;
  return out;
}

/** The RLP of a number below 2^53. */
function encodeUint(n: number): Uint8Array {
  if (n > 0 && n < 0x80) return Uint8Array.of(n);
  const all = uint64(n);
  const b = all.subarray(n === 0 ? 8 : all.findIndex((v) => v > 0));
  return concat(Uint8Array.of(0x80 + b.length), b);
}
