// The brand's rule, applied to the legs.

import { isBeyond, type Limit } from "../digest.ts";
import { cumulative, single } from "../rule.ts";
import type { Check } from "./check.ts";
import type { Channel, Verdict } from "./verdict.ts";

/** Gives the outcome and the broken criteria; spans are of the channels' digests, in ms. */
export function judge(c: Check, spans: Map<Channel, number>): void {
  const v = c.verdict;
  if (!c.product) return;
  v.product = c.product;
  if (v.legs.length === 0) return;
  for (const criterion of v.product.rule) {
    let total = 0;
    let exact = true;
    const broken = (leg: number, ms: number) => {
      if (ms > 0 && ms >= criterion.for_ms) v.broken.push({ criterion, leg, beyond_ms: ms, exact });
    };
    v.legs.forEach((leg, i) => {
      let longest = 0;
      let all = 0;
      for (const ch of leg.channels) {
        if (ch.unit !== criterion.unit) continue;
        const b = beyond(criterion.limit, ch, spans.get(ch)!);
        exact = exact && b.known;
        longest = Math.max(longest, b.longest);
        all = Math.max(all, b.total);
      }
      total += all;
      if (criterion.kind === single) broken(i, longest);
    });
    if (criterion.kind === cumulative) broken(-1, total);
  }
  if (v.broken.length > 0) v.outcome = "beyond";
  else if (v.withheld.length > 0 || v.conflicting_sightings > 0 || unjudgeable(v) >= 0) v.outcome = "incomplete";
  else v.outcome = "kept";
}

/** The first leg where no channel measured what a criterion is about; -1: none. */
export function unjudgeable(v: Verdict): number {
  const units = v.product!.rule.map((c) => c.unit);
  return v.legs.findIndex((leg) => units.some((u) => !leg.channels.some((ch) => ch.unit === u)));
}

/**
 * The time a channel spent beyond a limit. When the plan did not have that limit
 * only the extremes are known: then it is none, or the whole.
 */
function beyond(limit: Limit, ch: Channel, whole: number): { total: number; longest: number; known: boolean } {
  const l = ch.limits.find((l) => l.limit.comparison === limit.comparison && l.limit.value === limit.value);
  if (l) return { total: l.total_ms, longest: l.longest_ms, known: true };
  const extreme = isBeyond(limit, ch.min) || isBeyond(limit, ch.max);
  const ms = extreme ? whole : 0;
  return { total: ms, longest: ms, known: !extreme };
}
