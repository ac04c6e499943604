// Records: what a frame can show alone. Each schema is the CDDL of
// docs/wire-format.md section 3; what CDDL cannot say is checked beside it.

import { equal } from "./bytes.ts";
import {
  between,
  bytes,
  bytesOf,
  decode,
  hash,
  int,
  list,
  nonEmpty,
  optional,
  sized,
  struct,
  time,
  tuple,
  uint,
  uint32,
  uint53,
  type Of,
  type Read,
} from "./cbor.ts";
import { maxTime, milli } from "./digest.ts";
import { need } from "./fail.ts";
import { label, name, type Frame } from "./payload.ts";
import { checkHead, readHead, readStart } from "./trace.ts";
import { verifyInclusion } from "./tree.ts";

const readGaps: Read<number[]> = (r) => {
  if (r.peek() !== 4) return [r.int()];
  const gaps = list(int)(r);
  need(gaps.length > 1, "list of fewer than two gaps");
  return gaps;
};

/** The readings of one channel in one frame; times in ms. */
export type Block = Of<typeof blockFields>;
const blockFields = struct({
  channel: [1, name],
  prev: [2, time, optional], // of the trace's reading before
  first: [3, time],
  gaps: [4, readGaps, optional], // between readings; one when they are all equal
  values: [5, list(milli, 1)],
  raw: [6, bytesOf(1, 65536), nonEmpty],
});

const readBlock: Read<Block> = (r) => {
  const b = blockFields(r);
  const { gaps } = b;
  const n = b.values.length - 1;
  need(b.first > (b.prev ?? 0), "block times do not increase");
  need(gaps === undefined ? n === 0 : gaps.length === n || (gaps.length === 1 && n > 0), "values and gaps do not go together");
  if (gaps === undefined) return b;
  need(gaps.length === 1 || gaps.some((g) => g !== gaps[0]), "equal gaps written as a list");
  let end = b.first;
  for (let i = 0; i < n; i++) {
    const g = gaps[gaps.length === 1 ? 0 : i];
    end += g;
    need(g > 0 && end <= maxTime, "gap out of bounds");
  }
  return b;
};

/** The times of a block's readings in ms. */
export function blockTimes(b: Block): number[] {
  let t = b.first;
  return b.values.map((_, i) => {
    if (i > 0) t += b.gaps!.length === 1 ? b.gaps![0] : b.gaps![i - 1];
    return t;
  });
}

/** The state of a channel's trace after this frame's block. */
export type HeadRecord = Of<typeof headFields>;
const headFields = struct({ channel: [1, name], head: [2, readHead], start: [3, readStart, optional] });

const readHeadRecord: Read<HeadRecord> = (r) => {
  const h = headFields(r);
  const { start, head } = h;
  need(start === undefined || (start.channel === h.channel && equal(start.hash, head.start)), "trace start is not the one the head names");
  checkHead(head);
  return h;
};

/** One tag seen by one antenna over a span. */
export type Sighting = Of<typeof sightingFields>;
const tag = bytesOf(4, 64);
const sightingFields = struct({
  antenna: [1, name],
  epc: [2, tag],
  tid: [3, tag, optional],
  first: [4, time],
  last: [5, time],
  reads: [6, between(1, 4294967295)],
  rssi: [7, between(-200, 100), optional], // strongest, dBm
});

const readSighting: Read<Sighting> = (r) => {
  const s = sightingFields(r);
  need(s.first <= s.last, "sighting out of bounds");
  return s;
};

/** An event on the device itself. */
export type Happening = Of<typeof happeningFields>;
const happeningFields = struct({
  type: [1, between(1, 14)],
  at: [2, time],
  subject: [3, name, nonEmpty],
  until: [4, time, optional],
  count: [5, uint32, nonEmpty],
  code: [6, between(0, 65535), optional],
  raw: [7, bytesOf(1, 1024), nonEmpty],
  seqs: [8, tuple({ from: uint53, to: uint53 }), optional],
  words: [9, label, nonEmpty],
});

const readHappening: Read<Happening> = (r) => {
  const h = happeningFields(r);
  need((h.until ?? h.at) >= h.at && (!h.seqs || h.seqs.from <= h.seqs.to), "happening out of bounds");
  return h;
};

/** A record without its salt: exactly one of these is there. */
export interface Body {
  block?: Block;
  head?: HeadRecord;
  sighting?: Sighting;
  happening?: Happening;
}

/** Reads the body of a record of a kind. */
export function readBody(kind: number): Read<Body> {
  switch (kind) {
    case 1:
      return (r) => ({ block: readBlock(r) });
    case 2:
      return (r) => ({ head: readHeadRecord(r) });
    case 3:
      return (r) => ({ sighting: readSighting(r) });
    case 4:
      return (r) => ({ happening: readHappening(r) });
  }
  throw new Error(`record kind ${kind} is not one this version knows`);
}

const salt = sized(16);

const readRecord: Read<Body> = (r) => {
  need(r.items(4) === 3, "malformed record");
  salt(r);
  return readBody(r.uint())(r);
};

/** Decodes a record and drops its salt. */
export function openBody(record: Uint8Array): Body {
  return decode(record, readRecord);
}

/** One record shown alone, with its RFC 9162 inclusion path. */
export type Disclosed = Of<typeof readDisclosed>;
export const readDisclosed = tuple({ index: uint, record: bytes, path: list(hash) });

/** Checks a disclosed record against the frame that signed it. */
export function openRecord(d: Disclosed, f: Pick<Frame, "count" | "root">): Body {
  try {
    verifyInclusion(d.record, d.index, f.count, f.root, d.path);
  } catch (e) {
    throw new Error(`record ${d.index} of ${f.count}: ${(e as Error).message}`);
  }
  return openBody(d.record);
}
