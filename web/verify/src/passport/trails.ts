// Trails: what each channel that the plans list measured over each leg.

import { equal, hex } from "../bytes.ts";
import { leafDigest, mean, meanKinetic, merge, span, type Digest, type Spec } from "../digest.ts";
import { sha256 } from "../hash.ts";
import type { Channel as PlanChannel } from "../payload.ts";
import { need } from "../fail.ts";
import { blockTimes, openBody, type Body } from "../record.ts";
import { basisWall, openRange, parseStart, type Head, type Opened, type Start } from "../trace.ts";
import { covering, type Check, type Proven } from "./check.ts";
import type { Ref, Trail } from "./format.ts";
import { journey, type Cut, type Part } from "#journey";
import type { Channel, HeadFacts, Leg, Proof } from "./verdict.ts";

/** A verified trail: one trace of one channel over one leg's window. */
interface Strand {
  start: Start;
  spec: Spec;
  head: Head;
  from: Proven; // the frame of the head
  heads: HeadFacts[];
  digest: Digest;
  blocks: number;
  first: number; // block
  shown: number;
  erased: number;
  parts?: Part[]; // by custodian
}

/**
 * Verifies every trail and matches them with what the plans list for the legs;
 * what is listed and not shown is withheld. Gives the span of each channel's
 * digest, for criteria whose limit the plan did not have.
 */
export function trails(c: Check): Map<Channel, number> {
  const spans = new Map<Channel, number>();
  const v = c.verdict;
  const used = new Set<Trail>();
  v.legs.forEach((leg, i) => {
    const { listed } = c.stays[i];
    for (const [name, ch] of listed) {
      const strands: Strand[] = [];
      c.passport.trails.forEach((t, n) => {
        if (t.zone !== leg.zone || c.ring.quantity(t.device, t.channel) !== name) return;
        const s = verifyTrail(c, t, n, leg);
        if (!s) return;
        used.add(t);
        strands.push(s);
      });
      join(c, i, ch, strands, spans);
    }
    const lacks = leg.channels.length < (listed.size || 1);
    // A channel that is not shown measured nothing.
    v.unmeasured_ms += lacks ? leg.to - leg.from : Math.max(...leg.channels.map((ch) => ch.unmeasured_ms));
  });
  c.failing = "trace";
  c.passport.trails.forEach((t, n) => need(used.has(t), `trail ${n} belongs to no leg`));
  v.devices = [...c.signers.keys()].sort().map((key) => c.signers.get(key)!);
  return spans;
}

/** The disclosed head of a trail's channel that a reference names. */
function headOf(c: Check, t: Trail, r: Ref): { from: Proven; head: Head } {
  const from: Proven | undefined = c.evidence[r.evidence];
  const { head } = (from && from.records.get(r.record)) || ({} as Body);
  const ok = head && equal(from.statement.kid, t.device) && head.channel === t.channel;
  need(ok, `statement ${r.evidence} does not show a head of the channel as record ${r.record}`);
  return { from, head: head!.head };
}

/** Verifies one trail over a leg's window; undefined when it is of another stay in the zone. */
function verifyTrail(c: Check, t: Trail, n: number, leg: Leg): Strand | undefined {
  c.failing = "trace";
  const { from, head } = headOf(c, t, t.head);
  const start = parseStart(t.start);
  const fits = equal(start.hash, head.start) && start.channel === t.channel && start.epoch === from.identity!.epoch;
  need(fits && start.basis === basisWall, `trail ${n}: its start is not the head's, or on a clock that was not set`);
  const spec = entry(c, t, start.plan);
  c.failing = "plan";
  need(spec, `trail ${n}: no plan shown has the channel's entry`);
  const cuts: number[] = [];
  c.failing = "consistency";
  const older = (t.older || []).map((r, i) => {
    const o = headOf(c, t, r);
    need(o.head.size < head.size && (i === 0 || o.head.size > cuts[i - 1]), `trail ${n}: older heads are not in order`);
    cuts.push(o.head.size);
    return o;
  });
  let moments: Cut[] | undefined;
  if (journey && c.history) moments = journey.cut(c.history, t, head.start, cuts);
  c.failing = "blocks";
  let at = t.range.a;
  for (const { first, records } of t.runs || []) {
    const end = first + records.length;
    need(first >= at && end <= t.range.b, `trail ${n}: blocks from ${first} are out of order or bounds`);
    cuts.push(first, end);
    at = end;
  }
  c.failing = "range";
  const opened = openRange(t.range, spec, head, cuts);
  const digest = opened.inside();
  const to = Math.max(leg.to, leg.from + 1); // an item seen for a moment was there for a millisecond
  if (digest.t1 <= leg.from || digest.t0 >= to) return undefined;
  c.failing = "window";
  opened.window(leg.from, to);
  c.failing = "consistency";
  for (const o of older) opened.older(o.head);
  let parts: Part[] | undefined;
  if (journey && moments) parts = journey.parts(opened, t.range, moments);
  const heads = [...older, { from, head }].map((o) => ({
    at: o.from.frame!.span.to,
    size: o.head.size,
    anchor: covering(c, o.from.place),
  }));
  const shown = new Set<number>();
  c.failing = "blocks";
  runs(t, spec, opened, shown);
  const gone = new Set<number>();
  for (const x of c.erased) {
    const counts = x.by === leg.plan_by && equal(x.start, head.start);
    if (counts && x.n >= t.range.a && x.n < t.range.b && !shown.has(x.n)) gone.add(x.n);
  }
  const { a, b } = t.range;
  const strand: Strand = { start, spec, head, from, heads, digest, blocks: b - a, first: a, shown: shown.size, erased: gone.size };
  if (journey) strand.parts = parts;
  return strand;
}

/** Checks the blocks that are shown whole, and notes their numbers. */
function runs(t: Trail, spec: Spec, opened: Opened, shown: Set<number>): void {
  for (const { first, records } of t.runs || []) {
    const leaves = records.map((data, i) => {
      const b = openBody(data).block;
      need(b && b.channel === t.channel, `record ${i} of the run from ${first} is no block of the channel`);
      shown.add(first + i);
      return { record: sha256(data), digest: leafDigest(spec, b.prev ?? -1, blockTimes(b), b.values) };
    });
    opened.blocks(first, leaves);
  }
}

/** The plan entry that a trace was begun under. */
function entry(c: Check, t: Trail, hash: Uint8Array): Spec | undefined {
  for (const { plan } of c.plans.values()) {
    for (const z of plan.zones) {
      const ch = z.listed.find((ch) => equal(ch.hash, hash) && ch.name === t.channel && equal(ch.device, t.device));
      if (ch) return ch;
    }
  }
  return undefined;
}

/** Joins the strands of one channel over a leg, and notes what is withheld between them. */
function join(c: Check, i: number, ch: PlanChannel, strands: Strand[], spans: Map<Channel, number>): void {
  const leg = c.verdict.legs[i];
  const device = hex(ch.device);
  const withhold = (from: number, to: number) => c.verdict.withheld.push({ leg: i, device, channel: ch.name, from, to });
  if (strands.length === 0) {
    withhold(leg.from, leg.to);
    return;
  }
  strands.sort((a, b) => a.digest.t0 - b.digest.t0);
  const first = strands[0];
  const last = strands[strands.length - 1];
  // A trace before this one may reach into the leg.
  if (first.first === 0 && (first.start.prevSize > 0 || first.start.epoch > 0) && first.digest.t0 > leg.from)
    withhold(leg.from, first.digest.t0);
  // A head signed before the leg's end says nothing of what came after it.
  const end = last.from.frame!.span.to;
  let { digest } = first;
  let { limits } = first.spec;
  c.failing = "trace";
  strands.slice(1).forEach((s, k) => {
    const { head } = strands[k];
    const { prevStart, prevSize, prevRoot } = s.start;
    const follows = equal(prevStart, head.start) && prevSize === head.size && equal(prevRoot, head.root);
    if (!follows) withhold(strands[k].digest.t1, s.digest.t0);
    // When the site changed the limits during the leg, times beyond them do not
    // add up: only the extremes judge it.
    if (JSON.stringify(s.spec.limits) !== JSON.stringify(limits)) limits = [];
    const summable = (d: Digest): Digest => (limits.length > 0 ? d : Object.assign({}, d, { excess: [] }));
    digest = merge(summable(digest), summable(s.digest));
  });
  if (end < leg.to) withhold(end, leg.to);
  c.stays[i].last.push(last.from);
  const total = (f: (s: Strand) => number) => strands.reduce((n, s) => n + f(s), 0);
  const facts: Channel = {
    device,
    channel: ch.name,
    unit: ch.unit,
    closeness: ch.closeness,
    min: digest.min,
    max: digest.max,
    mean: mean(digest),
    limits: limits.map((limit, k) => ({ limit, total_ms: digest.excess[k].total, longest_ms: digest.excess[k].longest })),
    blocks: total((s) => s.blocks),
    shown_blocks: total((s) => s.shown),
    erased_blocks: total((s) => s.erased),
    unmeasured_ms: span(digest) - digest.covered + Math.max(0, digest.t0 - leg.from) + Math.max(0, leg.to - digest.t1),
    heads: ([] as HeadFacts[]).concat(...strands.map((s) => s.heads)).sort((a, b) => a.at - b.at),
    head_gap_ms: 0,
    lateness_ms: 0,
    lateness: "proven",
  };
  if (ch.unit === "Cel" && digest.kin > BigInt(0)) facts.mkt = meanKinetic(digest);
  if (journey && c.history) {
    const all = journey.custodians(
      c.history,
      leg,
      strands.map((s) => ({ spec: s.spec, parts: s.parts! })),
    );
    if (all && all.length > 0) facts.custodians = all;
  }
  lateness(facts, leg);
  leg.channels.push(facts);
  spans.set(facts, span(digest));
}

/** How long after their time the heads were anchored, and how long the leg went without one. */
function lateness(f: Channel, leg: Leg): void {
  const worse: Proof[] = ["proven", "declared", "none"];
  let at = leg.from;
  let late = -Infinity;
  for (const h of f.heads) {
    const reach = Math.min(h.at, leg.to);
    if (reach > at) {
      f.head_gap_ms = Math.max(f.head_gap_ms, reach - at);
      at = reach;
    }
    const { proof, time } = h.anchor;
    if (worse.indexOf(proof) > worse.indexOf(f.lateness)) f.lateness = proof;
    if (proof !== "none") late = Math.max(late, time - h.at);
  }
  f.lateness_ms = late > -Infinity ? late : 0;
  f.head_gap_ms = Math.max(f.head_gap_ms, leg.to - at);
}
