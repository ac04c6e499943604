package inspect

import (
	"fmt"
	"strconv"
	"time"

	"trailmark/statement"
)

// A shape names what is inside a map or an array.
type shape struct {
	keys  map[int64]field // of a map
	items []field         // of an array, by position
	each  *field          // of an array, beyond items
}

// A field names one item and says how to show it.
type field struct {
	name  string
	of    *shape               // the map or array that it is
	embed *shape               // the CBOR item that the byte string holds
	one   *field               // the same when that item is no map or array
	text  bool                 // the byte string holds text
	say   func(int64) string   // what an integer means
	about func([]byte) []ident // what to say of the whole encoded item, or of a byte string's content
	set   func(*context, head, string)
	by    func(*context) field // when it depends on what came before
}

// ident is a word about an item and perhaps a hash that belongs to it.
type ident struct {
	word string
	hash []byte
}

// context is what later fields of one statement or record depend on.
type context struct {
	kind    statement.Kind
	record  int64
	version int64 // of an event
}

func list(each field) *shape                        { return &shape{each: &each} }
func tuple(items ...field) *shape                   { return &shape{items: items} }
func plain(name string) field                       { return field{name: name} }
func sub(name string, of *shape) field              { return field{name: name, of: of} }
func wall(name string) field                        { return field{name: name, say: wallTime} }
func device(name string) field                      { return field{name: name, say: deviceTime} }
func lasting(name string) field                     { return field{name: name, say: duration} }
func milli(name string) field                       { return field{name: name, say: thousandths} }
func named(name string, w ...string) field          { return field{name: name, say: words(w)} }
func embedded(name string, s *shape) field          { return field{name: name, embed: s} }
func keyed(keys map[int64]field) *shape             { return &shape{keys: keys} }
func textual(name string) field                     { return field{name: name, text: true} }
func signed1(name string) field                     { return field{name: name, one: &cose, about: statementIDs} }
func (f field) saying(a func([]byte) []ident) field { f.about = a; return f }

// words are the names of 0, 1, 2…; an empty one is none.
func words(w []string) func(int64) string {
	return func(n int64) string {
		if n < 0 || n >= int64(len(w)) {
			return ""
		}
		return w[n]
	}
}

const latest = 1<<48 - 1 // ms, the wire format's bound

func wallTime(ms int64) string {
	if ms <= 0 || ms > latest {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z07:00")
}

// deviceTime is wall time, or time since boot where the clock was unset: no
// clock that is set says 2001 or earlier, no device has been up for 31 years.
func deviceTime(ms int64) string {
	if ms < 1e12 {
		if ms <= 0 {
			return ""
		}
		return duration(ms) + " since boot"
	}
	return wallTime(ms)
}

func seconds(s int64) string {
	if s <= 0 || s > latest/1000 {
		return ""
	}
	return time.Unix(s, 0).UTC().Format(time.RFC3339)
}

func duration(ms int64) string {
	if ms <= 0 || ms > latest {
		return ""
	}
	return (time.Duration(ms) * time.Millisecond).String()
}

func nanoseconds(ns int64) string {
	if ns <= 0 {
		return ""
	}
	return time.Duration(ns).Round(time.Millisecond).String()
}

func thousandths(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
}

// The names of docs/wire-format.md, section by section.

// Section 1.
var (
	texts   = list(sub("", tuple(plain("lang"), plain("words"))))
	coseKey = keyed(map[int64]field{1: named("kty", "", "OKP", "EC2"), -1: {name: "crv", say: curve}, -2: plain("x"), -3: plain("y")})
	key     = sub("key", coseKey).saying(keyID)
)

func curve(n int64) string {
	switch n {
	case 6:
		return "Ed25519"
	case 1:
		return "P-256"
	}
	return ""
}

// Section 2, and the receipt of section 6, which is a COSE_Sign1 as well.
var (
	proofs    = sub("proofs", keyed(map[int64]field{-1: sub("inclusion", list(embedded("", inclusion)))}))
	receipt   = sign1(map[int64]field{396: proofs})
	cose      = sign1(map[int64]field{394: sub("receipts", list(field{name: "receipt", one: &receipt})), 396: proofs})
	inclusion = tuple(plain("tree size"), plain("index"), sub("path", list(plain(""))))
	protected = keyed(map[int64]field{1: {name: "alg", say: algorithm}, 4: plain("kid"),
		15:  sub("claims", keyed(map[int64]field{1: plain("iss"), 2: plain("sub"), 3: plain("aud"), 6: {name: "iat", say: seconds}})),
		16:  {name: "typ", set: func(c *context, _ head, typ string) { c.kind = kindOf(typ) }},
		395: named("vds", "", "RFC 9162 SHA-256")})
)

func sign1(unprotected map[int64]field) field {
	return field{of: tuple(embedded("protected", protected), sub("unprotected", keyed(unprotected)), field{name: "payload", by: payload}, plain("signature"))}
}

func algorithm(n int64) string {
	switch n {
	case -8:
		return "EdDSA"
	case -7:
		return "ES256"
	}
	return ""
}

func payload(c *context) field {
	return field{name: "payload", embed: payloads(c.kind)}
}

func payloads(kind statement.Kind) *shape {
	switch kind {
	case statement.KindFrame:
		return frame
	case statement.KindIdentity:
		return identity
	case statement.KindKeyStatus:
		return keyStatus
	case statement.KindPlan:
		return plan
	case statement.KindProduct:
		return product
	case statement.KindHandover:
		return handover
	case statement.KindAcceptance:
		return acceptance
	case statement.KindEvent:
		return event
	case statement.KindErasure:
		return erasure
	}
	return nil
}

var (
	identity = keyed(map[int64]field{1: plain("version"), 2: key, 3: plain("subject"),
		4: named("role", "", "device", "site", "brand", "organisation", "authority"),
		5: plain("epoch"), 6: wall("valid from"), 7: wall("valid to"), 8: plain("replaces"), 9: plain("simulated"), 10: plain("name")})
	keyStatus = keyed(map[int64]field{1: plain("version"), 2: plain("origin"), 3: plain("tree size"), 4: wall("as of"),
		5: sub("in force", list(plain(""))), 6: sub("revoked", list(sub("", tuple(plain("kid"), plain("epoch"), plain("seq")))))})
	plan = keyed(map[int64]field{1: plain("version"), 2: plain("seq"), 3: plain("prev"), 4: sub("site", texts), 5: sub("zones", list(sub("zone", zone)))})
	zone = keyed(map[int64]field{1: plain("id"), 2: sub("name", texts), 3: sub("channels", list(sub("channel", channel))),
		4: sub("antennas", list(sub("antenna", antenna))), 5: lasting("re-read"), 6: sub("neighbours", list(plain("")))})
	channel = keyed(map[int64]field{1: plain("device kid"), 2: plain("name"), 3: plain("unit"), 4: sub("limits", list(sub("", limit))),
		5: lasting("nominal interval"), 6: named("closeness", "declared", "same room", "same box", "on the item"), 7: plain("calibration")})
	antenna   = keyed(map[int64]field{1: plain("device kid"), 2: plain("name"), 3: named("role", "", "inside", "portal", "overlooks")})
	limit     = tuple(named("comparison", "", "at or below", "at or above"), milli("value"))
	product   = keyed(map[int64]field{1: plain("version"), 2: plain("gtin"), 3: plain("lot"), 4: sub("name", texts), 5: sub("brand", texts), 6: sub("rule", list(sub("", criterion)))})
	criterion = tuple(plain("unit"), sub("limit", limit), named("counts", "", "longest run", "all time"), lasting("for"))

	handover   = keyed(map[int64]field{1: plain("version"), 2: sub("objects", list(plain(""))), 3: wall("at"), 4: plain("to"), 5: plain("place"), 6: sub("moments", moments)})
	acceptance = keyed(map[int64]field{1: plain("version"), 2: sub("objects", list(plain(""))), 3: wall("at"), 4: plain("from"), 5: plain("handover id"), 6: sub("moments", moments)})
	moments    = list(sub("moment", tuple(plain("device kid"), plain("channel"), sub("head", traceHead))))
	event      = keyed(map[int64]field{1: {name: "version", set: func(c *context, h head, _ string) { c.version = int64(min(h.arg, 99)) }},
		2: of(textual("epcis"), plain("document hash")), 3: of(sub("objects", eventOf), named("action", "", "commission", "pack", "unpack", "transform", "observe", "decommission")),
		4: of(sub("items", items), wall("at")), 5: sub("objects", eventOf), 6: sub("items", items), 7: sub("inputs", items), 8: plain("where"), 9: plain("step")})
	eventOf = list(sub("", tuple(plain("object"), plain("previous event id"))))
	items   = tuple(plain("root"), plain("size"))
	item    = tuple(plain("salt"), plain("object"), plain("previous event id"), plain("tid"))
	erasure = keyed(map[int64]field{1: plain("version"), 2: plain("frame id"), 3: wall("at"), 4: plain("why"), 5: sub("erased", list(sub("erased", erased)))})
	erased  = keyed(map[int64]field{1: plain("record"), 2: plain("leaf hash"), 3: recordKind,
		4: sub("block", tuple(plain("channel"), plain("start"), plain("number"), sub("digest", digest)))})
)

// Section 3.
var (
	frame = keyed(map[int64]field{1: plain("version"), 2: plain("seq"), 3: plain("prev"), 4: sub("clock", clock),
		5: sub("span", tuple(device("t0"), device("t1"))), 6: plain("records root"), 7: plain("record count"), 8: plain("plan id"),
		9: sub("after", after), 10: plain("label")})
	clock = keyed(map[int64]field{1: plain("boot id"), 2: plain("boot count"), 3: {name: "boottime", say: nanoseconds},
		4: wall("wall"), 5: named("quality", "unset", "restored", "rtc", "synchronised"), 6: lasting("max error")})
	after = tuple(plain("origin hash"), plain("tree size"), plain("root"), plain("chain id"), plain("height"), plain("block hash"))

	recordKind = named("kind", "", "block", "head", "sighting", "happening")
	record     = tuple(plain("salt"), field{name: "kind", say: recordKind.say,
		set: func(c *context, h head, _ string) { c.record = int64(min(h.arg, 99)) }}, field{name: "body", by: recordBody})
	block = keyed(map[int64]field{1: plain("channel"), 2: device("previous reading"), 3: device("first reading"),
		4: {name: "gaps", of: list(plain("")), say: duration}, 5: sub("values", list(plain(""))), 6: plain("raw")})
	headRecord = keyed(map[int64]field{1: plain("channel"), 2: sub("head", traceHead), 3: sub("start", start)})
	sighting   = keyed(map[int64]field{1: plain("antenna"), 2: plain("epc"), 3: plain("tid"), 4: device("first"), 5: device("last"), 6: plain("reads"), 7: plain("rssi dBm")})
	happening  = keyed(map[int64]field{1: named("type", "", "boot", "clock step", "lost", "back", "configuration", "tamper", "door", "power",
		"gap", "alarm start", "alarm trigger", "alarm end", "key rotation", "fault"),
		2: device("at"), 3: plain("channel or antenna"), 4: device("until"), 5: plain("count"), 6: plain("code"), 7: plain("raw"),
		8: sub("seqs", tuple(plain("from"), plain("to"))), 9: plain("words")})
)

// of is a field of an event whose versions use a key for different things.
func of(first, second field) field {
	return field{by: func(c *context) field {
		if c.version == 1 {
			return first
		}
		return second
	}}
}

func recordBody(c *context) field {
	f := field{name: "body"}
	switch statement.RecordKind(c.record) {
	case statement.RecordBlock:
		f.of = block
	case statement.RecordHead:
		f.of = headRecord
	case statement.RecordSighting:
		f.of = sighting
	case statement.RecordHappening:
		f.of = happening
	}
	return f
}

// messageBody is a record body on its way up: the same, in a byte string.
func messageBody(c *context) field { return field{name: "body", embed: recordBody(c).of} }

// Section 5.
var (
	cardHead = tuple(plain("mark"), plain("version"), sub("traces", list(sub("trace", tuple(sub("start", start),
		sub("frontier", tuple(plain("start"), plain("size"), sub("peaks", nodes))))))))
	up = tuple(plain("version"), signed1("statement"), plain("seed"), sub("records", list(sub("", tuple(field{name: "kind", say: recordKind.say,
		set: func(c *context, h head, _ string) { c.record = int64(min(h.arg, 99)) }}, field{name: "body", by: messageBody})))))
	cardCheckpoint = tuple(plain("origin"), plain("tree size"), plain("root"))
)

// Section 4.
var (
	traceHead = tuple(plain("start"), plain("size"), plain("root"), sub("digest", digest))
	digest    = tuple(device("t0"), device("t1"), lasting("covered"), milli("min"), milli("max"), plain("sum"), plain("kin"),
		sub("beyond", list(sub("", tuple(lasting("total"), lasting("prefix"), lasting("suffix"), lasting("longest"))))))
	start = tuple(plain("epoch"), plain("channel"), plain("channel plan"), named("basis", "wall", "boot"), plain("boot id"),
		plain("previous start"), plain("previous size"), plain("previous root"))
	nodes      = list(sub("node", tuple(sub("digest", digest), plain("hash"))))
	rangeProof = tuple(plain("a"), plain("b"), sub("nodes", nodes))
)

// Section 7.
var (
	trust = keyed(map[int64]field{1: plain("version"), 2: sub("authorities", list(key)),
		3: sub("logs", list(sub("log", tuple(plain("origin"), key)))), 4: plain("audience"), 5: sub("chains", list(sub("chain", chain))),
		6: sub("witnesses", keyed(map[int64]field{1: plain("quorum"), 2: sub("named", list(sub("witness", tuple(plain("name"), key)))), 3: plain("devices count")}))})
	chain = keyed(map[int64]field{1: plain("id"), 2: chainKind, 3: plain("validators"),
		4: sub("keys", list(sub("", tuple(plain("key"), plain("power"))))), 5: sub("contract", tuple(plain("address"),
			sub("blocks", list(sub("", tuple(plain("number"), plain("hash")))))))})
	chainKind    = named("kind", "", "CometBFT", "EVM")
	passportFile = keyed(map[int64]field{1: plain("version"), 2: sub("item", tuple(plain("gtin"), plain("serial"))),
		3: sub("ledgers", list(sub("ledger", ledger))), 4: sub("evidence", list(sub("evidence", evidence))), 5: sub("trails", list(sub("trail", trail))),
		6: sub("members", list(sub("member", tuple(plain("evidence"), named("list", "", "", "", "", "", "", "items", "inputs"), plain("index"), embedded("leaf", item), sub("path", hashes))))),
		7: sub("input passports", list(plain("passport")))})
	ledger = keyed(map[int64]field{1: sub("newest", checkpoint), 2: sub("receipt signature", tuple(embedded("protected", protected), plain("signature"))),
		3: sub("multi-proof", hashes), 4: sub("older", list(sub("checkpoint", checkpoint)))})
	checkpoint = keyed(map[int64]field{1: textual("note").saying(noteIDs), 2: sub("anchor", anchor), 3: plain("chain evidence")})
	anchor     = tuple(plain("chain"), chainKind, plain("height"), plain("block"), wall("time"))
	evidence   = keyed(map[int64]field{1: signed1("statement"), 2: sub("place", tuple(plain("ledger"), plain("index"))),
		3: sub("shown", tuple(sub("records", list(sub("shown", tuple(plain("index"), embedded("record", record))))), sub("multi-proof", hashes)))})
	trail = keyed(map[int64]field{1: plain("zone"), 2: plain("device kid"), 3: plain("channel"), 4: sub("head", ref),
		5: embedded("start", start), 6: sub("range", rangeProof), 7: sub("older heads", list(sub("", ref))), 8: sub("runs", list(sub("run", run))),
		9: sub("moments", list(sub("", tuple(plain("evidence"), plain("moment")))))})
	run    = tuple(plain("first block"), sub("records", list(embedded("record", record))))
	ref    = tuple(plain("evidence"), plain("record"))
	hashes = list(plain(""))
)

func keyID(encoded []byte) []ident {
	k, err := statement.ParseKey(encoded)
	if err != nil {
		return []ident{{word: fmt.Sprintf("not a usable key: %v", err)}}
	}
	id := k.ID()
	return []ident{{"kid", id[:]}}
}

func statementIDs(encoded []byte) []ident {
	s, err := statement.Parse(encoded)
	if bare, _, transparent := statement.DetachReceipts(encoded); transparent == nil {
		s, err = bare, nil
	}
	if err != nil {
		return []ident{{word: fmt.Sprintf("no verifier takes it: %v", err)}}
	}
	id, entry := s.ID(), s.Entry()
	return []ident{{"id", id[:]}, {"ledger entry", entry[:]}}
}
