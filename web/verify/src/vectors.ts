// Judges the golden cases of vectors/ in any engine: text in, a verdict out.
// The package comment of vectors/ is the format of a case.

import { hex, unhex } from "./bytes.ts";
import { decode, list, type Read } from "./cbor.ts";
import { encodeDigest, leafDigest, type Digest, type Spec } from "./digest.ts";
import { parseKey } from "./key.ts";
import { openCheckpoint } from "./note.ts";
import { parseTrust } from "./passport/trust.ts";
import { Refusal } from "./passport/verdict.ts";
import { verify } from "./passport/verify.ts";
import { readPayload, type Kind } from "./payload.ts";
import { parseReceipt, verifyReceipt } from "./receipt.ts";
import { blockTimes, openBody, openRecord, readBody } from "./record.ts";
import { parseStatement, verifyStatement } from "./statement.ts";
import { openRange, readHead, readNodes, readRange, verifyConsistency } from "./trace.ts";
import { checkUp } from "./up.ts";

/** One golden case. */
export interface Case {
  header: Map<string, string>;
  body: Uint8Array;
}

/** What this verifier says of a case. */
export interface Judged {
  expect: string;
  kind: string;
  error?: string; // why it was refused
  wrong?: string; // what a good case must give besides, and did not
  crash?: string; // an error that no refusal is: a fault of this code
}

/** What this verifier says of a file; the code only of a passport. */
export interface Answer {
  ok: boolean;
  code?: string;
  error?: string;
}

/** Reads a case; throws when the file is none. */
export function parseCase(text: string): Case {
  const cut = text.indexOf("\n\n");
  if (cut < 0) throw new Error("no empty line between header and body");
  const header = new Map<string, string>();
  for (const line of text.slice(0, cut).split("\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    if (colon < 1 || header.has(name)) throw new Error(`header line "${line}" is no new "name: value"`);
    header.set(name, line.slice(colon + 1).replace(/^ /, ""));
  }
  return { header, body: unhex(text.slice(cut + 2).replace(/\n/g, "")) };
}

/** Judges one case. Throws only when the case itself is unreadable. */
export function judge(text: string): Judged {
  const c = parseCase(text);
  const j = new Judge(c);
  const out: Judged = { expect: j.text("expect"), kind: j.text("kind") };
  const check = j.prepare(out.kind);
  try {
    check();
  } catch (e) {
    out.error = e instanceof Refusal ? e.code : (e as Error).message;
    if (e instanceof TypeError || e instanceof RangeError) out.crash = e.stack;
    return out;
  }
  out.wrong = j.wrong;
  return out;
}

/** Judges a file of a corpus. */
export function judgeFile(kind: string, data: Uint8Array, trust: Uint8Array, at: number): Answer {
  try {
    switch (kind) {
      case "statement": {
        const s = parseStatement(own(data));
        readPayload(s.kind, s.payload);
        break;
      }
      case "record":
        openBody(own(data));
        break;
      case "up":
        checkUp(own(data));
        break;
      case "range":
        decode(own(data), readRange);
        break;
      case "passport":
        verify(data, parseTrust(trust), at);
        break;
      default:
        throw new TypeError(`kind "${kind}" is none`);
    }
  } catch (e) {
    if (e instanceof TypeError || e instanceof RangeError) throw e;
    const refused: Answer = { ok: false, error: (e as Error).message };
    if (e instanceof Refusal) refused.code = e.code;
    return refused;
  }
  return { ok: true };
}

// A Buffer of another realm is no Uint8Array for the libraries.
const own = (data: Uint8Array): Uint8Array => new Uint8Array(data);

/** A JSON text without regard to the order of members. */
function canonical(v: unknown): string {
  if (v === null || typeof v !== "object") return JSON.stringify(v);
  if (Array.isArray(v)) return "[" + v.map(canonical).join() + "]";
  const o = v as Record<string, unknown>;
  return (
    "{" +
    Object.keys(o)
      .sort()
      .map((k) => JSON.stringify(k) + ":" + canonical(o[k]))
      .join() +
    "}"
  );
}

class Judge {
  wrong: string | undefined;

  constructor(private readonly c: Case) {}

  text(name: string): string {
    const s = this.c.header.get(name);
    if (s === undefined) throw new Error(`no header "${name}"`);
    return s;
  }

  private words(name: string): string[] {
    return this.text(name)
      .split(" ")
      .filter((w) => w !== "");
  }

  private bytes(name: string): Uint8Array {
    return unhex(this.text(name));
  }

  private cbor<T>(name: string, read: Read<T>): T {
    return decode(this.bytes(name), read);
  }

  private spec(): Spec {
    const limits = this.words("limits").map((l) => {
      const [comparison, value] = l.split(":").map(Number);
      return { comparison, value };
    });
    return { unit: this.text("unit"), nominal: Number(this.text("nominal")), limits };
  }

  /** Notes what a good case must give besides being accepted. */
  private same(name: string, got: string): void {
    if (this.text("expect") === "ok" && this.text(name) !== got) this.wrong = `${name} is ${got}, want ${this.text(name)}`;
  }

  private sameDigest(d: Digest): void {
    this.same("digest", hex(Uint8Array.from(encodeDigest(d))));
  }

  /** Reads a case's inputs; the function returned judges its body. */
  prepare(kind: string): () => void {
    const body = this.c.body;
    switch (kind) {
      case "key":
        return () => this.same("thumbprint", hex(parseKey(body).id));
      case "statement": {
        const key = parseKey(this.bytes("key"));
        const aud = this.text("aud");
        return () => {
          const s = parseStatement(body);
          verifyStatement(s, key, aud);
          this.same("id", hex(s.id));
          this.same("entry", hex(s.entry));
          readPayload(s.kind, s.payload);
        };
      }
      case "payload": {
        const type = this.text("type") as Kind;
        return () => void readPayload(type, body);
      }
      case "record": {
        const d = { index: Number(this.text("index")), record: body, path: this.words("path").map(unhex) };
        const frame = { count: Number(this.text("count")), root: this.bytes("root") };
        return () => void openRecord(d, frame);
      }
      case "up":
        return () => checkUp(body);
      case "leaf": {
        const spec = this.spec();
        return () => {
          const b = decode(body, readBody(1)).block!;
          this.sameDigest(leafDigest(spec, b.prev ?? -1, blockTimes(b), b.values));
        };
      }
      case "range": {
        const spec = this.spec();
        const head = this.cbor("head", readHead);
        const older = this.c.header.has("older") ? this.cbor("older", list(readHead)) : [];
        const w = this.c.header.has("window") ? this.words("window").map(Number) : undefined;
        return () => {
          const r = decode(body, readRange);
          const opened = openRange(
            r,
            spec,
            head,
            older.map((h) => h.size),
          );
          if (w !== undefined) opened.window(w[0], w[1]);
          older.forEach((h) => opened.older(h));
          this.sameDigest(opened.inside());
        };
      }
      case "consistency": {
        const spec = this.spec();
        const older = this.cbor("older", readHead);
        const newer = this.cbor("newer", readHead);
        return () => verifyConsistency(spec, older, newer, decode(body, readNodes));
      }
      case "checkpoint": {
        const key = parseKey(this.bytes("logkey"));
        const origin = this.text("origin");
        return () => {
          const c = openCheckpoint(body, origin, key);
          this.same("size", String(c.size));
          this.same("root", hex(c.root));
        };
      }
      case "passport": {
        const trust = parseTrust(this.bytes("trust"));
        const at = Number(this.text("at"));
        return () => {
          // As text and back: what no JSON can say must not be in a verdict.
          const got = canonical(JSON.parse(JSON.stringify(verify(body, trust, at))));
          const want = canonical(JSON.parse(this.text("verdict")));
          if (got !== want) this.wrong = `verdict is ${got}, want ${want}`;
        };
      }
      case "receipt": {
        const key = parseKey(this.bytes("logkey"));
        const c = openCheckpoint(this.bytes("checkpoint"), this.text("origin"), key);
        const entry = this.bytes("entry");
        return () => verifyReceipt(parseReceipt(body), entry, c, key);
      }
    }
    throw new Error(`kind "${kind}" is none`);
  }
}
