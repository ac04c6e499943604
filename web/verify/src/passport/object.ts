// What tags and events name: one canonical GS1 Digital Link for each object,
// whatever coding a tag has (GS1 TDS; docs/wire-format.md section 2).

const base = "https://id.gs1.org/";

/** Checks the last of some digits (GS1 General Specifications 7.9). */
function checkDigit(digits: string): number {
  let sum = 0;
  for (let i = digits.length - 1, weight = 3; i >= 0; i--, weight = 4 - weight) sum += Number(digits[i]) * weight;
  return (10 - (sum % 10)) % 10;
}

const isKey = (digits: string, n: number): boolean =>
  digits.length === n && /^\d+$/.test(digits) && checkDigit(digits.slice(0, -1)) === Number(digits[n - 1]);

// GS1 character set 82.
const isSerial = (s: string): boolean => /^[\w!"%&'()*+,\-./:;<=>?]{1,20}$/.test(s);

/** The name of one trade item; "" where there is none. */
export function itemUri(gtin: string, serial: string): string {
  if (!isKey(gtin, 14) || !isSerial(serial)) return "";
  const escaped = encodeURIComponent(serial).replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
  return `${base}01/${gtin}/21/${escaped}`;
}

const unitUri = (sscc: string): string => (isKey(sscc, 18) ? `${base}00/${sscc}` : "");

/** Whether a name is that of one trade item with a serial number. */
export function isSerialised(uri: string): boolean {
  const m = /^https:\/\/id\.gs1\.org\/01\/(\d{14})\/21\/([^/]+)$/.exec(uri);
  if (!m) return false;
  try {
    return itemUri(m[1], decodeURIComponent(m[2])) === uri;
  } catch {
    return false;
  }
}

/** Walks bits from the most significant one; what is past the end is 0. */
function reader(b: Uint8Array) {
  let at = 0;
  const bit = (): number => {
    const v = at < 8 * b.length ? (b[at >> 3] >> (7 - (at & 7))) & 1 : 0;
    at++;
    return v;
  };
  const get = (n: number): number => {
    let v = 0;
    while (n-- > 0) v = v * 2 + bit();
    return v;
  };
  const left = (): number => 8 * b.length - at;
  return {
    get,
    left,
    big(n: number): bigint {
      let v = 0n;
      while (n-- > 0) v = v * 2n + BigInt(bit());
      return v;
    },
    zeros(): boolean {
      while (left() > 0) if (bit()) return false;
      return true;
    },
  };
}

type Reader = ReturnType<typeof reader>;

/** The name that a tag's EPC memory gives a trade item or a logistic unit; "" for any other. */
export function tagUri(tag: Uint8Array): string {
  const r = reader(tag);
  if (tag.length < 2 || tag.length > 62) return "";
  switch (r.get(8)) {
    case 0x30:
      return tag.length === 12 ? sgtin(r, (r) => `${r.get(38)}`) : "";
    case 0x36:
      return tag.length === 26 ? sgtin(r, (r) => text(r, 140)) : "";
    case 0x31:
      return tag.length === 12 ? sscc(r) : "";
    case 0xf7:
      return plus(r, 14);
    case 0xf9:
      return plus(r, 18);
  }
  return "";
}

/** Company prefix and reference, with the check digit; the first digit of the reference goes in front. */
function key(r: Reader, bits: number, digits: number): string {
  r.get(3); // filter
  const partition = r.get(3);
  const width = [40, 37, 34, 30, 27, 24, 20][partition];
  if (width === undefined) return "";
  const company = String(r.get(width)).padStart(12 - partition, "0");
  const reference = String(r.get(bits - width)).padStart(digits - 12 + partition, "0");
  if (company.length > 12 - partition || reference.length > digits - 12 + partition) return "";
  const d = reference[0] + company + reference.slice(1);
  return d + checkDigit(d);
}

function sgtin(r: Reader, serial: (r: Reader) => string): string {
  const gtin = key(r, 44, 13);
  const s = gtin && serial(r);
  return r.zeros() ? itemUri(gtin, s) : "";
}

function sscc(r: Reader): string {
  const k = key(r, 58, 17);
  return r.zeros() ? unitUri(k) : "";
}

/** Reads 7-bit characters up to the first zero; the rest of n bits must be zero. */
function text(r: Reader, n: number): string {
  let s = "";
  let ended = false;
  for (; n >= 7; n -= 7) {
    const c = r.get(7);
    if (ended && c !== 0) return "";
    ended = ended || c === 0;
    if (!ended) s += String.fromCharCode(c);
  }
  return r.get(n) === 0 ? s : "";
}

const hexUpper = "0123456789ABCDEF";
const alphabets: [size: number, alphabet?: string][] = [
  [0],
  [4, hexUpper],
  [4, hexUpper.toLowerCase()],
  [6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"],
  [7],
];
const urn40 = "\0ABCDEFGHIJKLMNOPQRSTUVWXYZ-.:0123456789";

/** The codings of TDS 2: a key in digits of 4 bits, then for a trade item the serial (14.5.6). */
function plus(r: Reader, digits: number): string {
  const more = r.get(1);
  r.get(3); // filter
  if (r.left() < 4 * digits) return "";
  let k = "";
  for (let i = 0; i < digits; i++) {
    const d = r.get(4);
    if (d > 9) return "";
    k += d;
  }
  const uri = digits === 18 ? unitUri(k) : itemUri(k, variable(r));
  return more || (r.left() < 16 && r.zeros()) ? uri : "";
}

function variable(r: Reader): string {
  const how = r.get(3);
  const n = r.get(5);
  if (n > 20 || how > 5) return "";
  let s = "";
  if (how === 5) {
    const groups = Math.ceil(n / 3);
    if (r.left() < groups * 16) return "";
    for (let i = 0; i < groups; i++) {
      const v = r.get(16) - 1;
      if (v < 0 || v >= 64000) return "";
      s += urn40[Math.floor(v / 1600)] + urn40[Math.floor(v / 40) % 40] + urn40[v % 40];
    }
    return /^\0*$/.test(s.slice(n)) ? s.slice(0, n) : "";
  }
  if (how === 0) {
    const size = n > 0 ? BigInt("9".repeat(n)).toString(2).length : 0;
    if (n === 0 || r.left() < size) return "";
    s = r.big(size).toString().padStart(n, "0");
    return s.length > n ? "" : s;
  }
  const [size, alphabet] = alphabets[how];
  if (r.left() < n * size) return "";
  for (let i = 0; i < n; i++) {
    const c = r.get(size);
    s += alphabet ? alphabet[c] : String.fromCharCode(c);
  }
  return s;
}
