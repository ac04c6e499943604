// Traces: an authenticated range-aggregate tree over the blocks of a channel.
// docs/wire-format.md section 4 is normative.

import { concat, equal, isZero } from "./bytes.ts";
import { between, decode, hash, list, sized, textOf, tuple, uint, uint53, type Of, type Read } from "./cbor.ts";
import { checkDigest, checkDigestOf, encodeDigest, merge, readDigest, sameDigest, type Digest, type Spec } from "./digest.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { Forest, walk } from "./tree.ts";

/** The time base of a trace in Unix ms; 1 is ms since boot. */
export const basisWall = 0;

const startFields = tuple({
  epoch: uint53,
  channel: textOf(1, 64),
  plan: hash, // SHA-256 of the plan's channel entry, zero: none
  basis: between(basisWall, 1),
  boot: sized(16),
  prevStart: hash,
  prevSize: uint53,
  prevRoot: hash,
});

/** What a trace is of and which one it follows; its hash is the trace's identity. */
export type Start = Of<typeof startFields> & { hash: Uint8Array };
export const readStart: Read<Start> = (r) => {
  const [s, encoded] = r.raw(startFields);
  const none = s.prevSize === 0;
  need(none === isZero(s.prevStart) && none === isZero(s.prevRoot), "trace start names half a predecessor");
  return Object.assign(s, { hash: sha256(encoded) });
};

export function parseStart(data: Uint8Array): Start {
  return decode(data, readStart);
}

/** The state of a trace that a device signs. */
export type Head = Of<typeof readHead>;
export const readHead = tuple({ start: hash, size: uint, root: hash, digest: readDigest });

/** Throws when no trace could have the head. */
export function checkHead(h: Head): void {
  need(h.size > 0 && h.size <= Number.MAX_SAFE_INTEGER, "trace size out of bounds");
  checkDigest(h.digest);
}

/** A subtree as a proof shows it. */
export type Node = Of<typeof readNode>;
export const readNode = tuple({ digest: readDigest, hash });

/** Makes the parent of two adjacent subtrees. */
export function join(l: Node, r: Node): Node {
  const digest = merge(l.digest, r.digest);
  const preimage = concat(Uint8Array.from([1, ...encodeDigest(l.digest)]), l.hash, Uint8Array.from(encodeDigest(r.digest)), r.hash);
  return { digest, hash: sha256(preimage) };
}

const maxNodes = 2048;
const noPrefix = "older head is no prefix of the newer one";

/** A proof of the blocks [a, b): the pieces of a walk over the trace. */
export type Range = Of<typeof readRange>;
export const readNodes = list(readNode);
export const readRange = tuple({ a: uint, b: uint, nodes: readNodes });

/** A proof that led to a signed head. */
export class Opened {
  private readonly pieces: { lo: number; hi: number; node: Node }[] = [];
  private readonly forest = new Forest(join);

  /**
   * Checks a proof against a head whose signature the caller has checked. The
   * cuts are the proof's further cut points, in any order.
   */
  constructor(
    private readonly range: Range,
    spec: Spec,
    private readonly top: Head,
    cuts: number[] = [],
  ) {
    const { a, b, nodes } = range;
    checkHead(top);
    checkDigestOf(spec, top.digest);
    need(a < b && b <= top.size, `blocks [${a}, ${b}) are not within a trace of ${top.size}`);
    need(nodes.length <= maxNodes, "proof has too many nodes");
    walk(top.size, [a, b, ...cuts], (lo, hi) => {
      const node = nodes[this.pieces.length];
      need(node !== undefined, "proof has too few nodes");
      checkDigestOf(spec, node.digest);
      this.pieces.push({ lo, hi, node });
      this.forest.set(lo, hi, node);
    });
    need(this.pieces.length === nodes.length, "proof has nodes too many");
    need(same(this.forest.build(0, top.size), top.root, top.digest), "proof does not lead to the signed head");
  }

  /** The digest of blocks [a, b). */
  inside(): Digest {
    const { a, b } = this.range;
    return this.pieces
      .filter((p) => p.hi > a && p.lo < b)
      .map((p) => p.node.digest)
      .reduce(merge);
  }

  /** Throws unless every block with a part in [w0, w1) ms is among [a, b). */
  window(w0: number, w1: number): void {
    const { a, b } = this.range;
    need(w0 <= w1, "window ends before it begins");
    for (const { lo, hi, node } of this.pieces) {
      need((hi > a || node.digest.t1 <= w0) && (lo < b || node.digest.t0 >= w1), "blocks left out reach into the window");
    }
  }

  /** Throws unless a head of the same trace is a prefix; the proof must be cut at its size. */
  older(h: Head): void {
    need(equal(h.start, this.top.start), noPrefix + ": they are of two traces");
    checkHead(h);
    need(h.size <= this.top.size && same(this.forest.build(0, h.size), h.root, h.digest), noPrefix);
  }

  /** Throws unless the leaves are blocks first, first + 1, …; the proof must be cut at both ends. */
  blocks(first: number, leaves: { record: Uint8Array; digest: Digest }[]): void {
    const words = "blocks are not those of the proof";
    const last = first + leaves.length;
    need(last > first && first >= this.range.a && last <= this.range.b, words);
    const rebuilt = new Forest(join);
    leaves.forEach(({ record, digest }, i) => {
      const hash = sha256(concat(Uint8Array.of(0), this.top.start, record));
      rebuilt.set(first + i, first + i + 1, { digest, hash });
    });
    let at = first;
    for (const { lo, hi, node } of this.pieces) {
      if (hi <= first || lo >= last) continue;
      need(lo >= first && hi <= last && same(rebuilt.build(lo, hi), node.hash, node.digest), words);
      at = hi;
    }
    need(at === last, words);
  }
}

function same(n: Node, hash: Uint8Array, digest: Digest): boolean {
  return equal(n.hash, hash) && sameDigest(n.digest, digest);
}

/** Throws unless older, a head of the same trace, is a prefix of newer. */
export function verifyConsistency(spec: Spec, older: Head, newer: Head, nodes: Node[]): void {
  checkHead(older);
  need(older.size <= newer.size, noPrefix);
  new Opened({ a: 0, b: older.size, nodes }, spec, newer).older(older);
}
