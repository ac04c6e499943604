// Payloads of statements. Each schema is the CDDL of docs/wire-format.md,
// sections 2 and 3; what CDDL cannot say is checked beside it.

import { compare, hex, isZero } from "./bytes.ts";
import {
  between,
  bytesOf,
  decode,
  hash,
  list,
  nonEmpty,
  one,
  optional,
  sized,
  struct,
  textOf,
  time,
  tuple,
  uint32,
  uint53,
  yes,
  type Of,
  type Read,
} from "./cbor.ts";
import { checkDigest, readDigest, readLimit } from "./digest.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { readKey } from "./key.ts";
import { cumulative, single } from "./rule.ts";
import { roleDevice } from "./statement.ts";

/** An optional text: absent rather than empty. */
export const label = textOf(0, 256);
export const name = textOf(1, 64);
const uri = textOf(1, 256);
const unit = textOf(1, 16);
const outOfBounds = "out of bounds";

/** Words in several languages (BCP 47). */
export type Texts = Of<typeof readTexts>;
const readTexts = list(tuple({ lang: textOf(2, 16), words: label }), 1, 8);

const readClock = struct({
  bootId: [1, sized(16)],
  bootCount: [2, uint32],
  boottime: [3, between(0, 9223372036854775807)], // ns since boot, rounded
  wall: [4, time], // Unix ms, 0 when unset
  quality: [5, between(0, 3)], // unset, restored, rtc, synchronised
  maxError: [6, uint32], // ms
});

/** What bounds a frame's time from below. */
const afterFields = tuple({ origin: hash, size: uint53, root: hash, chain: label, height: uint53, block: hash });
const readAfter: Read<Of<typeof afterFields>> = (r) => {
  const a = afterFields(r);
  const none = a.chain === "";
  need(none === (a.height === 0) && none === isZero(a.block), "after out of bounds");
  return a;
};

/** What a device signs at a time. */
export type Frame = Of<typeof frameFields>;
const frameFields = struct({
  version: [1, one],
  seq: [2, uint53],
  prev: [3, hash],
  clock: [4, readClock],
  span: [5, tuple({ from: time, to: time })], // ms, wall or since boot as the clock's quality says
  root: [6, hash],
  count: [7, between(0, 8192)],
  plan: [8, hash],
  after: [9, readAfter, optional],
  note: [10, label, nonEmpty],
});

const readFrame: Read<Frame> = (r) => {
  const f = frameFields(r);
  need(f.span.from <= f.span.to, "span out of bounds");
  need((f.clock.quality === 0) === (f.clock.wall === 0), f.clock.wall ? "wall time on an unset clock" : "no wall time");
  return f;
};

/** Whether a frame's times are Unix ms; else they are ms since boot. */
export function isWall(f: Frame): boolean {
  return f.clock.quality > 0;
}

/** The authority's word that a key is somebody's. */
export type Identity = Of<typeof identityFields>;
const identityFields = struct({
  version: [1, one],
  key: [2, readKey],
  subject: [3, uri], // the issuer of what the key signs
  role: [4, between(1, 5)],
  epoch: [5, uint53], // that this key opens, of a device
  from: [6, time],
  to: [7, time],
  replaces: [8, hash, optional],
  simulated: [9, yes, optional],
  name: [10, label, nonEmpty],
});

const readIdentity: Read<Identity> = (r) => {
  const i = identityFields(r);
  need(i.from <= i.to && (i.role === roleDevice || i.epoch === 0), "identity " + outOfBounds);
  return i;
};

/** The keys in force and those revoked, at a ledger size. */
export type KeyStatus = Of<typeof keyStatusFields>;
const keyStatusFields = struct({
  version: [1, one],
  origin: [2, uri],
  size: [3, uint53],
  at: [4, time],
  inForce: [5, list(hash)],
  revoked: [6, list(tuple({ kid: hash, epoch: uint53, seq: uint53 }))], // that seq and later are void
});

const readKeyStatus: Read<KeyStatus> = (r) => {
  const k = keyStatusFields(r);
  k.inForce.forEach((id, i) => need(i === 0 || compare(k.inForce[i - 1], id) < 0, "keys in force are not ascending"));
  const force = new Set(k.inForce.map(hex));
  need(!k.revoked.some((v) => force.has(hex(v.kid))), "key revoked and in force");
  return k;
};

const channelFields = struct({
  device: [1, hash],
  name: [2, name],
  unit: [3, unit], // SenML
  limits: [4, list(readLimit, 0, 8)],
  nominal: [5, between(1, 86400000)], // ms between readings
  closeness: [6, between(0, 3)], // declared, same room, same box, on the item
  calibration: [7, hash, optional],
});

/** A plan's entry for one channel; its hash is what a trace's start names. */
export type Channel = Of<typeof channelFields> & { hash: Uint8Array };
const readChannel: Read<Channel> = (r) => {
  const [c, encoded] = r.raw(channelFields);
  return Object.assign(c, { hash: sha256(encoded) });
};

/** One room, vehicle or cabinet. */
export type Zone = Of<typeof readZone>;
const readZone = struct({
  id: [1, name],
  name: [2, readTexts],
  channels: [3, list(readChannel)],
  antennas: [4, list(struct({ device: [1, hash], name: [2, name], role: [3, between(1, 3)] }))],
  reRead: [5, time], // sightings no further apart mean "seen all along"
  neighbours: [6, list(name), nonEmpty],
});

/** Which devices, channels and antennas serve which zone of a site. */
export type Plan = Of<typeof planFields>;
const planFields = struct({
  version: [1, one],
  seq: [2, uint53],
  prev: [3, hash],
  site: [4, readTexts],
  zones: [5, list(readZone, 1, 256)],
});

const readPlan: Read<Plan> = (r) => {
  const p = planFields(r);
  need((p.seq === 0) === isZero(p.prev), "plan " + outOfBounds);
  const seen = new Set<string>();
  const once = (key: string) => {
    need(!seen.has(key), "zone, channel or antenna twice");
    seen.add(key);
  };
  for (const z of p.zones) {
    once("z" + z.id);
    for (const c of z.channels) once("c" + hex(c.device) + c.name);
    for (const a of z.antennas) once("a" + hex(a.device) + a.name);
  }
  return p;
};

/** A criterion is broken by time beyond a limit of at least for_ms; 0: by any. */
export type Criterion = Of<typeof readCriterion>;
const readCriterion = tuple({ unit, limit: readLimit, kind: between(single, cumulative), for_ms: time });

/** A brand's word on what a GTIN is and which rule judges its items. */
export type Product = Of<typeof readProduct>;
const readProduct = struct({
  version: [1, one],
  gtin: [2, gtin],
  lot: [3, label, nonEmpty],
  name: [4, readTexts],
  brand: [5, readTexts],
  rule: [6, list(readCriterion, 1, 16)],
});

function gtin(r: Parameters<typeof uri>[0]): string {
  const s = uri(r);
  need(/^\d{14}$/.test(s), "gtin is not 14 digits");
  return s;
}

const objects = list(uri, 1, 256); // EPC URIs or Digital Links

/** A custodian's word that he gave objects to another. */
const readHandover = struct({ version: [1, one], objects: [2, objects], at: [3, time], to: [4, uri], place: [5, label, nonEmpty] });

/** A custodian's word that he took objects over. */
const acceptanceFields = struct({ version: [1, one], objects: [2, objects], at: [3, time], from: [4, uri], handover: [5, hash] });
const readAcceptance: Read<Of<typeof acceptanceFields>> = (r) => {
  const a = acceptanceFields(r);
  need(!isZero(a.handover), "acceptance of nothing");
  return a;
};

/** An EPCIS 2.0 event (JSON-LD), tied to each object's event before. */
const readEvent = struct({
  version: [1, one],
  epcis: [2, bytesOf(1, 65536)],
  objects: [3, list(tuple({ object: uri, prev: hash }), 1, 256)],
  items: [4, tuple({ root: hash, size: uint53 }), optional],
});

/** What is kept of one erased record: a block stays placed in its trace. */
const erasedFields = struct({
  index: [1, between(0, 8191)],
  hash: [2, hash],
  kind: [3, between(1, 4)],
  block: [4, tuple({ channel: name, start: hash, n: between(0, Number.MAX_SAFE_INTEGER - 1), digest: readDigest }), optional],
});
const readErased: Read<Of<typeof erasedFields>> = (r) => {
  const e = erasedFields(r);
  need((e.kind === 1) === (e.block !== undefined), "erased record " + outOfBounds);
  if (e.block) checkDigest(e.block.digest);
  return e;
};

/** A site's word that it no longer holds some records of a frame. */
const erasureFields = struct({ version: [1, one], frame: [2, hash], at: [3, time], why: [4, uri], records: [5, list(readErased, 1)] });
const readErasure: Read<Of<typeof erasureFields>> = (r) => {
  const e = erasureFields(r);
  e.records.forEach((x, i) => need(i === 0 || x.index > e.records[i - 1].index, "erased records are not ascending"));
  return e;
};

/** The schema of each kind of statement's payload. */
const kinds = {
  frame: readFrame,
  identity: readIdentity,
  keystatus: readKeyStatus,
  plan: readPlan,
  product: readProduct,
  handover: readHandover,
  acceptance: readAcceptance,
  event: readEvent,
  erasure: readErasure,
};

export type Kind = keyof typeof kinds;

/** Decodes a statement's payload as the kind that it names. */
export function readPayload<K extends Kind>(kind: K, payload: Uint8Array): Of<(typeof kinds)[K]> {
  try {
    return decode(payload, kinds[kind] as Read<Of<(typeof kinds)[K]>>);
  } catch (e) {
    throw new Error(`${kind}: ${(e as Error).message}`);
  }
}
