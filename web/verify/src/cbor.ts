// Deterministic CBOR (RFC 8949 section 4.2.1), read by schema.
//
// The reader accepts exactly what the encoder of the wire format would have
// written: shortest heads, definite lengths, map keys in bytewise order, no
// floats, no tags, no null, no optional field that is present but empty.
// Every length is checked against the bytes that are left before anything is
// allocated. docs/wire-format.md section 1 is normative.

import { fail, need } from "./fail.ts";
import { bigEndian, text } from "./bytes.ts";
import { sha256 } from "./hash.ts";

export const maxMessage = 262144; // bytes
const maxItems = 8192; // of an array or a map
const malformed = "malformed cbor";
const notDeterministic = "not deterministic cbor";

/** A function that reads one item of a schema from the message being decoded. */
export type Read<T> = () => T;

/** What a Read gives. */
export type Of<R> = R extends Read<infer T> ? T : never;

// The message that decode is in and the next byte's place: a schema's functions
// need no argument. No Read decodes another message.
let data: Uint8Array;
let at = 0;

/** Decodes one item of at most max bytes, with nothing after it. */
export function decode<T>(message: Uint8Array, read: Read<T>, max = maxMessage): T {
  need(message.length <= max, `${message.length} bytes are over the limit of ${max}`);
  data = message;
  at = 0;
  const v = read();
  need(at === data.length, malformed);
  return v;
}

/** Reads a head of a major type and gives its argument, above 2^53 rounded. */
function head(major: number): number {
  const first = data[at++];
  // Go decodes null into any field and finds out when it encodes it again.
  if (first >> 5 !== major) fail(first === 0xf6 ? notDeterministic : malformed);
  let n = first & 31;
  if (n > 23) {
    need(n < 28, malformed); // indefinite or reserved
    const size = 1 << (n - 24);
    n = 0;
    for (let i = 0; i < size; i++) n = n * 256 + data[at++];
    need(n >= (size < 2 ? 24 : 2 ** (4 * size)), at > data.length ? malformed : notDeterministic);
  }
  need(at <= data.length, malformed);
  return n;
}

/** Reads a length of at most the bytes left: each item takes at least one. */
function length(major: number): number {
  const n = head(major);
  need(n <= data.length - at, malformed);
  return n;
}

/** Reads the head of an array (major type 4) or a map (5): how many items. */
export function items(major: number): number {
  const n = length(major);
  need(n <= maxItems, malformed);
  return n;
}

/** The major type of the next item. */
export const peek = (): number => data[at] >> 5;

/** Takes one byte if it is v. */
export function take(v: number): boolean {
  const is = data[at] === v;
  if (is) at++;
  return is;
}

/** Reads what read reads, with the SHA-256 of its encoding as a member. */
/* @__NO_SIDE_EFFECTS__ */
export const hashed =
  <T extends object>(read: Read<T>): Read<T & { hash: Uint8Array }> =>
  () => {
    const from = at;
    const v = read();
    return Object.assign(v, { hash: sha256(data.subarray(from, at)) });
  };

/**
 * Reads a uint64. Above 2^53 the result is rounded: no field that is used may
 * be that large, and a check that follows refuses it, rounded or not.
 */
export const uint: Read<number> = () => head(0);

/** Reads an int64, rounded like uint. */
export const int: Read<number> = () => {
  const first = data[at];
  const negative = first >> 5 === 1;
  const n = head(negative ? 1 : 0);
  need((first & 31) < 27 || data[at - 8] < 128, malformed);
  return negative ? -1 - n : n;
};

/** Reads an int64 exactly. */
export const big: Read<bigint> = () => {
  const n = int();
  if (Number.isSafeInteger(n)) return BigInt(n);
  const exact = bigEndian(data.subarray(at - 8, at));
  return n < 0 ? -1n - exact : exact;
};

/** Reads a byte string (major type 2) or the bytes of a text (3), sharing the message's memory. */
function string(major: number): Uint8Array {
  const n = length(major);
  at += n;
  return data.subarray(at - n, at);
}

export const bytes: Read<Uint8Array> = () => string(2);

export const yes: Read<true> = () => {
  need(take(0xf5), malformed);
  return true;
};

/** Reads what read reads and check, which throws, lets pass. */
/* @__NO_SIDE_EFFECTS__ */
export function checked<T>(read: Read<T>, check: (v: T) => void): Read<T> {
  return () => {
    const v = read();
    check(v);
    return v;
  };
}

/** Reads an integer of lo to hi. */
/* @__NO_SIDE_EFFECTS__ */
export const between = (lo: number, hi: number): Read<number> =>
  checked(lo < 0 ? int : uint, (n) => need(n >= lo && n <= hi, `${n} is out of bounds`));

export const one = between(1, 1); // the version of everything
export const uint32 = between(0, 4294967295);
export const maxInt = 9007199254740991; // that a number holds exactly
export const uint53 = between(0, maxInt);
export const time = between(0, 281474976710655); // ms, below 2^48

/** Reads a byte string of exactly n bytes. */
/* @__NO_SIDE_EFFECTS__ */
export const sized = (n: number): Read<Uint8Array> => checked(bytes, (b) => need(b.length === n, notDeterministic));

export const hash = sized(32);

/** Reads a byte string of lo to hi bytes. */
/* @__NO_SIDE_EFFECTS__ */
export const bytesOf = (lo: number, hi: number): Read<Uint8Array> =>
  checked(bytes, (b) => need(b.length >= lo && b.length <= hi, "byte string out of bounds"));

/** Reads text of lo to hi bytes. */
/* @__NO_SIDE_EFFECTS__ */
export const textOf =
  (lo: number, hi: number): Read<string> =>
  () => {
    const b = string(3);
    const s = text(b);
    need(s !== undefined, malformed);
    need(b.length >= lo && b.length <= hi, "text out of bounds");
    return s;
  };

export const anyText = textOf(0, maxMessage * 64);

/** Reads an array of lo to hi items. */
/* @__NO_SIDE_EFFECTS__ */
export const list =
  <T>(item: Read<T>, lo = 0, hi = maxItems): Read<T[]> =>
  () => {
    const out: T[] = [];
    let n = items(4);
    need(n >= lo && n <= hi, `${n} entries are out of bounds`);
    while (n-- > 0) out.push(item());
    return out;
  };

/** Reads an array of exactly these items, in this order, into an object. */
/* @__NO_SIDE_EFFECTS__ */
export function tuple<F extends Record<string, Read<unknown>>>(fields: F): Read<{ [K in keyof F]: Of<F[K]> }> {
  const names = Object.keys(fields);
  return () => {
    need(items(4) === names.length, malformed);
    const out: Record<string, unknown> = {};
    for (const name of names) out[name] = fields[name]();
    return out as { [K in keyof F]: Of<F[K]> };
  };
}

/** A field of a map that may be absent; when it may not be empty either, filled. */
type Optional<T> = readonly [read: Read<T>, filled: boolean];
export const optional = <T>(read: Read<T>): Optional<T> => [read, false];
export const nonEmpty = <T>(read: Read<T>): Optional<T> => [read, true];

type Fields = Record<string, Read<unknown> | Optional<unknown>>;
type Struct<F extends Fields> = {
  [K in keyof F as F[K] extends Read<unknown> ? K : never]: Of<F[K]>;
} & { [K in keyof F as F[K] extends Read<unknown> ? never : K]?: F[K] extends Optional<infer T> ? T : never };

/** Reads a map with exactly these fields under integer keys in bytewise order: 1, 2, 3 … when none are given. */
/* @__NO_SIDE_EFFECTS__ */
export function struct<F extends Fields>(fields: F, keys?: number[]): Read<Struct<F>> {
  const names = Object.keys(fields);
  const keyOf = (i: number): number => (keys ? keys[i] : i + 1);
  return () => {
    const out: Record<string, unknown> = {};
    let left = items(5);
    let key = left > 0 ? int() : NaN;
    names.forEach((name, i) => {
      const [read, filled] = ([] as unknown[]).concat(fields[name]) as [Read<string | 0>, boolean?];
      if (key === keyOf(i)) {
        const v = read();
        need(!filled || !(v === 0 || v.length === 0), notDeterministic);
        out[name] = v;
        key = --left > 0 ? int() : NaN;
      } else if (filled === undefined) {
        // Another key that the schema has is only in the wrong place.
        fail(TEXTS && (left === 0 || names.some((n, j) => keyOf(j) === key && !(n in out))) ? notDeterministic : malformed);
      }
    });
    need(left === 0, malformed);
    return out as Struct<F>;
  };
}

// What is hashed or signed is written by these few.

/** The head of a major type (in the upper three bits) with an argument of hi·2^32 + lo. */
function encodeHead(major: number, lo: number, hi = 0): number[] {
  if (hi === 0 && lo < 24) return [major | lo];
  const size = hi > 0 ? 3 : lo > 65535 ? 2 : lo > 255 ? 1 : 0;
  const out = [major | 24 | size];
  for (let i = 1 << size; i > 0; i--) out.push(((i > 4 ? hi : lo) >>> (8 * ((i - 1) & 3))) & 255);
  return out;
}

export const bytesHead = (n: number): number[] => encodeHead(0x40, n);

/** Encodes an integer below 2^53 in magnitude, or a bigint within int64. */
export function encodeInt(n: number | bigint): number[] {
  const major = n < 0 ? 0x20 : 0;
  if (typeof n === "bigint") {
    const v = n < 0n ? -1n - n : n;
    return encodeHead(major, Number(v & 0xffffffffn), Number(v >> 32n));
  }
  const v = n < 0 ? -1 - n : n;
  return encodeHead(major, v % 4294967296, Math.floor(v / 4294967296));
}

type Item = number | bigint | { readonly [member: string]: Item } | readonly Item[];

/** Encodes integers, and of objects and lists their members as an array: what tuple and list read. */
export function encode(v: Item): number[] {
  if (typeof v !== "object") return encodeInt(v);
  const members = Object.values(v);
  return encodeHead(0x80, members.length).concat(...members.map(encode));
}
