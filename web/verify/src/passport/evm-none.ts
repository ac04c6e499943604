// Stands in for evm.ts in builds that leave EVM anchors out for size: a trust file
// with a contract is none that such a build can go by.

import type { Read } from "../cbor.ts";
import { unsupported } from "../fail.ts";
import type { Checkpoint } from "../note.ts";
import type { Contract } from "./evm.ts";
import type { Anchor, Chain } from "./format.ts";

export const readContract: Read<Contract> = () => unsupported("anchors on EVM chains");

export const pins = (_contract: Contract, _anchor: Anchor): boolean => false;

export const verifyEvm = (_chain: Chain, _head: Checkpoint, _evidence: Uint8Array): Anchor => unsupported("anchors on EVM chains");
