// Stands in for witness.ts in builds that leave cosignatures out for size: a trust
// file with witnesses, as one with contracts, is none that such a build can go by.

import { anyText, list, struct, tuple, uint } from "../cbor.ts";
import { unsupported } from "../fail.ts";
import { readKey } from "../key.ts";
import type { Check } from "./check.ts";
import { readChain } from "./format.ts";

/** A trust file that pins neither: each of the two has a version of its own. */
export const readTrust = struct({
  version: () => (uint() === 1 ? 1 : unsupported("witnesses, nor anchors on EVM chains")),
  authorities: list(readKey, 1, 16),
  logs: list(tuple({ origin: anyText, key: readKey }), 1, 64),
  audience: anyText,
  chains: list(readChain, 0, 16),
});

export const cosignatures = (_c: Check): void => {};
