// What a verifier pins.

import { decode, type Of } from "../cbor.ts";
import { own } from "./format.ts";
import { readTrust } from "#witness";

/** What a verifier pins; it comes from elsewhere than the passport. */
export type Trust = Of<typeof readTrust>;

/** Decodes a trust file. Throws Unsupported when it pins what this build leaves out. */
export function parseTrust(data: Uint8Array): Trust {
  return decode(own(data), readTrust);
}
