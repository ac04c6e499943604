// Compiles Anchors.sol with the web workspace's solc and writes artifact.json, or
// with --check compares and exits 1 when it differs. `make contract` runs it.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const solc = createRequire(here("../../web/package.json"))("solc");
const source = readFileSync(here("Anchors.sol"), "utf8");
const settings = {
  evmVersion: "paris", // no PUSH0: every chain that anchors are put on has it
  optimizer: { enabled: true, runs: 1000000 },
  metadata: { bytecodeHash: "none", appendCBOR: false }, // code depends on code alone
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout", "evm.methodIdentifiers"] } },
};
const out = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources: { "Anchors.sol": { content: source } }, settings })));
for (const e of out.errors ?? []) console.error(e.formattedMessage);
if (out.errors?.length) process.exit(1); // a warning too
const c = out.contracts["Anchors.sol"].Anchors;
const artifact = JSON.stringify({
  contract: "Anchors",
  compiler: solc.version(),
  evmVersion: settings.evmVersion,
  optimizerRuns: settings.optimizer.runs,
  sourceSha256: createHash("sha256").update(source).digest("hex"),
  abi: c.abi,
  bytecode: "0x" + c.evm.bytecode.object,
  deployedBytecode: "0x" + c.evm.deployedBytecode.object,
  storage: c.storageLayout.storage.map(({ label, slot, offset }) => ({ label, slot, offset })),
}, null, 1) + "\n";

if (process.argv.includes("--check")) {
  if (readFileSync(here("artifact.json"), "utf8") !== artifact) {
    console.error("artifact.json is not what Anchors.sol compiles to; run make contract");
    process.exit(1);
  }
} else {
  writeFileSync(here("artifact.json"), artifact);
}
