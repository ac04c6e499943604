// Package document reads EPCIS 2.0 events in JSON: it judges them, computes their
// CBV 2.0 hash ids, and says what an event's statement will say of them.
//
// Input is bounded in bytes, depth, values and events before anything is built
// of it, and every refusal names the JSON path and what to do. No context is ever
// fetched: prefixes are those that a document defines itself and the standard's
// own.
//
// GS1 EPCIS 2.0 and CBV 2.0. The GS1 JSON schema and npm epcis2.js judge this
// package in its tests; where it is stricter than the schema, Event.Members says.
package document
