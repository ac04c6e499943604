// Stands in for p256.ts in builds that leave ES256 out for size: a key of P-256
// is neither good nor bad there, and so never signs anything.

import { unsupported } from "./fail.ts";

export const onP256 = (_x: Uint8Array, _y: Uint8Array): boolean => unsupported("ES256");

export const p256Verify = (_x: Uint8Array, _y: Uint8Array, _message: Uint8Array, _sig: Uint8Array): boolean => unsupported("ES256");
