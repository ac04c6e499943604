// Traces: an authenticated range-aggregate tree over the blocks of a channel.
// docs/wire-format.md section 4 is normative.

import { concat, equal, isZero } from "./bytes.ts";
import { between, checked, decode, hash, hashed, list, maxInt, sized, textOf, tuple, uint, uint53, type Of } from "./cbor.ts";
import { checkDigest, checkDigestOf, encodeDigest, merge, readDigest, type Digest, type Spec } from "./digest.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { forest, walk } from "./tree.ts";

/** The time base of a trace in Unix ms; 1 is ms since boot. */
export const basisWall = 0;

/** What a trace is of and which one it follows; its hash is the trace's identity. */
export type Start = Of<typeof readStart>;
export const readStart = hashed(
  checked(
    tuple({
      epoch: uint53,
      channel: textOf(1, 64),
      plan: hash, // SHA-256 of the plan's channel entry, zero: none
      basis: between(basisWall, 1),
      boot: sized(16),
      prevStart: hash,
      prevSize: uint53,
      prevRoot: hash,
    }),
    (s) => {
      const none = s.prevSize === 0;
      need(none === isZero(s.prevStart) && none === isZero(s.prevRoot), "trace start names half a predecessor");
    },
  ),
);

export function parseStart(data: Uint8Array): Start {
  return decode(data, readStart);
}

/** The state of a trace that a device signs. */
export type Head = Of<typeof readHead>;
export const readHead = tuple({ start: hash, size: uint, root: hash, digest: readDigest });

/** Throws when no trace could have the head. */
export function checkHead(h: Head): void {
  need(h.size > 0 && h.size <= maxInt, "trace size out of bounds");
  checkDigest(h.digest);
}

/** A subtree as a proof shows it. */
export type Node = Of<typeof readNode>;
export const readNode = tuple({ digest: readDigest, root: hash });

/** Makes the parent of two adjacent subtrees. */
export function join(l: Node, r: Node): Node {
  const digest = merge(l.digest, r.digest);
  return { digest, root: sha256(concat([1], encodeDigest(l.digest), l.root, encodeDigest(r.digest), r.root)) };
}

const maxNodes = 2048;
const noPrefix = "older head is no prefix of the newer one";

/** A proof of the blocks [a, b): the pieces of a walk over the trace. */
export type Range = Of<typeof readRange>;
export const readNodes = list(readNode);
export const readRange = tuple({ a: uint, b: uint, nodes: readNodes });

/** A subtree of a proof and the blocks [lo, hi) that it is over. */
export interface Piece {
  lo: number;
  hi: number;
  node: Node;
}

/** A proof that led to a signed head. */
export interface Opened {
  /** The digest of blocks [a, b). */
  inside(): Digest;
  /** The proof's pieces, from left to right. */
  pieces: Piece[];
  /** Throws unless every block with a part in [w0, w1) ms is among [a, b). */
  window(w0: number, w1: number): void;
  /** Throws unless a head of the same trace is a prefix; the proof must be cut at its size. */
  older(h: Head): void;
  /** Throws unless the leaves are blocks first, first + 1, …; the proof must be cut at both ends. */
  blocks(first: number, leaves: { record: Uint8Array; digest: Digest }[]): void;
}

/**
 * Checks a proof against a head whose signature the caller has checked. The
 * cuts are the proof's further cut points, in any order.
 */
export function openRange({ a, b, nodes }: Range, spec: Spec, top: Head, cuts: number[] = []): Opened {
  checkHead(top);
  checkDigestOf(spec, top.digest);
  need(a < b && b <= top.size, `blocks [${a}, ${b}) are not within a trace of ${top.size}`);
  need(nodes.length <= maxNodes, "proof has too many nodes");
  const pieces: Piece[] = [];
  const tree = forest(join);
  walk(top.size, [a, b, ...cuts], (lo, hi) => {
    const node = nodes[pieces.length];
    need(node, "proof has too few nodes");
    checkDigestOf(spec, node.digest);
    pieces.push({ lo, hi, node });
    tree.set(lo, hi, node);
  });
  need(pieces.length === nodes.length, "proof has nodes too many");
  need(same(tree.build(0, top.size), top), "proof does not lead to the signed head");
  return {
    pieces,
    inside: () =>
      pieces
        .filter((p) => p.hi > a && p.lo < b)
        .map((p) => p.node.digest)
        .reduce(merge),
    window(w0, w1) {
      need(w0 <= w1, "window ends before it begins");
      for (const { lo, hi, node } of pieces) {
        need((hi > a || node.digest.t1 <= w0) && (lo < b || node.digest.t0 >= w1), "blocks left out reach into the window");
      }
    },
    older(h) {
      need(equal(h.start, top.start), noPrefix + ": they are of two traces");
      checkHead(h);
      need(h.size <= top.size && same(tree.build(0, h.size), h), noPrefix);
    },
    blocks(first, leaves) {
      const words = "blocks are not those of the proof";
      const last = first + leaves.length;
      need(last > first && first >= a && last <= b, words);
      const rebuilt = forest(join);
      leaves.forEach(({ record, digest }, i) =>
        rebuilt.set(first + i, first + i + 1, { digest, root: sha256(concat([0], top.start, record)) }),
      );
      let at = first;
      for (const { lo, hi, node } of pieces) {
        if (hi <= first || lo >= last) continue;
        need(lo >= first && hi <= last && same(rebuilt.build(lo, hi), node), words);
        at = hi;
      }
      need(at === last, words);
    },
  };
}

function same(a: Node, b: Node): boolean {
  return equal(a.root, b.root) && equal(encodeDigest(a.digest), encodeDigest(b.digest));
}

/** Throws unless older, a head of the same trace, is a prefix of newer. */
export function verifyConsistency(spec: Spec, older: Head, newer: Head, nodes: Node[]): void {
  checkHead(older);
  need(older.size <= newer.size, noPrefix);
  openRange({ a: 0, b: older.size, nodes }, spec, newer).older(older);
}
