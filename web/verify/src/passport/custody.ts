// Who answers for which part of a channel: the moments of changes of custody cut a
// trail's blocks. docs/wire-format.md section 7, Journey.

import { equal } from "../bytes.ts";
import { merge, type Digest, type Limit, type Spec } from "../digest.ts";
import { need } from "../fail.ts";
import type { Head, Opened } from "../trace.ts";
import type { Trail } from "./format.ts";
import type { History } from "./history.ts";
import type { Custodian } from "./facts.ts";
import type { Leg } from "./verdict.ts";

/** A moment of a trail, and which handover of the item it marks; -1: none. */
export interface Cut {
  head: Head;
  handover: number;
}

/** The digest of a trail's blocks up to a moment at which custody changed; -1: the trail's end. */
export interface Part {
  digest?: Digest;
  handover: number;
}

/** The moments of a trail, in order within its blocks; their sizes are cut points. */
export function moments(h: History, t: Trail, start: Uint8Array, cuts: number[]): Cut[] {
  let at = t.range.a;
  return (t.moments || []).map((r) => {
    const m = (h.moments.get(r.evidence) || [])[r.moment];
    need(m, `statement ${r.evidence} has no moment ${r.moment}`);
    need(equal(m.device, t.device) && m.channel === t.channel && equal(m.head.start, start), "moment is of another channel or trace");
    need(m.head.size > at && m.head.size <= t.range.b, `moment at ${m.head.size} blocks is not in order within the trail`);
    at = m.head.size;
    cuts.push(at);
    const handover = h.transfers.get(r.evidence);
    return { head: m.head, handover: handover === undefined ? -1 : handover };
  });
}

/**
 * Checks the heads of a trail's moments, and divides its blocks at those of the
 * item's handovers, each at the first of its moments.
 */
export function parts(opened: Opened, { a, b }: Trail["range"], cuts: Cut[]): Part[] {
  for (const { head } of cuts) opened.older(head);
  const between = (lo: number, hi: number): Digest =>
    opened.pieces
      .filter((p) => p.hi > lo && p.lo < hi)
      .map((p) => p.node.digest)
      .reduce(merge);
  const seen = new Set<number>();
  const out: Part[] = [];
  let at = a;
  for (const { head, handover } of cuts) {
    if (handover < 0 || seen.has(handover)) continue;
    seen.add(handover);
    out.push({ digest: between(at, head.size), handover });
    at = head.size;
  }
  out.push({ digest: at < b ? between(at, b) : undefined, handover: -1 });
  return out;
}

/** Says who answers for which part of a channel over a leg; undefined where nothing is said of custody. */
export function custodians(h: History, leg: Leg, strands: { spec: Spec; parts: Part[] }[]): Custodian[] | undefined {
  if (h.handovers.length === 0) return undefined;
  const had = (until: number): number => {
    const n = h.handovers.findIndex((x) => x.handover.at >= until);
    return n < 0 ? h.handovers.length : n;
  };
  let state = had(leg.from);
  for (const s of strands) for (const p of s.parts) if (p.handover >= 0) state = Math.min(state, p.handover);
  const out: Custodian[] = [];
  let sum: Digest | undefined;
  let limits: Limit[] = [];
  const end = (known: boolean): void => {
    if (!sum) return;
    const { t0, t1, covered, excess } = sum;
    const f: Custodian = {
      from: t0,
      to: t1,
      covered_ms: covered,
      limits: limits.map((limit, k) => ({ limit, total_ms: excess[k].total, longest_ms: excess[k].longest })),
    };
    if (known) {
      f.by = state > 0 ? h.handovers[state - 1].handover.to : h.handovers[0].from.identity!.subject;
      const name = h.names.get(f.by);
      if (name) f.by_name = name;
    }
    out.push(f);
    sum = undefined;
  };
  for (const { spec, parts } of strands) {
    for (const { digest, handover } of parts) {
      if (digest && !sum) {
        sum = digest;
        ({ limits } = spec);
      } else if (digest) {
        if (JSON.stringify(limits) !== JSON.stringify(spec.limits)) limits = [];
        const summable = (d: Digest): Digest => (limits.length > 0 ? d : Object.assign({}, d, { excess: [] }));
        sum = merge(summable(sum!), summable(digest));
      }
      if (handover < 0) continue;
      end(handover === state);
      state = Math.max(state, handover + 1);
    }
  }
  end(had(leg.to) <= state);
  return out;
}

