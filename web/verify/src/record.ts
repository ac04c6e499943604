// Records: what a frame can show alone. Each schema is the CDDL of
// docs/wire-format.md section 3; what CDDL cannot say is checked beside it.

import { equal } from "./bytes.ts";
import {
  between,
  bytes,
  bytesOf,
  checked,
  decode,
  hash,
  int,
  items,
  list,
  nonEmpty,
  optional,
  peek,
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
import { about, fail, need } from "./fail.ts";
import { label, name } from "./names.ts";
import type { Frame } from "./payload.ts";
import { checkHead, readHead, readStart } from "./trace.ts";
import { verifyInclusion } from "./tree.ts";

const readGapList = checked(list(int), (gaps) => need(gaps.length > 1, "list of fewer than two gaps"));
const readGaps: Read<number[]> = () => (peek() === 4 ? readGapList() : [int()]);

/** The readings of one channel in one frame; times in ms. */
export type Block = Of<typeof readBlock>;
const readBlock = checked(
  struct({
    channel: name,
    prev: optional(time), // of the trace's reading before
    first: time,
    gaps: optional(readGaps), // between readings; one when they are all equal
    values: list(milli, 1),
    raw: nonEmpty(bytesOf(1, 65536)),
  }),
  (b) => {
    const { gaps, values, raw } = b;
    const n = values.length - 1;
    need(!raw || raw.length % values.length === 0, "raw bytes are not equally many for each value");
    need(b.first > (b.prev || 0), "block times do not increase");
    need(gaps ? n > 0 && (gaps.length === 1 || gaps.length === n) : n === 0, "values and gaps do not go together");
    need(!gaps || gaps.length === 1 || gaps.some((g) => g !== gaps[0]), "equal gaps written as a list");
    blockTimes(b).reduce((before, t) => {
      need(t > before && t <= maxTime, "gap out of bounds");
      return t;
    });
  },
);

/** The times of a block's readings in ms. */
export function blockTimes({ first, gaps, values }: { first: number; gaps?: number[]; values: number[] }): number[] {
  let t = first;
  return values.map((_, i) => (i > 0 ? (t += gaps![gaps!.length === 1 ? 0 : i - 1]) : t));
}

/** The state of a channel's trace after this frame's block. */
export type HeadRecord = Of<typeof readHeadRecord>;
const readHeadRecord = checked(struct({ channel: name, head: readHead, start: optional(readStart) }), (h) => {
  const { start, head } = h;
  need(!start || (start.channel === h.channel && equal(start.hash, head.start)), "trace start is not the one the head names");
  checkHead(head);
});

/** One tag seen by one antenna over a span. */
export type Sighting = Of<typeof readSighting>;
const tag = bytesOf(4, 64);
const readSighting = checked(
  struct({
    antenna: name,
    epc: tag,
    tid: optional(tag),
    first: time,
    last: time,
    reads: between(1, 4294967295),
    rssi: optional(between(-200, 100)), // strongest, dBm
  }),
  (s) => {
    need(s.first <= s.last, "sighting out of bounds");
  },
);

/** An event on the device itself. */
export type Happening = Of<typeof readHappening>;
const readHappening = checked(
  struct({
    type: between(1, 16),
    at: time,
    subject: nonEmpty(name),
    until: optional(time),
    count: nonEmpty(uint32),
    code: optional(between(0, 65535)),
    raw: nonEmpty(bytesOf(1, 1024)),
    seqs: optional(tuple({ from: uint53, to: uint53 })),
    words: nonEmpty(label),
  }),
  (h) => {
    need(!(h.until! < h.at) && (!h.seqs || h.seqs.from <= h.seqs.to), "happening out of bounds");
  },
);

/** A record without its salt: exactly one of these is there. */
export interface Body {
  block?: Block;
  head?: HeadRecord;
  sighting?: Sighting;
  happening?: Happening;
}

const bodies: Read<Body>[] = [
  () => ({ block: readBlock() }),
  () => ({ head: readHeadRecord() }),
  () => ({ sighting: readSighting() }),
  () => ({ happening: readHappening() }),
];

/** Reads the body of a record of a kind. */
export function readBody(kind: number): Read<Body> {
  return bodies[kind - 1] || fail(`record kind ${kind} is not one this version knows`);
}

const salt = sized(16);

const readRecord: Read<Body> = () => {
  need(items(4) === 3, "malformed record");
  salt();
  return readBody(uint())();
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
  about(`record ${d.index} of ${f.count}`, () => verifyInclusion(d.record, d.index, f.count, f.root, d.path));
  return openBody(d.record);
}
