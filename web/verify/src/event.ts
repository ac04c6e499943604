// The second version of what organisations sign: events and changes of custody.
// docs/wire-format.md section 2 is normative.

import { equal, hex, isZero } from "./bytes.ts";
import {
  between,
  bytesOf,
  checked,
  decode,
  hash,
  items,
  list,
  nonEmpty,
  optional,
  sized,
  struct,
  time,
  tuple,
  uint53,
  type Of,
  type Read,
} from "./cbor.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { label, name, uri } from "./names.ts";
import { checkHead, readHead } from "./trace.ts";

/** What an event did to its objects. */
export const commission = 1;
export const pack = 2;
export const unpack = 3;
export const transform = 4;
export const decommission = 6;

const two = between(2, 2);
const eventOf = tuple({ object: uri, prev: hash });

/** A salted Merkle root over a list of items. */
export type ItemsRoot = Of<typeof readItemsRoot>;
const readItemsRoot = checked(tuple({ root: hash, size: uint53 }), (r) => {
  need(r.size > 0 || equal(r.root, sha256(new Uint8Array(0))), "root of 0 items is not one of so many");
});

/** An EPCIS 2.0 event, tied to each object's event before. */
export type Event = Of<typeof readEvent>;
const readEvent = checked(
  struct({
    version: two,
    document: hash, // of the JSON-LD; verifiers go by what follows
    action: between(commission, decommission),
    at: time,
    objects: list(eventOf, 0, 16), // of pack and unpack the parent alone
    items: readItemsRoot,
    inputs: optional(readItemsRoot),
    place: nonEmpty(label),
    step: nonEmpty(label),
  }),
  ({ action, objects, items, inputs }) => {
    need(new Set(objects.map((o) => o.object)).size === objects.length, "object named twice");
    need(!inputs === (action !== transform) && (!inputs || inputs.size > 0), "inputs are of a transformation, which has some");
    need((action !== pack && action !== unpack) || objects.length === 1, "packing of other than 1 parents");
    need(items.size > 0 || (objects.length > 0 && action !== pack), "event of no object");
  },
);

/** One object of an event's list, with the statement id of its event before. */
export interface Item {
  object: string;
  prev: Uint8Array;
  tid?: Uint8Array;
}

const salt = sized(16);
const readTid = bytesOf(4, 64);

const readItem: Read<Item> = () => {
  const n = items(4);
  need(n === 3 || n === 4, "malformed item");
  salt();
  const x: Item = { object: uri(), prev: hash() };
  if (n > 3) x.tid = readTid();
  return x;
};

/** Decodes an item's leaf and drops its salt. */
export function parseItem(leaf: Uint8Array): Item {
  return decode(leaf, readItem);
}

/** The state of one channel at a change of custody. */
export type Moment = Of<typeof readMoment>;
const readMoment = checked(tuple({ device: hash, channel: name, head: readHead }), (m) => checkHead(m.head));

const objects = list(uri, 1, 256); // canonical Digital Links
const readMoments = checked(list(readMoment, 1, 16), (all) => {
  need(new Set(all.map((m) => hex(m.device) + m.channel)).size === all.length, "moment of a channel twice");
});
const moments = optional(readMoments);

function hasMoments(t: { moments?: Moment[] }): void {
  need(t.moments, "malformed: version 2 without moments");
}

/** A custodian's word that he gave objects to another. */
export type Handover = Of<typeof readHandover>;
const readHandover = checked(struct({ version: two, objects, at: time, to: uri, place: nonEmpty(label), moments }), hasMoments);

/** A custodian's word that he took objects over. */
export type Acceptance = Of<typeof readAcceptance>;
const readAcceptance = checked(struct({ version: two, objects, at: time, from: uri, handover: hash, moments }), (a) => {
  need(!isZero(a.handover), "acceptance of nothing");
  hasMoments(a);
});

const second = { event: readEvent, handover: readHandover, acceptance: readAcceptance };

/** What a kind's second version decodes to. */
export type Later<K> = K extends keyof typeof second ? Of<(typeof second)[K]> : never;

/** The reader of a payload's second version, if it says that it is one. */
export function later(kind: string, payload: Uint8Array): Read<unknown> | undefined {
  return payload[1] === 1 && payload[2] === 2 && second.hasOwnProperty(kind) ? second[kind as keyof typeof second] : undefined;
}
