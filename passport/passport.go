// Package passport is the evidence file of one item and its offline check.
//
// A passport holds signed statements with their places in a ledger, single
// records disclosed from device frames, and range proofs over the channels of
// every zone the item was seen in. Verify recomputes the verdict from these and a
// trust file, without network or clock; it trusts no key, rule, plan or chain
// because the passport contains it. docs/wire-format.md section 7 is normative.
package passport

import (
	"bytes"
	"errors"
	"fmt"

	"trailmark/internal/dcbor"
	"trailmark/statement"
	"trailmark/trace"
)

// MediaType of a passport file.
const MediaType = "application/vnd.trailmark.passport+cbor"

// Bounds of a file in bytes: of a passport from anybody, and of an audit
// passport that somebody asked for.
const (
	MaxSize  = 512 << 10
	MaxAudit = 16 << 20
)

// MaxRun bounds the blocks of one run.
const MaxRun = 4096

// Bounds of a passport's lists.
const (
	maxLedgers  = 8
	maxOlder    = 128 // checkpoints of a ledger, heads of a trail
	maxEvidence = 4096
	maxTrails   = 256
	maxProof    = 32 << 10 // bytes of chain evidence
)

// A Passport is the decoded file; nothing in it is verified.
type Passport struct {
	Version  uint64     `cbor:"1,keyasint"`
	Item     Item       `cbor:"2,keyasint"`
	Ledgers  []Ledger   `cbor:"3,keyasint"`
	Evidence []Evidence `cbor:"4,keyasint"` // ascending by place
	Trails   []Trail    `cbor:"5,keyasint"`
	Members  []Member   `cbor:"6,keyasint,omitempty"` // of version 2; ascending by evidence, list, index
	Inputs   [][]byte   `cbor:"7,keyasint,omitempty"` // of version 2; passports of what the item was made from
}

// An Item is named as in a GS1 Digital Link: /01/{GTIN}/21/{Serial}.
type Item struct {
	_      struct{} `cbor:",toarray"`
	GTIN   string   `json:"gtin"` // 14 digits
	Serial string   `json:"serial"`
}

// A Ledger proves what is shown of one ledger: all evidence, and the older
// checkpoints, are of the tree of its newest checkpoint.
type Ledger struct {
	Newest    Checkpoint              `cbor:"1,keyasint"`
	Signature statement.RootSignature `cbor:"2,keyasint"`
	Proof     []statement.Hash        `cbor:"3,keyasint"`           // multi-proof
	Older     []Checkpoint            `cbor:"4,keyasint,omitempty"` // ascending by size
}

// A Checkpoint is a ledger head, with the block that a chain keeps it in.
type Checkpoint struct {
	Note   []byte  `cbor:"1,keyasint"`
	Anchor *Anchor `cbor:"2,keyasint,omitempty"`
	Proof  []byte  `cbor:"3,keyasint,omitempty"` // the chain's evidence for the anchor
}

// A ChainKind says how a chain's evidence is checked.
type ChainKind uint64

// Kinds of chains.
const (
	Comet ChainKind = 1
	EVM   ChainKind = 2
)

// An Anchor names the block that holds a checkpoint.
type Anchor struct {
	_      struct{} `cbor:",toarray"`
	Chain  string
	Kind   ChainKind
	Height uint64
	Block  statement.Hash
	Time   int64 // ms
}

// Evidence is a statement, its place in a ledger, and records shown from it.
type Evidence struct {
	Statement []byte `cbor:"1,keyasint"`
	Place     Place  `cbor:"2,keyasint"`
	Shown     *Shown `cbor:"3,keyasint,omitempty"`
}

// A Place is an entry of one of the passport's ledgers.
type Place struct {
	_      struct{} `cbor:",toarray"`
	Ledger uint64
	Index  uint64
}

// Shown are records of a frame with their multi-proof.
type Shown struct {
	_       struct{} `cbor:",toarray"`
	Records []Record // ascending by index
	Proof   []statement.Hash
}

// A Record is an encoded record and its index in the frame.
type Record struct {
	_     struct{} `cbor:",toarray"`
	Index uint64
	Data  []byte
}

// A Trail is one channel's trace over the time the item was in a zone.
type Trail struct {
	Zone    string         `cbor:"1,keyasint"`
	Device  statement.Hash `cbor:"2,keyasint"`
	Channel string         `cbor:"3,keyasint"`
	Head    Ref            `cbor:"4,keyasint"`
	Start   []byte         `cbor:"5,keyasint"` // encoded trace.Start
	Range   trace.Range    `cbor:"6,keyasint"`
	Older   []Ref          `cbor:"7,keyasint,omitempty"` // earlier heads, ascending by size
	Runs    []Run          `cbor:"8,keyasint,omitempty"` // of an audit
	Moments []MomentRef    `cbor:"9,keyasint,omitempty"` // of version 2; ascending by size
}

// A Ref names a disclosed record.
type Ref struct {
	_        struct{} `cbor:",toarray"`
	Evidence uint64
	Record   uint64
}

// A Run is consecutive blocks of a trace, shown whole.
type Run struct {
	_       struct{} `cbor:",toarray"`
	First   uint64
	Records Blocks
}

// Blocks are encoded block records.
type Blocks [][]byte

// minBlock is less than any block record is long, in bytes.
const minBlock = 22

// MarshalCBOR writes an array of byte strings.
func (b Blocks) MarshalCBOR() ([]byte, error) { return dcbor.Marshal([][]byte(b)) }

// UnmarshalCBOR reads an array of byte strings, and refuses short ones before it
// allocates: a byte of theirs would cost twenty-four of ours.
func (b *Blocks) UnmarshalCBOR(data []byte) error {
	n, rest, err := head(data, 4)
	if err != nil || n < 1 || n > MaxRun {
		return fmt.Errorf("run of %d blocks is out of bounds", n)
	}
	if n > uint64(len(rest)/minBlock) {
		return fmt.Errorf("run of %d blocks in %d bytes", n, len(rest))
	}
	rest = bytes.Clone(rest)
	out := make(Blocks, n)
	for i := range out {
		size, after, err := head(rest, 2)
		if err != nil || size < minBlock || size > dcbor.MaxMessage || size > uint64(len(after)) {
			return fmt.Errorf("block record of %d bytes is out of bounds", size)
		}
		out[i], rest = after[:size:size], after[size:]
	}
	*b = out
	return nil
}

// head reads the head of a data item of a major type; that it is the shortest is
// checked when all is encoded again.
func head(data []byte, major byte) (n uint64, rest []byte, err error) {
	if len(data) == 0 || data[0]>>5 != major {
		return 0, nil, errors.New("data item of another type")
	}
	info, rest := data[0]&31, data[1:]
	if info < 24 {
		return uint64(info), rest, nil
	}
	size := 1 << (info - 24)
	if info > 27 || size > len(rest) {
		return 0, nil, errors.New("data item is cut short")
	}
	for _, c := range rest[:size] {
		n = n<<8 | uint64(c)
	}
	return n, rest[size:], nil
}

// Parse decodes a passport of any size up to MaxAudit.
func Parse(data []byte) (*Passport, error) {
	var p Passport
	if err := dcbor.UnmarshalMax(data, &p, MaxAudit); err != nil {
		return nil, err
	}
	return &p, p.check()
}

// check refuses what is out of the wire format's bounds, outside byte strings.
func (p *Passport) check() error {
	switch {
	case p.Version < 1 || p.Version > 2 || p.Version < p.needs():
		return fmt.Errorf("passport version %d, want %d", p.Version, p.needs())
	case len(p.Item.GTIN) != 14 || len(p.Item.Serial) < 1 || len(p.Item.Serial) > 20:
		return fmt.Errorf("item %q %q is not a gtin-14 and a serial", p.Item.GTIN, p.Item.Serial)
	case len(p.Ledgers) < 1 || len(p.Ledgers) > maxLedgers || len(p.Evidence) < 1 || len(p.Evidence) > maxEvidence || len(p.Trails) > maxTrails:
		return fmt.Errorf("%d ledgers, %d statements, %d trails are out of bounds", len(p.Ledgers), len(p.Evidence), len(p.Trails))
	}
	for i := range p.Ledgers {
		l := &p.Ledgers[i]
		if len(l.Older) > maxOlder || l.Older != nil && len(l.Older) == 0 || len(l.Proof) > dcbor.MaxItems {
			return fmt.Errorf("ledger %d of %d older checkpoints and %d hashes is out of bounds", i, len(l.Older), len(l.Proof))
		}
		for _, c := range l.checkpoints() {
			if err := c.check(); err != nil {
				return fmt.Errorf("ledger %d: %w", i, err)
			}
		}
	}
	for i, e := range p.Evidence {
		if s := e.Shown; s != nil && len(s.Records) < 1 {
			return fmt.Errorf("statement %d shows no record but says so", i)
		}
	}
	for i := range p.Trails {
		if err := p.Trails[i].check(); err != nil {
			return fmt.Errorf("trail %d: %w", i, err)
		}
	}
	return p.checkJourney()
}

// checkpoints are the newest, then the older ones.
func (l *Ledger) checkpoints() []Checkpoint { return append([]Checkpoint{l.Newest}, l.Older...) }

func (c *Checkpoint) check() error {
	if len(c.Note) < 1 || len(c.Note) > statement.MaxCheckpoint || len(c.Proof) > maxProof || c.Proof != nil && (len(c.Proof) == 0 || c.Anchor == nil) {
		return fmt.Errorf("checkpoint of %d bytes with %d of evidence is out of bounds", len(c.Note), len(c.Proof))
	}
	if a := c.Anchor; a != nil && (len(a.Chain) > statement.MaxText || a.Kind != Comet && a.Kind != EVM ||
		a.Height > statement.MaxUint || a.Time < 0 || a.Time > trace.MaxTime) {
		return fmt.Errorf("anchor of chain %q at height %d is out of bounds", a.Chain, a.Height)
	}
	return nil
}

func (t *Trail) check() error {
	if len(t.Range.Nodes) < 1 || len(t.Range.Nodes) > trace.MaxNodes || len(t.Older) > maxOlder || t.Older != nil && len(t.Older) == 0 ||
		t.Runs != nil && len(t.Runs) == 0 || t.Range.A > trace.MaxSize || t.Range.B > trace.MaxSize {
		return fmt.Errorf("%d nodes, %d older heads, %d runs are out of bounds", len(t.Range.Nodes), len(t.Older), len(t.Runs))
	}
	if t.Moments != nil && len(t.Moments) == 0 || len(t.Moments) > maxMoments {
		return fmt.Errorf("%d moments are out of bounds", len(t.Moments))
	}
	for _, r := range t.Runs {
		if len(r.Records) < 1 || len(r.Records) > MaxRun || r.First > trace.MaxSize {
			return fmt.Errorf("run of %d blocks is out of bounds", len(r.Records))
		}
	}
	return nil
}

// Encode is the passport's file, of the least version that has all its members
// unless it is of a later one already.
func (p *Passport) Encode() ([]byte, error) {
	p.Version = max(p.Version, p.needs())
	data, err := dcbor.Marshal(p)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxAudit {
		return nil, fmt.Errorf("passport of %d bytes is over the limit of %d", len(data), MaxAudit)
	}
	return data, nil
}
