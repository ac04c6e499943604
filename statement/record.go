package statement

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
	"trailmark/trace"
)

// A RecordKind says what a record's body is.
type RecordKind uint64

// Kinds of records.
const (
	RecordBlock     RecordKind = 1
	RecordHead      RecordKind = 2
	RecordSighting  RecordKind = 3
	RecordHappening RecordKind = 4
)

// A Record is the unit of a frame that can be shown alone.
type Record struct {
	_    struct{} `cbor:",toarray"`
	Salt [16]byte
	Kind RecordKind
	Body cbor.RawMessage
}

// ParseRecord decodes a record whose body is one of its kind.
func ParseRecord(data []byte) (Record, error) {
	var r Record
	if err := dcbor.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("record: %w", err)
	}
	_, err := Body{Kind: r.Kind, Data: r.Body}.Decode()
	return r, err
}

// A Body is a record without its salt, as a device sends it to the gateway.
type Body struct {
	_    struct{} `cbor:",toarray"`
	Kind RecordKind
	Data []byte
}

// NewBody encodes v, a *Block, *HeadRecord, *Sighting or *Happening.
func NewBody(v interface{ Check() error }) (Body, error) {
	if err := v.Check(); err != nil {
		return Body{}, err
	}
	var kind RecordKind
	switch v.(type) {
	case *Block:
		kind = RecordBlock
	case *HeadRecord:
		kind = RecordHead
	case *Sighting:
		kind = RecordSighting
	case *Happening:
		kind = RecordHappening
	default:
		return Body{}, fmt.Errorf("%T is no record body", v)
	}
	b, err := dcbor.Marshal(v)
	return Body{Kind: kind, Data: b}, err
}

// Decode returns the body as a *Block, *HeadRecord, *Sighting or *Happening.
func (b Body) Decode() (any, error) {
	var v interface{ Check() error }
	switch b.Kind {
	case RecordBlock:
		v = new(Block)
	case RecordHead:
		v = new(HeadRecord)
	case RecordSighting:
		v = new(Sighting)
	case RecordHappening:
		v = new(Happening)
	default:
		return nil, fmt.Errorf("record kind %d is not one this version knows", b.Kind)
	}
	if err := dcbor.Unmarshal(b.Data, v); err != nil {
		return nil, fmt.Errorf("record of kind %d: %w", b.Kind, err)
	}
	return v, v.Check()
}

// Salt is the salt of record i of the frame with this seed.
func Salt(seed [32]byte, i int) [16]byte {
	info := binary.BigEndian.AppendUint32([]byte("trailmark record"), uint32(i))
	b, err := hkdf.Key(sha256.New, seed[:], nil, string(info), 16)
	if err != nil {
		panic(err) // 16 bytes of HKDF-SHA256 cannot fail
	}
	return [16]byte(b)
}

// Records encodes bodies with the salts of seed, in order.
func Records(seed [32]byte, bodies []Body) [][]byte {
	out := make([][]byte, len(bodies))
	for i, b := range bodies {
		out[i] = SaltedRecord(Salt(seed, i), b)
	}
	return out
}

// SaltedRecord encodes one record.
func SaltedRecord(salt [16]byte, b Body) []byte {
	out := make([]byte, 0, 24+len(b.Data))
	out = dcbor.AppendArray(out, 3)
	out = dcbor.AppendBytes(out, salt[:])
	out = dcbor.AppendInt(out, int64(b.Kind))
	return append(out, b.Data...)
}

// A Block is the readings of one channel in one frame.
type Block struct {
	Channel string  `cbor:"1,keyasint"`
	Prev    *int64  `cbor:"2,keyasint,omitempty"` // time of the trace's previous reading
	First   int64   `cbor:"3,keyasint"`           // time of the first reading, ms
	Gaps    *Gaps   `cbor:"4,keyasint,omitempty"` // between readings
	Values  []int64 `cbor:"5,keyasint"`           // thousandths of the unit
	Raw     []byte  `cbor:"6,keyasint,omitempty"` // what the values do not give back: equally many bytes for each, in order
}

// Gaps are the times between the readings of a block: one number when they are
// all equal, else a list.
type Gaps []int64

// MarshalCBOR writes the one form that the wire format allows.
func (g Gaps) MarshalCBOR() ([]byte, error) {
	if len(g) == 1 {
		return dcbor.AppendInt(nil, g[0]), nil
	}
	return dcbor.Marshal([]int64(g))
}

// UnmarshalCBOR reads either form; Block.Check refuses the wrong one.
func (g *Gaps) UnmarshalCBOR(data []byte) error {
	if len(data) > 0 && data[0]>>5 == 4 {
		var list []int64
		if err := dcbor.Unmarshal(data, &list); err != nil {
			return err
		}
		if len(list) < 2 {
			return errors.New("list of fewer than two gaps")
		}
		*g = list
		return nil
	}
	var one int64
	if err := dcbor.Unmarshal(data, &one); err != nil {
		return err
	}
	*g = Gaps{one}
	return nil
}

// NewBlock makes a block of readings (times in ms, values in thousandths), after
// a reading at prev (negative: none).
func NewBlock(channel string, prev int64, times, values []int64) (*Block, error) {
	if len(times) == 0 || len(times) != len(values) {
		return nil, fmt.Errorf("%d times and %d values make no block", len(times), len(values))
	}
	b := &Block{Channel: channel, First: times[0], Values: values}
	if prev >= 0 {
		b.Prev = &prev
	}
	if n := len(times) - 1; n > 0 {
		gaps, equal := make(Gaps, n), true
		for i := range gaps {
			gaps[i] = times[i+1] - times[i]
			equal = equal && gaps[i] == gaps[0]
		}
		if equal {
			gaps = gaps[:1]
		}
		b.Gaps = &gaps
	}
	return b, b.Check()
}

// Times are the readings' times in ms.
func (b *Block) Times() []int64 {
	times := make([]int64, len(b.Values))
	t := b.First
	for i := range times {
		if i > 0 {
			if g := *b.Gaps; len(g) == 1 {
				t += g[0]
			} else {
				t += g[i-1]
			}
		}
		times[i] = t
	}
	return times
}

// Check refuses a block that breaks the wire format.
func (b *Block) Check() error {
	if !validName(b.Channel) || len(b.Values) == 0 || len(b.Values) > dcbor.MaxItems || len(b.Raw) > 1<<16 {
		return errors.New("block out of bounds")
	}
	if b.First < 1 || !validTime(b.First) || b.Prev != nil && (!validTime(*b.Prev) || *b.Prev >= b.First) {
		return errors.New("block times do not increase")
	}
	if len(b.Raw)%len(b.Values) != 0 {
		return fmt.Errorf("%d raw bytes are not equally many for each of %d values", len(b.Raw), len(b.Values))
	}
	for _, v := range b.Values {
		if v < trace.MinValue || v > trace.MaxValue {
			return fmt.Errorf("value %d is not within 32 bits", v)
		}
	}
	n := len(b.Values) - 1
	if (b.Gaps == nil) != (n == 0) {
		return fmt.Errorf("%d values and gaps do not go together", n+1)
	}
	if n == 0 {
		return nil
	}
	gaps := *b.Gaps
	if len(gaps) != 1 && len(gaps) != n {
		return fmt.Errorf("%d gaps between %d values", len(gaps), n+1)
	}
	end, equal := b.First, len(gaps) > 1
	for i := range n {
		g := gaps[min(i, len(gaps)-1)]
		if g < 1 || !validTime(g) {
			return fmt.Errorf("gap of %d ms", g)
		}
		if end += g; !validTime(end) {
			return errors.New("block times out of bounds")
		}
		equal = equal && g == gaps[0]
	}
	if equal {
		return errors.New("equal gaps written as a list")
	}
	return nil
}

// A HeadRecord is the state of a channel's trace after this frame's block; Start
// is there in the first frame of a trace.
type HeadRecord struct {
	Channel string       `cbor:"1,keyasint"`
	Head    trace.Head   `cbor:"2,keyasint"`
	Start   *trace.Start `cbor:"3,keyasint,omitempty"`
}

// Check refuses a head record that breaks the wire format.
func (h *HeadRecord) Check() error {
	if !validName(h.Channel) {
		return errors.New("channel name out of bounds")
	}
	if s := h.Start; s != nil {
		if err := s.Check(); err != nil {
			return err
		}
		if s.Channel != h.Channel || s.Hash() != h.Head.Start {
			return errors.New("trace start is not the one the head names")
		}
	}
	return h.Head.Check()
}

// A Sighting is one tag seen by one antenna over a span.
type Sighting struct {
	Antenna string `cbor:"1,keyasint"`
	EPC     []byte `cbor:"2,keyasint"`
	TID     []byte `cbor:"3,keyasint,omitempty"`
	First   int64  `cbor:"4,keyasint"` // ms
	Last    int64  `cbor:"5,keyasint"`
	Reads   uint64 `cbor:"6,keyasint"`
	RSSI    *int64 `cbor:"7,keyasint,omitempty"` // strongest, dBm
}

// Check refuses a sighting that breaks the wire format.
func (s *Sighting) Check() error {
	if !validName(s.Antenna) || len(s.EPC) < 4 || len(s.EPC) > 64 ||
		(s.TID != nil && len(s.TID) < 4) || len(s.TID) > 64 ||
		!validTime(s.First) || !validTime(s.Last) || s.First > s.Last ||
		s.Reads < 1 || s.Reads > 1<<32-1 || s.RSSI != nil && (*s.RSSI < -200 || *s.RSSI > 100) {
		return errors.New("sighting out of bounds")
	}
	return nil
}

// A HappeningType says what happened on a device.
type HappeningType uint64

// Types of happenings.
const (
	Boot         HappeningType = 1
	ClockStep    HappeningType = 2
	Lost         HappeningType = 3 // a probe or a reader
	Back         HappeningType = 4
	Configured   HappeningType = 5
	Tamper       HappeningType = 6
	Door         HappeningType = 7
	Power        HappeningType = 8
	Gap          HappeningType = 9 // frames lost on the card
	AlarmStart   HappeningType = 10
	AlarmTrigger HappeningType = 11
	AlarmEnd     HappeningType = 12
	KeyRotation  HappeningType = 13
	Fault        HappeningType = 14 // a probe answered with what is no measurement
	Stray        HappeningType = 15 // a tag was heard too little to count as present
	Passage      HappeningType = 16 // a tag went through a portal, or turned back
)

// Codes of a Passage.
const (
	PassedIn   = 1
	PassedOut  = 2
	TurnedBack = 3
	Unclear    = 4 // which way cannot be told
)

// An AlarmDetail is what the raw bytes of an alarm's start and end say.
type AlarmDetail struct {
	_     struct{} `cbor:",toarray"`
	Limit trace.Limit
	Value int64      // the reading that began the alarm; at its end the one furthest beyond
	End   AlarmEnded // 0 at the start
}

// AlarmEnded says why an alarm ended.
type AlarmEnded uint64

// Why alarms end.
const (
	EndInRange AlarmEnded = 1 // readings were within the limit again
	EndLost    AlarmEnded = 2 // nothing was measured any more
	EndPlan    AlarmEnded = 3 // another plan is in force, without this limit
)

// ParseAlarmDetail decodes the raw bytes of an alarm's start or end.
func ParseAlarmDetail(raw []byte) (AlarmDetail, error) {
	var d AlarmDetail
	if err := dcbor.Unmarshal(raw, &d); err != nil {
		return AlarmDetail{}, fmt.Errorf("alarm: %w", err)
	}
	if d.Limit.Comparison != trace.AtOrAbove && d.Limit.Comparison != trace.AtOrBelow || d.End > EndPlan ||
		min(d.Limit.Value, d.Value) < trace.MinValue || max(d.Limit.Value, d.Value) > trace.MaxValue {
		return AlarmDetail{}, errors.New("alarm out of bounds")
	}
	return d, nil
}

// A Happening is an event on the device itself.
type Happening struct {
	Type    HappeningType `cbor:"1,keyasint"`
	At      int64         `cbor:"2,keyasint"`
	Subject string        `cbor:"3,keyasint,omitempty"` // channel, antenna or portal
	Until   *int64        `cbor:"4,keyasint,omitempty"`
	Count   uint64        `cbor:"5,keyasint,omitempty"`
	Code    *uint64       `cbor:"6,keyasint,omitempty"`
	Raw     []byte        `cbor:"7,keyasint,omitempty"`
	Seqs    *[2]uint64    `cbor:"8,keyasint,omitempty"` // from, to
	Words   string        `cbor:"9,keyasint,omitempty"`
}

// Check refuses a happening that breaks the wire format.
func (h *Happening) Check() error {
	if h.Type < Boot || h.Type > Passage || !validTime(h.At) || h.Subject != "" && !validName(h.Subject) ||
		h.Until != nil && (!validTime(*h.Until) || *h.Until < h.At) || h.Count > 1<<32-1 ||
		h.Code != nil && *h.Code > 1<<16-1 || len(h.Raw) > 1024 || !validText(h.Words) ||
		h.Seqs != nil && (h.Seqs[0] > h.Seqs[1] || h.Seqs[1] > MaxUint) {
		return errors.New("happening out of bounds")
	}
	return nil
}
