// The item's journey: disclosed records, and the legs that its sightings make.

import { equal, hex } from "../bytes.ts";
import { need } from "../fail.ts";
import { leafHash } from "../hash.ts";
import { isWall } from "../payload.ts";
import { openBody, type Body } from "../record.ts";
import { openMulti } from "../tree.ts";
import { covering, naming, none, type Check, type Placed, type Proven } from "./check.ts";
import { sgtin } from "./epc.ts";
import { journey } from "#journey";
import type { Evidence } from "./format.ts";
import type { Bound, Leg } from "./verdict.ts";

/** Opens every frame's disclosed records and collects the item's sightings. */
export function records(c: Check): void {
  const { item, evidence } = c.passport;
  if (journey && c.history) journey.open(c, c.history);
  evidence.forEach(({ shown }, i) => {
    if (!shown) return;
    const e = c.evidence[i];
    c.failing = "record";
    open(e, shown);
    c.failing = "item";
    for (let { sighting } of e.records.values()) {
      if (!sighting) continue;
      const tag = sgtin(sighting.epc);
      if (journey && c.history) sighting = journey.counted(c, c.history, e, sighting);
      const own = tag && tag.gtin === item.gtin && tag.serial === item.serial;
      need(journey && c.history ? sighting : own, `statement ${i} shows a sighting of another item`);
      if (!isWall(e.frame!)) {
        c.verdict.undated_sightings++;
        continue;
      }
      const placed = place(c, e, sighting!);
      if (placed) c.placed.push(placed);
      else c.verdict.unplaced_sightings++;
    }
  });
}

/** Checks the records shown of a frame against its records root. */
function open(e: Proven, shown: NonNullable<Evidence["shown"]>): void {
  const { frame, statement } = e;
  need(frame, `statement of kind ${statement.kind} has no records`);
  const leaves = shown.records.map(({ index, data }) => ({ index, hash: leafHash(data) }));
  const root = openMulti(frame.count, leaves, [], shown.path)(frame.count);
  need(equal(root, frame.root), "records are not those that the frame signs");
  for (const { index, data } of shown.records) e.records.set(index, openBody(data));
}

/** Places a sighting in the zone that the plan in force gives its antenna. */
function place(c: Check, from: Proven, sighting: NonNullable<Body["sighting"]>): Placed | undefined {
  const planned = c.plans.get(hex(from.frame!.plan));
  const zone = planned && planned.plan.zones.find((z) => z.antennas.some((a) => a.name === sighting.antenna && equal(a.device, from.statement.kid)));
  return zone && Object.assign({ sighting, from, zone }, planned);
}

/** Groups the sightings by zone in order of time; two sites may name a zone alike. */
export function legs(c: Check): void {
  const v = c.verdict;
  c.placed.sort((a, b) => a.sighting.first - b.sighting.first);
  let stay: Placed[] = [];
  c.placed.forEach((s, i) => {
    if (i > 0 && (s.zone.id !== stay[0].zone.id || s.by !== stay[0].by)) {
      closeLeg(c, stay);
      stay = [];
    }
    stay.push(s);
  });
  if (stay.length > 0) closeLeg(c, stay);
  for (let i = 1; i < v.legs.length; i++) {
    const gap = v.legs[i].from - v.legs[i - 1].to;
    if (gap >= 0) v.unmonitored_ms += gap;
    else {
      v.conflicting_sightings++; // in two zones at once: shown, not resolved
      if (journey && c.history) journey.contradict(c, c.history, "zones", v.legs[i].from, c.history.item);
    }
  }
}

function closeLeg(c: Check, stay: Placed[]): void {
  const { zone, plan, by, sighting } = stay[0];
  const leg: Leg = {
    zone: zone.id,
    name: zone.name,
    site: plan.site,
    plan_by: by,
    from: sighting.first,
    to: sighting.first,
    presence: "seen",
    seen_ms: 0,
    sightings: stay.length,
    reads: 0,
    not_before: none,
    not_after: none,
    channels: [],
  };
  const listed: Check["stays"][0]["listed"] = new Map();
  for (const { sighting: s, zone: z } of stay) {
    if (s.first - leg.to <= z.reRead) {
      leg.seen_ms += Math.max(s.last, leg.to) - leg.to;
    } else {
      leg.presence = "entered-and-left";
      leg.seen_ms += s.last - s.first;
    }
    leg.to = Math.max(leg.to, s.last);
    leg.reads += s.reads;
    for (const ch of z.listed) {
      const name = c.ring.quantity(ch.device, ch.name);
      if (!listed.has(name)) listed.set(name, ch);
    }
  }
  if (leg.reads === 1) leg.presence = "seen-once";
  if (journey && c.history) journey.carried(c.history, leg, stay);
  c.verdict.legs.push(leg);
  c.stays.push({ sightings: stay, listed, last: [] });
}

/** Says for every leg between which blocks it was signed. */
export function brackets(c: Check): void {
  c.verdict.legs.forEach((leg, i) => {
    const { sightings, last } = c.stays[i];
    leg.not_before = naming(c, sightings[0].from.frame!.after);
    leg.not_after = [...last, ...sightings.map((s) => s.from)].map((e) => covering(c, e.place)).reduce(later);
  });
}

/** The later of two bounds, known no better than the worse of them. */
function later(a: Bound, b: Bound): Bound {
  if (a.proof === "none" || b.proof === "none") return none;
  return { time: Math.max(a.time, b.time), proof: a.proof === "declared" ? a.proof : b.proof };
}
