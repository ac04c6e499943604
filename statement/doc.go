// Package statement is Trailmark's public wire format: what devices, sites,
// brands and authorities sign, and how it is checked.
//
// A statement is a COSE_Sign1 (RFC 9052) over a deterministic CBOR payload, with
// exactly four protected headers: algorithm, key thumbprint (RFC 9679), CWT
// claims (issuer, stream, audience) and type. Its identity is the SHA-256 of its
// Sig_structure, never of its signature bytes. docs/wire-format.md is normative
// and vectors/ decides disputes.
//
// Rules of the format: keys are never renumbered; a new field is optional, costs
// no bytes when unset and raises the version; no floats; unknown keys are refused.
package statement
