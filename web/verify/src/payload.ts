// Payloads of statements. Each schema is the CDDL of docs/wire-format.md,
// sections 2 and 3; what CDDL cannot say is checked beside it.

import { compare, hex, isZero } from "./bytes.ts";
import {
  between,
  bytesOf,
  checked,
  decode,
  hash,
  hashed,
  list,
  maxInt,
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
import { about, need } from "./fail.ts";
import { readKey } from "./key.ts";
import { label, name, uri } from "./names.ts";
import { roleAuthority, roleBrand, roleDevice, roleOrganisation, roleSite } from "./role.ts";
import { cumulative, single } from "./rule.ts";
import { later, type Later } from "#event";

const unit = textOf(1, 16);
const outOfBounds = "out of bounds";

/** Words in several languages (BCP 47). */
export type Texts = Of<typeof readTexts>;
const readTexts = list(tuple({ lang: textOf(2, 16), words: label }), 1, 8);

const readClock = struct({
  bootId: sized(16),
  bootCount: uint32,
  boottime: between(0, 9223372036854775807), // ns since boot, rounded
  wall: time, // Unix ms, 0 when unset
  quality: between(0, 3), // unset, restored, rtc, synchronised
  maxError: uint32, // ms
});

/** What bounds a frame's time from below. */
const readAfter = checked(tuple({ origin: hash, size: uint53, root: hash, chain: label, height: uint53, block: hash }), (a) => {
  const none = a.chain === "";
  need(none === (a.height === 0) && none === isZero(a.block), "after out of bounds");
});

/** What a device signs at a time. */
export type Frame = Of<typeof readFrame>;
const readFrame = checked(
  struct({
    version: one,
    seq: uint53,
    prev: hash,
    clock: readClock,
    span: tuple({ from: time, to: time }), // ms, wall or since boot as the clock's quality says
    root: hash,
    count: between(0, 8192),
    plan: hash,
    after: optional(readAfter),
    note: nonEmpty(label),
  }),
  (f) => {
    need(f.span.from <= f.span.to, "span out of bounds");
    need((f.clock.quality === 0) === (f.clock.wall === 0), f.clock.wall ? "wall time on an unset clock" : "no wall time");
  },
);

/** Whether a frame's times are Unix ms; else they are ms since boot. */
export function isWall(f: Frame): boolean {
  return f.clock.quality > 0;
}

/** The authority's word that a key is somebody's. */
export type Identity = Of<typeof readIdentity>;
const readIdentity = checked(
  struct({
    version: one,
    key: readKey,
    subject: uri, // the issuer of what the key signs
    role: between(1, 5),
    epoch: uint53, // that this key opens, of a device
    from: time,
    to: time,
    replaces: optional(hash),
    simulated: optional(yes),
    name: nonEmpty(label),
  }),
  (i) => {
    need(i.from <= i.to && (i.role === roleDevice || i.epoch === 0), "identity " + outOfBounds);
  },
);

/** The keys in force and those revoked, at a ledger size. */
export type KeyStatus = Of<typeof readKeyStatus>;
const readKeyStatus = checked(
  struct({
    version: one,
    origin: uri,
    size: uint53,
    at: time,
    inForce: list(hash),
    revoked: list(tuple({ kid: hash, epoch: uint53, seq: uint53 })), // that seq and later are void
  }),
  (k) => {
    k.inForce.forEach((id, i) => need(i === 0 || compare(k.inForce[i - 1], id) < 0, "keys in force are not ascending"));
    const force = new Set(k.inForce.map(hex));
    need(!k.revoked.some((v) => force.has(hex(v.kid))), "key revoked and in force");
  },
);

/** A plan's entry for one channel; its hash is what a trace's start names. */
export type Channel = Of<typeof readChannel>;
const readChannel = hashed(
  struct({
    device: hash,
    name: name,
    unit: unit, // SenML
    limits: list(readLimit, 0, 8),
    nominal: between(1, 86400000), // ms between readings
    closeness: between(0, 3), // declared, same room, same box, on the item
    calibration: optional(hash),
  }),
);

/** One room, vehicle or cabinet. */
export type Zone = Of<typeof readZone>;
const readZone = struct({
  id: name,
  name: readTexts,
  listed: list(readChannel), // channels
  antennas: list(struct({ device: hash, name: name, role: between(1, 3) })),
  reRead: time, // sightings no further apart mean "seen all along"
  neighbours: nonEmpty(list(name)),
});

/** Which devices, channels and antennas serve which zone of a site. */
export type Plan = Of<typeof readPlan>;
const readPlan = checked(
  struct({
    version: one,
    seq: uint53,
    prev: hash,
    site: readTexts,
    zones: list(readZone, 1, 256),
  }),
  (p) => {
    need((p.seq === 0) === isZero(p.prev), "plan " + outOfBounds);
    const seen = new Set<string>();
    const once = (key: string) => {
      need(!seen.has(key), "zone, channel or antenna twice");
      seen.add(key);
    };
    for (const z of p.zones) {
      once("z" + z.id);
      for (const c of z.listed) once("c" + hex(c.device) + c.name);
      for (const a of z.antennas) once("a" + hex(a.device) + a.name);
    }
  },
);

/** A criterion is broken by time beyond a limit of at least for_ms; 0: by any. */
export type Criterion = Of<typeof readCriterion>;
const readCriterion = tuple({ unit, limit: readLimit, kind: between(single, cumulative), for_ms: time });

/** A brand's word on what a GTIN is and which rule judges its items. */
export type Product = Of<typeof readProduct>;
const readProduct = struct({
  version: one,
  gtin: checked(uri, (s) => need(/^\d{14}$/.test(s), "gtin is not 14 digits")),
  lot: nonEmpty(label),
  name: readTexts,
  brand: readTexts,
  rule: list(readCriterion, 1, 16),
});

const objects = list(uri, 1, 256); // EPC URIs or Digital Links

/** A custodian's word that he gave objects to another. */
const readHandover = struct({ version: one, objects: objects, at: time, to: uri, place: nonEmpty(label) });

/** A custodian's word that he took objects over. */
const readAcceptance = checked(struct({ version: one, objects: objects, at: time, from: uri, handover: hash }), (a) => {
  need(!isZero(a.handover), "acceptance of nothing");
});

/** An EPCIS 2.0 event (JSON-LD) of the first version, tied to each object's event before. */
const readEvent = struct({
  version: one,
  epcis: bytesOf(1, 65536),
  objects: list(tuple({ object: uri, prev: hash }), 1, 256),
  items: optional(tuple({ root: hash, size: uint53 })),
});

/** What is kept of one erased record: a block stays placed in its trace. */
const readErased = checked(
  struct({
    index: between(0, 8191),
    hash: hash,
    kind: between(1, 4),
    block: optional(tuple({ channel: name, start: hash, n: between(0, maxInt - 1), digest: readDigest })),
  }),
  (e) => {
    need((e.kind === 1) === !!e.block, "erased record " + outOfBounds);
    if (e.block) checkDigest(e.block.digest);
  },
);

/** A site's word that it no longer holds some records of a frame. */
const readErasure = checked(struct({ version: one, frame: hash, at: time, why: uri, records: list(readErased, 1) }), (e) => {
  e.records.forEach((x, i) => need(i === 0 || x.index > e.records[i - 1].index, "erased records are not ascending"));
});

/** The role whose keys sign statements of each kind, and the schema of its payload. */
const kinds = {
  frame: [roleDevice, readFrame],
  identity: [roleAuthority, readIdentity],
  keystatus: [roleAuthority, readKeyStatus],
  plan: [roleSite, readPlan],
  product: [roleBrand, readProduct],
  handover: [roleOrganisation, readHandover],
  acceptance: [roleOrganisation, readAcceptance],
  event: [roleOrganisation, readEvent],
  erasure: [roleSite, readErasure],
} as const;

export type Kind = keyof typeof kinds;

export function isKind(s: string): s is Kind {
  return kinds.hasOwnProperty(s);
}

export function roleOf(kind: Kind): number {
  return kinds[kind][0];
}

/** What a payload of a kind decodes to: its later versions, too. */
export type Payload<K extends Kind> = Of<(typeof kinds)[K][1]> | Later<K>;

/** Decodes a statement's payload as the kind that it names. */
export function readPayload<K extends Kind>(kind: K, payload: Uint8Array): Payload<K> {
  return about(kind, () => decode(payload, ((later && later(kind, payload)) || kinds[kind][1]) as Read<Payload<K>>));
}
