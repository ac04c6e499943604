// The command line of the TypeScript verifier: what `anchor verify` says, by
// other code. Exit codes: 0 verified, 1 refuted or not readable, 2 usage.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { parseTrust, Refusal, verify } from "./src/index.ts";
import { sentence, refusalSentence } from "./src/passport/words.ts";

const usage = `verify checks a passport offline and says in plain words what it proves.

  node cli.mjs --trust FILE [--json] [--audit] [--lang en|zh-CN] PASSPORT

Exit codes: 0 verified, 1 refuted (with the reason's code) or not readable, 2 usage.
`;

class UsageError extends Error {}

function options(args) {
  let parsed;
  try {
    parsed = parseArgs({
      args,
      allowPositionals: true,
      options: {
        trust: { type: "string" },
        json: { type: "boolean", default: false },
        audit: { type: "boolean", default: false },
        lang: { type: "string", default: "en" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (e) {
    throw new UsageError(e.message);
  }
  const { values, positionals } = parsed;
  if (values.help) return values;
  if (values.trust === undefined) throw new UsageError("--trust FILE is missing: a passport is worth nothing against no trust file");
  if (positionals.length !== 1) throw new UsageError(`${positionals.length} passports named, want one`);
  if (values.lang !== "en" && values.lang !== "zh-CN") throw new UsageError(`language "${values.lang}" is neither en nor zh-CN`);
  return { ...values, passport: positionals[0] };
}

function run(args, write) {
  const o = options(args);
  if (o.help) {
    write(usage);
    return 0;
  }
  const trust = parseTrust(readFileSync(o.trust));
  const data = readFileSync(o.passport);
  const began = process.hrtime.bigint();
  try {
    const verdict = verify(data, trust, Date.now(), o.audit);
    const ms = Math.round(Number(process.hrtime.bigint() - began) / 1e3) / 1e3;
    write(o.json ? JSON.stringify({ verified: true, ...verdict, bytes: data.length, ms }) + "\n" : sentence(verdict, o.lang) + "\n");
    return 0;
  } catch (e) {
    if (!(e instanceof Refusal)) throw e;
    const refuted = { verified: false, code: e.code, reason: e.message };
    write(o.json ? JSON.stringify(refuted) + "\n" : `REFUTED: ${e.message}\n${refusalSentence(e.code, o.lang)}\n`);
    return 1;
  }
}

try {
  process.exitCode = run(process.argv.slice(2), (s) => process.stdout.write(s));
} catch (e) {
  process.stderr.write(`verify: ${e.message}\n`);
  process.exitCode = e instanceof UsageError ? 2 : 1;
}
