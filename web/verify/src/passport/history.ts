// What organisations say of the item, in a passport of version 2: its events in
// order, and what it was carried in. docs/wire-format.md section 7, Journey.

import { equal, hex, isZero } from "../bytes.ts";
import { commission, decommission, pack, parseItem, transform, unpack, type Acceptance, type Event, type Handover, type Moment } from "../event.ts";
import { need } from "../fail.ts";
import { isWall, type Identity } from "../payload.ts";
import { roleOrganisation } from "../role.ts";
import type { Body } from "../record.ts";
import { verifyInclusion } from "../tree.ts";
import { covering, type Check, type Proven } from "./check.ts";
import { itemUri, tagUri } from "./object.ts";
import type { ConflictKind, Custody, JourneyEvent } from "./facts.ts";
import type { Leg } from "./verdict.ts";

/** An event that the passport shows. */
export interface Happened {
  event: Event;
  from: Proven;
  n: number; // which evidence
}

/** One object in one event. */
export interface Mention {
  of: Happened;
  object: string;
  prev: Uint8Array;
  list: number; // 0: by name
  tid?: Uint8Array;
  gap?: boolean; // events before it are not shown
}

/** A time in which the item, or an object, was in a carrier: [from, to) ms. */
export interface Window {
  object: string;
  from: number;
  to: number;
}

export interface Given {
  handover: Handover | FirstHandover;
  from: Proven;
  n: number;
  object: string; // the item, or the carrier it was handed over with
}

type FirstHandover = Omit<Handover, "moments"> & { moments?: undefined };
type AnyAcceptance = Omit<Acceptance, "moments"> & { moments?: Moment[] };

export interface History {
  item: string; // the item's name in events
  events: Happened[];
  shown: Set<string>; // ids of the events
  mentions: Map<string, Mention[]>;
  inputs: Map<number, string[]>; // of an event's evidence, the inputs that are shown
  chains: Map<string, Mention[]>; // that were put in order
  spans: Map<string, Window[]>; // of chains: what they were packed in
  carriers: Window[];
  seen: Map<object, string>; // sightings of carriers' tags
  names: Map<string, string>; // of organisations
  tid?: Uint8Array; // of the item's tag when it was commissioned
  handovers: Given[]; // of the item, by time
  acceptances: { acceptance: AnyAcceptance; from: Proven; n: number }[];
  moments: Map<number, Moment[]>; // by evidence
  transfers: Map<number, number>; // of a statement's evidence, which of handovers it is or accepts
}

const always = 2 ** 48; // after every time
const maxWindows = 4096;
const byName = 0;
const listItems = 6;
const listInputs = 7;

export function begin({ gtin, serial }: { gtin: string; serial: string }): History {
  return {
    item: itemUri(gtin, serial),
    events: [],
    shown: new Set(),
    mentions: new Map(),
    inputs: new Map(),
    chains: new Map(),
    spans: new Map(),
    carriers: [],
    seen: new Map(),
    names: new Map(),
    handovers: [],
    acceptances: [],
    moments: new Map(),
    transfers: new Map(),
  };
}

/** Notes the name of an organisation. */
export function name(c: Check, { role, subject, name }: Identity): void {
  if (c.history && role === roleOrganisation && name) c.history.names.set(subject, name);
}

/** Notes what an organisation says; a passport of version 1 has the first version of it. */
export function hear(c: Check, from: Proven, said: unknown): void {
  const n = c.evidence.indexOf(from);
  const x = said as { version: number; moments?: Moment[] };
  const h = c.history;
  need(x.version === 1 || h, `statement ${n} of version 2 in a passport of version 1`);
  if (!h) return;
  if (x.moments) h.moments.set(n, x.moments);
  switch (from.statement.kind) {
    case "handover":
      h.handovers.push({ handover: said as Handover, from, n, object: "" });
      break;
    case "acceptance":
      h.acceptances.push({ acceptance: said as AnyAcceptance, from, n });
      break;
    default:
      if (x.version === 2) h.events.push({ event: said as Event, from, n });
  }
}

const named = (h: History, o: string): string | undefined => (o === h.item ? undefined : o);

/** Notes a contradiction; it is shown and never resolved. */
export function contradict(c: Check, h: History, kind: ConflictKind, at: number, object: string): void {
  (c.verdict.conflicts ||= []).push(withObject({ kind, at }, named(h, object)));
}

/** What JSON has no word for is left out. */
function withObject<T extends object>(facts: T, object?: string): T & { object?: string } {
  return object ? Object.assign(facts, { object }) : facts;
}

/**
 * Opens what is shown of the events' lists, puts the item's events in order and
 * finds what it was carried in and who had it.
 */
export function members(c: Check, h: History): void {
  const events = new Map(h.events.map((e) => [e.n, e]));
  const mention = (m: Mention): void => {
    const all = h.mentions.get(m.object);
    if (all) all.push(m);
    else h.mentions.set(m.object, [m]);
  };
  for (const of of h.events) {
    h.shown.add(hex(of.from.statement.id));
    for (const { object, prev } of of.event.objects) mention({ of, object, prev, list: byName });
  }
  const all = c.passport.members || [];
  all.forEach((m, i) => {
    const { evidence, list, index, leaf, path } = m;
    c.failing = "malformed";
    const last = all[i - 1];
    const order = last && (last.evidence - evidence || last.list - list || last.index - index);
    need(!last || order < 0, `member ${i} is out of order`);
    c.failing = "event";
    const of = events.get(evidence);
    const root = of && (list === listItems ? of.event.items : of.event.inputs);
    need(of && root, `member ${i}: statement ${evidence} is no event with list ${list}`);
    c.failing = "record";
    verifyInclusion(leaf, index, root.size, root.root, path);
    c.failing = "malformed";
    const item = parseItem(leaf);
    c.failing = "event";
    need(!item.tid || (of.event.action === commission && list === listItems), `member ${i} tells a tag that it may not`);
    if (list === listInputs) h.inputs.set(of.n, (h.inputs.get(of.n) || []).concat(item.object));
    mention(Object.assign({ of, list }, item));
  });
  c.failing = "event";
  for (const m of chain(c, h, h.item)) if (m.tid) h.tid = m.tid;
  within(c, h, h.item, 0, always, 0);
  tell(c, h);
  custody(c, h);
}

/** All events of an object that are shown, each after the one it names as the one before. */
function chain(c: Check, h: History, object: string): Mention[] {
  const had = h.chains.get(object);
  if (had) return had;
  const all = h.mentions.get(object) || [];
  const after = new Map<string, Mention>();
  const about = new Set<string>();
  for (const m of all) {
    const id = hex(m.of.from.statement.id);
    const prev = hex(m.prev);
    need(!about.has(id) && !after.has(prev), `${object} is twice in an event, or two of its events follow one`);
    about.add(id);
    after.set(prev, m);
  }
  const starts = all.filter((m) => {
    const prev = hex(m.prev);
    if (about.has(prev)) return false;
    need(!h.shown.has(prev), `the event of ${object} before one of its events is of other objects`);
    m.gap = !isZero(m.prev);
    return true;
  });
  starts.sort((a, b) => Number(a.gap) - Number(b.gap) || a.of.event.at - b.of.event.at);
  const out: Mention[] = [];
  for (const start of starts) {
    if (start.gap) (c.verdict.withheld_events ||= []).push(withObject({ before: start.of.event.at }, named(h, object)));
    for (let m: Mention | undefined = start; m; m = after.get(hex(m.of.from.statement.id))) {
      if (out.length > 0 && m.of.event.at < out[out.length - 1].of.event.at) contradict(c, h, "time", m.of.event.at, object);
      out.push(m);
    }
  }
  need(out.length === all.length, `events of ${object} follow each other in a circle`);
  h.chains.set(object, out);
  return out;
}

/** Finds what an object was in between from and to, and what that was in. */
function within(c: Check, h: History, object: string, from: number, to: number, depth: number): void {
  if (depth === 4) return;
  for (const s of packed(c, h, object)) {
    const w = { object: s.object, from: Math.max(s.from, from), to: Math.min(s.to, to) };
    if (w.from >= w.to) continue;
    need(h.carriers.length < maxWindows, "the item was in too many carriers");
    h.carriers.push(w);
    within(c, h, w.object, w.from, w.to, depth + 1);
  }
}

/** The times in which an object was packed in a parent. */
function packed(c: Check, h: History, object: string): Window[] {
  const had = h.spans.get(object);
  if (had) return had;
  const out: Window[] = [];
  let open: Window | undefined;
  const end = (at: number): void => {
    if (open) open.to = Math.min(open.to, at);
    open = undefined;
  };
  for (const { of, list, gap } of chain(c, h, object)) {
    const { action, at, objects } = of.event;
    if (list === listItems && action === pack) {
      if (open) contradict(c, h, "packing", at, object);
      end(at);
      open = { object: objects[0].object, from: at, to: emptied(c, h, objects[0].object, of) };
      out.push(open);
    } else if (list === listItems && action === unpack) {
      if (!(open && open.object === objects[0].object) && !gap) contradict(c, h, "packing", at, object);
      else end(at);
    } else if (list === listInputs || action === decommission) {
      end(at);
    }
  }
  h.spans.set(object, out);
  return out;
}

/** When all that is in a parent was taken out, after one packing. */
function emptied(c: Check, h: History, parent: string, packing: Happened): number {
  let since = false;
  for (const { of, list } of chain(c, h, parent)) {
    const { action, at, items } = of.event;
    if (of === packing) since = true;
    else if (since && ((list === byName && action === unpack && items.size === 0) || action === decommission)) return at;
  }
  return always;
}

/** Lists the item's events, and those of its carriers while they carried it. */
function tell(c: Check, h: History): void {
  const told = new Set<Happened>();
  const all = h.chains.get(h.item)!.slice();
  for (const m of all) told.add(m.of);
  for (const w of h.carriers) {
    for (const m of h.chains.get(w.object)!) {
      const { at } = m.of.event;
      if (told.has(m.of) || at < w.from || at > w.to) continue;
      told.add(m.of);
      all.push(m);
    }
  }
  all.sort((a, b) => a.of.event.at - b.of.event.at || a.of.n - b.of.n);
  const journey = all.map(({ of, object, list }): JourneyEvent => {
    const { action, at, place, step, objects } = of.event;
    const by = of.from.identity!.subject;
    const e: JourneyEvent = withObject({ action, at, by, anchor: covering(c, of.from.place) }, named(h, object));
    if (place) e.place = place;
    if (step) e.step = step;
    const by_name = h.names.get(by);
    if (by_name) e.by_name = by_name;
    if (action === pack || action === unpack) e.parent = objects[0].object;
    if (list === listInputs) e.input = true;
    return e;
  });
  if (journey.length > 0) c.verdict.journey = journey;
}

/** Puts the item's changes of custody in order and finds which the takers accepted. */
function custody(c: Check, h: History): void {
  const given = (objects: string[], at: number): string => {
    if (objects.includes(h.item)) return h.item;
    const w = h.carriers.find((w) => w.from <= at && at < w.to && objects.includes(w.object));
    return w ? w.object : "";
  };
  h.handovers = h.handovers.filter((x) => (x.object = given(x.handover.objects, x.handover.at)));
  h.handovers.sort((a, b) => a.handover.at - b.handover.at);
  const all = h.handovers.map((x, i): Custody => {
    const { at, to, place } = x.handover;
    const giver = x.from.identity!.subject;
    const f: Custody = withObject({ at, from: giver, to, accepted: false, anchor: covering(c, x.from.place) }, named(h, x.object));
    const names = [h.names.get(giver), h.names.get(to)];
    if (names[0]) f.from_name = names[0];
    if (names[1]) f.to_name = names[1];
    if (place) f.place = place;
    h.transfers.set(x.n, i);
    for (const { acceptance: a, from, n } of h.acceptances) {
      const counts = equal(a.handover, x.from.statement.id) && from.identity!.subject === to && a.from === giver && a.objects.includes(x.object);
      if (!counts) continue;
      h.transfers.set(n, i);
      if (!f.accepted) {
        f.accepted = true;
        if (a.at) f.accepted_at = a.at;
      }
    }
    if (i > 0 && h.handovers[i - 1].handover.to !== giver) contradict(c, h, "custody", at, x.object);
    return f;
  });
  if (all.length > 0) c.verdict.custody = all;
}

type Sighting = NonNullable<Body["sighting"]>;

/**
 * A sighting as it counts: of the item, or of what carried it then, no longer than
 * the item was in it. Undefined for any other.
 */
export function counted(c: Check, h: History, e: Proven, s: Sighting): Sighting | undefined {
  const uri = tagUri(s.epc);
  if (uri !== "" && uri === h.item) {
    if (h.tid && s.tid && !equal(h.tid, s.tid)) contradict(c, h, "tid", s.first, uri);
    return s;
  }
  const w = isWall(e.frame!) && h.carriers.find((w) => w.object === uri && w.from <= s.first && s.first < w.to);
  if (!w) return undefined;
  const part = Object.assign({}, s, { last: Math.min(s.last, w.to) });
  h.seen.set(part, uri);
  return part;
}

/** Names the carriers whose tags a leg rests on. */
export function carried(h: History, leg: Leg, stay: { sighting: Sighting }[]): void {
  const all = new Set(stay.map((s) => h.seen.get(s.sighting)));
  all.delete(undefined);
  if (all.size > 0) leg.carriers = [...all] as string[];
}

/** The transformations that the item came out of. */
export const made = (h: History): Happened[] =>
  h.chains
    .get(h.item)!
    .filter((m) => m.list === listItems && m.of.event.action === transform)
    .map((m) => m.of);
