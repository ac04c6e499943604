package statement

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
)

// TopicUp is where a device publishes, docs/wire-format.md section 5.
func TopicUp(tenant string, kid Hash) string { return "tm/v1/" + tenant + "/" + kid.String() + "/up" }

// TopicDown is where a device listens.
func TopicDown(tenant string, kid Hash) string {
	return "tm/v1/" + tenant + "/" + kid.String() + "/down"
}

// Up is what a device publishes: a frame statement and what its records root
// was made from.
type Up struct {
	_         struct{} `cbor:",toarray"`
	Version   uint64
	Statement []byte
	Seed      [32]byte
	Bodies    []WireBody
}

// A WireBody is a record body on its way up.
type WireBody struct {
	_    struct{} `cbor:",toarray"`
	Kind RecordKind
	Body []byte
}

// EncodeUp makes the message for a frame and its bodies.
func EncodeUp(s *Statement, seed [32]byte, bodies []Body) ([]byte, error) {
	u := Up{Version: 1, Statement: s.Bytes(), Seed: seed}
	for _, b := range bodies {
		u.Bodies = append(u.Bodies, WireBody{Kind: b.Kind, Body: b.Data})
	}
	data, err := dcbor.Marshal(u)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("message of %d bytes is over the limit of %d", len(data), MaxSize)
	}
	return data, nil
}

// A Delivery is a decoded Up: a frame whose records root is that of its bodies.
// Its signature is not checked yet.
type Delivery struct {
	Statement *Statement
	Frame     *Frame
	Seed      [32]byte
	Bodies    []Body
	Contents  []any    // the decoded bodies: *Block, *HeadRecord, *Sighting, *Happening
	Records   [][]byte // salted and encoded, in order
}

// ErrRecords reports records that do not give the root the frame signs.
var ErrRecords = errors.New("records do not give the frame's root")

// ErrOrder reports records that are not in the order of the wire format, or
// blocks and heads that do not go together.
var ErrOrder = errors.New("records out of order")

// ParseUp decodes an up message with every record in it and recomputes the
// records root: what could not be shown later is refused now.
func ParseUp(data []byte) (*Delivery, error) {
	var u Up
	if err := dcbor.Unmarshal(data, &u); err != nil {
		return nil, err
	}
	if u.Version != 1 {
		return nil, fmt.Errorf("message version %d, want 1", u.Version)
	}
	s, err := Parse(u.Statement)
	if err != nil {
		return nil, err
	}
	f, err := s.Frame()
	if err != nil {
		return nil, err
	}
	if uint64(len(u.Bodies)) != f.Count {
		return nil, fmt.Errorf("%w: %d records, the frame has %d", ErrRecords, len(u.Bodies), f.Count)
	}
	d := &Delivery{Statement: s, Frame: f, Seed: u.Seed, Bodies: make([]Body, len(u.Bodies)), Contents: make([]any, len(u.Bodies))}
	for i, b := range u.Bodies {
		d.Bodies[i] = Body{Kind: b.Kind, Data: b.Body}
		if d.Contents[i], err = d.Bodies[i].Decode(); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
	}
	if err := checkOrder(d.Bodies, d.Contents); err != nil {
		return nil, err
	}
	if d.Records = Records(u.Seed, d.Bodies); RecordsRoot(d.Records) != f.Root {
		return nil, ErrRecords
	}
	return d, nil
}

// Cosigned is a device's answer to Cosign, on the topic that frames come on.
type Cosigned struct {
	_       struct{} `cbor:",toarray"`
	Version uint64   // 2, which tells it from an Up
	Origin  Hash     // SHA-256 of the origin line
	Size    uint64   // of the checkpoint
	Line    []byte   // the signature line
}

const (
	versionCosigned = 2
	maxLine         = 256 // bytes of a cosignature
)

// IsCosigned reports whether an up message is a Cosigned, by its first element.
func IsCosigned(data []byte) bool {
	return len(data) > 1 && data[0]>>5 == 4 && data[1] == versionCosigned
}

// EncodeCosigned makes the message for a signature line.
func EncodeCosigned(origin Hash, size uint64, line []byte) ([]byte, error) {
	c := Cosigned{Version: versionCosigned, Origin: origin, Size: size, Line: line}
	if err := c.Check(); err != nil {
		return nil, err
	}
	return dcbor.Marshal(c)
}

// ParseCosigned decodes a Cosigned. Nothing in it is verified.
func ParseCosigned(data []byte) (*Cosigned, error) {
	var c Cosigned
	if err := dcbor.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	return &c, c.Check()
}

// Check refuses an answer out of bounds.
func (c *Cosigned) Check() error {
	if c.Version != versionCosigned || c.Size < 1 || c.Size > MaxUint || len(c.Line) < 1 || len(c.Line) > maxLine {
		return fmt.Errorf("cosignature of version %d, of size %d, of %d bytes is out of bounds", c.Version, c.Size, len(c.Line))
	}
	return nil
}

// checkOrder holds the order of a frame's records: by kind, blocks by channel,
// and exactly one head for each block.
func checkOrder(bodies []Body, contents []any) error {
	var blocks, heads []string
	for i, v := range contents {
		if i > 0 && bodies[i].Kind < bodies[i-1].Kind {
			return fmt.Errorf("%w: kind %d after kind %d", ErrOrder, bodies[i].Kind, bodies[i-1].Kind)
		}
		switch v := v.(type) {
		case *Block:
			if n := len(blocks); n > 0 && v.Channel <= blocks[n-1] {
				return fmt.Errorf("%w: block of %q after %q", ErrOrder, v.Channel, blocks[n-1])
			}
			blocks = append(blocks, v.Channel)
		case *HeadRecord:
			heads = append(heads, v.Channel)
		}
	}
	if !slices.Equal(blocks, heads) {
		return fmt.Errorf("%w: blocks of %q, heads of %q", ErrOrder, blocks, heads)
	}
	return nil
}

// Types of down messages.
const (
	DownReceipts = 1
	DownPlan     = 2
	DownCosign   = 3
	DownFinal    = 4
	DownResend   = 5
)

// Receipts tells a device which of its statements are in the ledger.
type Receipts struct {
	_           struct{} `cbor:",toarray"`
	Type        uint64
	Checkpoint  []byte
	Consistency []Consistency // the device takes the one from the size it verified last
	Included    []Included
}

// Consistency leads from the checkpoint of an older size to this one; from size
// 0 the path is empty.
type Consistency struct {
	_       struct{} `cbor:",toarray"`
	OldSize uint64
	Path    []Hash
}

// Included is one statement's place in the ledger at the checkpoint's size.
type Included struct {
	_     struct{} `cbor:",toarray"`
	Seq   uint64
	ID    Hash
	Index uint64
	Path  []Hash
}

// PlanDown brings a plan and the identities that its signature rests on.
type PlanDown struct {
	_          struct{} `cbor:",toarray"`
	Type       uint64
	Plan       []byte
	Identities [][]byte
}

// Cosign asks a device to be a witness of a checkpoint.
type Cosign struct {
	_           struct{} `cbor:",toarray"`
	Type        uint64
	Checkpoint  []byte
	Consistency []Consistency // the device takes the one from the size it verified last
}

// Final tells the newest anchored checkpoint and its final block.
type Final struct {
	_     struct{} `cbor:",toarray"`
	Type  uint64
	After After
}

// Resend asks for the statements of an epoch from a seq on.
type Resend struct {
	_     struct{} `cbor:",toarray"`
	Type  uint64
	Epoch uint64
	From  uint64
}

// ParseDown decodes a message to a device: *Receipts, *PlanDown, *Cosign,
// *Final or *Resend.
func ParseDown(data []byte) (any, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("message of %d bytes is over the limit of %d", len(data), MaxSize)
	}
	var parts []cbor.RawMessage
	if err := dcbor.Unmarshal(data, &parts); err != nil {
		return nil, err
	}
	var typ uint64
	if len(parts) == 0 || dcbor.Unmarshal(parts[0], &typ) != nil {
		return nil, errors.New("down message has no type")
	}
	var v interface{ Check() error }
	switch typ {
	case DownReceipts:
		v = new(Receipts)
	case DownPlan:
		v = new(PlanDown)
	case DownCosign:
		v = new(Cosign)
	case DownFinal:
		v = new(Final)
	case DownResend:
		v = new(Resend)
	default:
		return nil, fmt.Errorf("down message of type %d is not one this version knows", typ)
	}
	if err := dcbor.Unmarshal(data, v); err != nil {
		return nil, err
	}
	if err := v.Check(); err != nil {
		return nil, err
	}
	return v, nil
}

// Check refuses receipts out of bounds. Nothing in them is verified yet.
func (r *Receipts) Check() error {
	ok := checkConsistency(r.Checkpoint, r.Consistency)
	for _, i := range r.Included {
		ok = ok && i.Seq <= MaxUint && i.Index <= MaxUint && len(i.Path) <= 64
	}
	if !ok {
		return errors.New("receipts out of bounds")
	}
	return nil
}

func checkConsistency(checkpoint []byte, proofs []Consistency) bool {
	ok := len(checkpoint) <= MaxCheckpoint && len(proofs) >= 1 && len(proofs) <= 8
	for _, c := range proofs {
		ok = ok && c.OldSize <= MaxUint && len(c.Path) <= 128 && (c.OldSize > 0 || len(c.Path) == 0)
	}
	return ok
}

// Check refuses a request out of bounds. Nothing in it is verified yet.
func (c *Cosign) Check() error {
	if !checkConsistency(c.Checkpoint, c.Consistency) {
		return errors.New("request for a cosignature out of bounds")
	}
	return nil
}

// Check refuses nothing: the plan and its identities are statements, which Parse
// and a Keyring judge.
func (*PlanDown) Check() error { return nil }

// Check refuses what a device could not sign in a frame.
func (f *Final) Check() error { return f.After.Check() }

// Check refuses a request out of bounds.
func (r *Resend) Check() error {
	if r.Epoch > MaxUint || r.From > MaxUint {
		return errors.New("resend out of bounds")
	}
	return nil
}
