// Deterministic CBOR (RFC 8949 section 4.2.1), read by schema.
//
// The reader accepts exactly what the encoder of the wire format would have
// written: shortest heads, definite lengths, map keys in bytewise order, no
// floats, no tags, no null, no optional field that is present but empty.
// Every length is checked against the bytes that are left before anything is
// allocated. docs/wire-format.md section 1 is normative.

import { need } from "./fail.ts";
import { text } from "./bytes.ts";

export const maxMessage = 262144; // bytes
const maxItems = 8192; // of an array or a map
const two32 = 4294967296;

/** A function that reads one item of a schema. */
export type Read<T> = (r: Reader) => T;

const malformed = "malformed cbor";
const notDeterministic = "not deterministic cbor";

/** A position in a message. */
export class Reader {
  private at = 0;
  // The argument of the head read last: hi·2^32 + lo.
  private hi = 0;
  private lo = 0;

  constructor(private readonly data: Uint8Array) {}

  /** Reads a head of the given major type; its argument is in hi and lo. */
  private head(major: number): void {
    const data = this.data;
    const first = data[this.at++];
    // Go decodes null into any field and finds out when it encodes it again.
    if (first >> 5 !== major) need(false, first === 0xf6 ? notDeterministic : malformed);
    const info = first & 31;
    this.hi = 0;
    this.lo = info;
    if (info < 24) return;
    need(info < 28, malformed); // indefinite or reserved
    const n = 1 << (info - 24);
    this.lo = 0;
    for (let i = 0; i < n; i++) {
      if (i === 4) {
        this.hi = this.lo;
        this.lo = 0;
      }
      this.lo = this.lo * 256 + data[this.at++];
    }
    need(this.at <= data.length, malformed);
    need(info === 24 ? this.lo > 23 : info === 25 ? this.lo > 255 : info === 26 ? this.lo > 65535 : this.hi > 0, notDeterministic);
  }

  private number(): number {
    return this.hi * two32 + this.lo;
  }

  /** Reads a length of at most the bytes left: each item takes at least one. */
  private length(major: number): number {
    this.head(major);
    const n = this.number();
    need(n <= this.data.length - this.at, malformed);
    return n;
  }

  /** The major type of the next item; not a number at the end. */
  peek(): number {
    return this.at < this.data.length ? this.data[this.at] >> 5 : NaN;
  }

  /**
   * Reads a uint64. Above 2^53 the result is rounded: no field that is used may
   * be that large, and a check that follows refuses it, rounded or not.
   */
  uint(): number {
    this.head(0);
    return this.number();
  }

  /** Reads an int64, rounded like uint. */
  int(): number {
    const negative = this.peek() === 1;
    this.head(negative ? 1 : 0);
    need(this.hi < 2147483648, malformed);
    return negative ? -1 - this.number() : this.number();
  }

  /** Reads an int64 exactly. */
  big(): bigint {
    const negative = this.int() < 0;
    const v = BigInt(this.hi) * BigInt(two32) + BigInt(this.lo);
    return negative ? -BigInt(1) - v : v;
  }

  /** Reads a byte string (major type 2) or the bytes of a text (3), sharing the message's memory. */
  bytes(major: number): Uint8Array {
    const n = this.length(major);
    this.at += n;
    return this.data.subarray(this.at - n, this.at);
  }

  /** Reads the head of an array (major type 4) or a map (5): how many items. */
  items(major: number): number {
    const n = this.length(major);
    need(n <= maxItems, malformed);
    return n;
  }

  /** Takes one byte if it is v. */
  take(v: number): boolean {
    const is = this.data[this.at] === v;
    if (is) this.at++;
    return is;
  }

  /** Runs read and returns the bytes it took beside what it gave. */
  raw<T>(read: Read<T>): [T, Uint8Array] {
    const from = this.at;
    return [read(this), this.data.subarray(from, this.at)];
  }

  end(): void {
    need(this.at === this.data.length, malformed);
  }
}

/** Decodes one item of at most max bytes, with nothing after it. */
export function decode<T>(data: Uint8Array, read: Read<T>, max = maxMessage): T {
  need(data.length <= max, `${data.length} bytes are over the limit of ${max}`);
  const r = new Reader(data);
  const v = read(r);
  r.end();
  return v;
}

export const uint: Read<number> = (r) => r.uint();
export const int: Read<number> = (r) => r.int();
export const big: Read<bigint> = (r) => r.big();
export const bytes: Read<Uint8Array> = (r) => r.bytes(2);
export const hash: Read<Uint8Array> = sized(32);

export const yes: Read<true> = (r) => {
  need(r.take(0xf5), malformed);
  return true;
};

/** Reads an integer of lo to hi. */
export function between(lo: number, hi: number): Read<number> {
  return (r) => {
    const n = lo < 0 ? r.int() : r.uint();
    need(n >= lo && n <= hi, `${n} is out of bounds`);
    return n;
  };
}

export const one = between(1, 1); // the version of everything
export const uint32 = between(0, two32 - 1);
export const uint53 = between(0, 9007199254740991);
export const time = between(0, 281474976710655); // ms, below 2^48

/** Reads a byte string of exactly n bytes. */
export function sized(n: number): Read<Uint8Array> {
  return (r) => {
    const b = r.bytes(2);
    need(b.length === n, notDeterministic);
    return b;
  };
}

/** Reads a byte string of lo to hi bytes. */
export function bytesOf(lo: number, hi: number): Read<Uint8Array> {
  return (r) => {
    const b = r.bytes(2);
    need(b.length >= lo && b.length <= hi, "byte string out of bounds");
    return b;
  };
}

/** Reads text of lo to hi bytes. */
export function textOf(lo: number, hi: number): Read<string> {
  return (r) => {
    const b = r.bytes(3);
    const s = text(b);
    need(s !== undefined, malformed);
    need(b.length >= lo && b.length <= hi, "text out of bounds");
    return s;
  };
}

export const anyText = textOf(0, maxMessage * 64);

/** Reads an array of lo to hi items. */
export function list<T>(item: Read<T>, lo = 0, hi = maxItems): Read<T[]> {
  return (r) => {
    const out: T[] = [];
    let n = r.items(4);
    need(n >= lo && n <= hi, `${n} entries are out of bounds`);
    while (n-- > 0) out.push(item(r));
    return out;
  };
}

/** What a Read gives. */
export type Of<R> = R extends Read<infer T> ? T : never;

/** Reads an array of exactly these items, in this order, into an object. */
export function tuple<F extends Record<string, Read<unknown>>>(fields: F): Read<{ [K in keyof F]: Of<F[K]> }> {
  const names = Object.keys(fields);
  return (r) => {
    need(r.items(4) === names.length, malformed);
    const out: Record<string, unknown> = {};
    for (const name of names) out[name] = fields[name](r);
    return out as { [K in keyof F]: Of<F[K]> };
  };
}

/** How a field of a map may be absent. */
export const optional = 1; // absent, or anything
export const nonEmpty = 2; // absent, or not the empty value

type Required = readonly [key: number, read: Read<unknown>];
type Field = Required | readonly [key: number, read: Read<unknown>, may: 1 | 2];
type Struct<F extends Record<string, Field>> = {
  [K in keyof F as F[K] extends Required ? K : never]: Of<F[K][1]>;
} & { [K in keyof F as F[K] extends Required ? never : K]?: Of<F[K][1]> };

/** Reads a map with exactly these integer keys, given in bytewise order. */
export function struct<F extends Record<string, Field>>(fields: F): Read<Struct<F>> {
  const names = Object.keys(fields);
  return (r) => {
    const out: Record<string, unknown> = {};
    let left = r.items(5);
    let key = left > 0 ? r.int() : NaN;
    for (const name of names) {
      const [want, read, may] = fields[name];
      if (key !== want) {
        // Another key that the schema has is only in the wrong place.
        const misplaced = names.some((n) => fields[n][0] === key && !(n in out));
        need(may !== undefined, left === 0 || misplaced ? notDeterministic : malformed);
        continue;
      }
      const v = read(r);
      need(may !== nonEmpty || !(v === 0 || (v as string).length === 0), notDeterministic);
      out[name] = v;
      key = --left > 0 ? r.int() : NaN;
    }
    need(left === 0, malformed);
    return out as Struct<F>;
  };
}

// What is hashed or signed is written by these few.

function head(major: number, n: number): number[] {
  if (n < 24) return [major | n];
  if (n < 256) return [major | 24, n];
  if (n < 65536) return [major | 25, n >> 8, n & 255];
  const lo = [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
  if (n < 4294967296) return [major | 26, ...lo];
  const hi = Math.floor(n / 4294967296);
  return [major | 27, (hi >>> 24) & 255, (hi >>> 16) & 255, (hi >>> 8) & 255, hi & 255, ...lo];
}

export const arrayHead = (n: number): number[] => head(0x80, n);
export const bytesHead = (n: number): number[] => head(0x40, n);

/** Encodes an integer below 2^53 in magnitude, or a bigint within int64. */
export function encodeInt(n: number | bigint): number[] {
  if (typeof n === "number") return n < 0 ? head(0x20, -1 - n) : head(0, n);
  const small = Number(n);
  if (small >= -9007199254740991 && small <= 9007199254740991) return encodeInt(small);
  const out = [n < BigInt(0) ? 0x3b : 0x1b];
  let v = n < BigInt(0) ? -BigInt(1) - n : n;
  for (let i = 8; i > 0; i--) {
    out[i] = Number(v & BigInt(255));
    v >>= BigInt(8);
  }
  return out;
}
