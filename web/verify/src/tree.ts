// RFC 9162 Merkle trees: roots, paths, consistency, and the walk with cut
// points that every proof of the wire format has as its shape (sections 4, 6).
// Sizes go to 2^53, so halves are taken by division, never by 32-bit shifts.

import { concat, equal } from "./bytes.ts";
import { need } from "./fail.ts";
import { leafHash, nodeHash, sha256 } from "./hash.ts";

const wrongSize = "wrong proof size";

/** The largest power of two below n > 1 (RFC 9162 section 2.1.1). */
export function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** The tree hash over encoded records; of none, the hash of nothing. */
export function treeRoot(records: Uint8Array[]): Uint8Array {
  if (records.length === 0) return sha256(concat());
  const fold = (lo: number, hi: number): Uint8Array => {
    if (hi - lo === 1) return leafHash(records[lo]);
    const mid = lo + split(hi - lo);
    return nodeHash(fold(lo, mid), fold(mid, hi));
  };
  return fold(0, records.length);
}

/**
 * The root that a leaf's path (RFC 9162 section 2.1.3.2) leads to. Index and
 * size may be bigints: a chain's evidence gives numbers that nobody signed.
 */
export function rootFromPath(leaf: Uint8Array, index: number | bigint, size: number | bigint, path: Uint8Array[]): Uint8Array {
  let at = BigInt(index);
  let last = BigInt(size) - 1n;
  need(at <= last, `index is beyond size: ${index} >= ${size}`);
  let r = leafHash(leaf);
  for (const p of path) {
    need(last > 0n, wrongSize);
    if (at & 1n || at === last) {
      r = nodeHash(p, r);
      while (at > 0n && !(at & 1n)) {
        at >>= 1n;
        last >>= 1n;
      }
    } else {
      r = nodeHash(r, p);
    }
    at >>= 1n;
    last >>= 1n;
  }
  need(last === 0n, wrongSize);
  return r;
}

/** Throws unless leaf is the index'th of a tree of size leaves with this root. */
export function verifyInclusion(leaf: Uint8Array, index: number, size: number, root: Uint8Array, path: Uint8Array[]): void {
  need(equal(rootFromPath(leaf, index, size, path), root), "path does not lead to the root");
}

/**
 * Throws unless a tree of size newer extends one of size older (RFC 9162
 * section 2.1.4); any tree extends the empty one.
 */
export function verifyTreeConsistency(older: number, newer: number, oldRoot: Uint8Array, newRoot: Uint8Array, path: Uint8Array[]): void {
  if (older === 0) return;
  need(older <= newer, `ledger shrank from ${older} to ${newer} entries`);
  // Returns the roots of this subtree in the older and in the newer tree.
  // known: the older tree is exactly this subtree so far, its root is given.
  const climb = (m: number, n: number, known: boolean, left: number): [Uint8Array, Uint8Array] => {
    if (m === n) {
      need(left === (known ? 0 : 1), wrongSize);
      const root = known ? oldRoot : path[0];
      return [root, root];
    }
    need(left > 0, wrongSize);
    const k = split(n);
    const sibling = path[left - 1];
    if (m <= k) {
      const [o, w] = climb(m, k, known, left - 1);
      return [o, nodeHash(w, sibling)];
    }
    const [o, w] = climb(m - k, n - k, false, left - 1);
    return [nodeHash(sibling, o), nodeHash(sibling, w)];
  };
  const [o, w] = climb(older, newer, true, path.length);
  need(equal(o, oldRoot) && equal(w, newRoot), "consistency proof does not lead to both roots");
}

/** Subtrees of one tree by their spans, and how two neighbours join. */
export interface Forest<T> {
  set(lo: number, hi: number, t: T): void;
  /** The root over leaves [lo, hi), which known subtrees must tile. */
  build(lo: number, hi: number): T;
}

export function forest<T extends object>(join: (l: T, r: T) => T): Forest<T> {
  const trees = new Map<string, T>();
  const set = (lo: number, hi: number, t: T): void => void trees.set(lo + "," + hi, t);
  const build = (lo: number, hi: number): T => {
    let t = trees.get(lo + "," + hi);
    if (!t) {
      need(hi - lo > 1, `proof is not cut at ${hi}`);
      const mid = lo + split(hi - lo);
      t = join(build(lo, mid), build(mid, hi));
      set(lo, hi, t);
    }
    return t;
  };
  return { set, build };
}

/** Calls piece for the maximal subtrees of size leaves that no cut point splits, left to right. */
export function walk(size: number, cuts: number[], piece: (lo: number, hi: number) => void): void {
  const sorted = cuts.slice().sort((a, b) => a - b);
  need(!sorted.some((n) => n < 0 || n > size), `cut point beyond a tree of ${size}`);
  let next = 0; // the first cut that may lie within what is still to come
  const go = (lo: number, hi: number): void => {
    while (sorted[next] <= lo) next++;
    if (!(sorted[next] < hi)) return piece(lo, hi);
    const mid = lo + split(hi - lo);
    go(lo, mid);
    go(mid, hi);
  };
  go(0, size);
}

/**
 * Puts a multi-proof (section 6) together with its leaves, ascending by index.
 * Nothing is proven before the root given back is one that somebody signed.
 */
export function openMulti(
  size: number,
  leaves: { index: number; hash: Uint8Array }[],
  older: number[],
  proof: Uint8Array[],
): (size: number) => Uint8Array {
  need(size > 0, "tree of size 0");
  const cuts = older.slice();
  leaves.forEach(({ index }, i) => {
    need(index < size && (i === 0 || index > leaves[i - 1].index), "index is beyond the tree or not ascending");
    cuts.push(index, index + 1);
  });
  const known = forest(nodeHash);
  let shown = 0;
  let used = 0;
  walk(size, cuts, (lo, hi) => {
    if (hi - lo === 1 && shown < leaves.length && leaves[shown].index === lo) {
      known.set(lo, hi, leaves[shown++].hash);
    } else {
      need(used < proof.length, "multi-proof has too few hashes");
      known.set(lo, hi, proof[used++]);
    }
  });
  need(used === proof.length, "multi-proof has hashes too many");
  return (n) => known.build(0, n);
}
