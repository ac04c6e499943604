// Stands in for version.ts in builds that leave changes of a chain's validators out
// for size: evidence of another version is none that such a build can go by.

import { take } from "../cbor.ts";
import { unsupported } from "../fail.ts";

export const version = (): boolean => take(1) || unsupported("validators that changed");
