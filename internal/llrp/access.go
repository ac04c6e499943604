package llrp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Memory banks of a Gen2 tag.
const (
	BankEPC = 1
	BankTID = 2
)

// An AccessSpec reads a piece of memory of every tag that an ROSpec
// inventories. It needs no password and never stops by itself.
type AccessSpec struct {
	ID     uint32 // not 0
	ROSpec uint32 // 0: any
	OpSpec uint16 // names the read in reports; not 0
	Bank   uint8  // 0..3
	First  uint16 // word
	Words  uint16
}

// Encode returns the payload of ADD_ACCESSSPEC.
func (s AccessSpec) Encode() ([]byte, error) {
	if s.ID == 0 || s.OpSpec == 0 || s.Bank > 3 {
		return nil, fmt.Errorf("llrp: accessspec %d with opspec %d of bank %d", s.ID, s.OpSpec, s.Bank)
	}
	return appendTLV(nil, pAccessSpec, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, s.ID)
		b = append(b, 0, 0, gen2, 0) // all antennas, disabled
		b = binary.BigEndian.AppendUint32(b, s.ROSpec)
		b = bytesTLV(b, pAccessSpecStop, 0, 0, 0)
		b = appendTLV(b, pAccessCommand, func(b []byte) []byte {
			b = appendTLV(b, pC1G2TagSpec, func(b []byte) []byte {
				// A mask of no bits in the EPC bank: every tag matches.
				return bytesTLV(b, pC1G2TargetTag, BankEPC<<6|1<<5, 0, 0, 0, 0, 0, 0)
			})
			return appendTLV(b, pC1G2Read, func(b []byte) []byte {
				b = binary.BigEndian.AppendUint16(b, s.OpSpec)
				b = append(b, 0, 0, 0, 0, s.Bank<<6)
				b = binary.BigEndian.AppendUint16(b, s.First)
				return binary.BigEndian.AppendUint16(b, s.Words)
			})
		})
		return bytesTLV(b, pAccessReportSpec, 0) // with the ROSpec's reports
	}), nil
}

// DecodeAccessSpec reads ADD_ACCESSSPEC. What an AccessSpec here cannot say is
// an error, because to pass over it would change the operation.
func DecodeAccessSpec(payload []byte) (AccessSpec, error) {
	for p, err := range Params(payload) {
		if err != nil {
			return AccessSpec{}, err
		}
		if p.Type == pAccessSpec {
			return decodeAccessSpec(p.Data)
		}
	}
	return AccessSpec{}, fmt.Errorf("llrp: %v has no accessspec", AddAccessSpec)
}

func decodeAccessSpec(b []byte) (AccessSpec, error) {
	f := fields{b: b}
	s := AccessSpec{ID: f.u32()}
	antenna, protocol, state := f.u16(), f.u8(), f.u8()
	s.ROSpec = f.u32()
	if f.err != nil {
		return AccessSpec{}, f.err
	}
	if s.ID == 0 || antenna != 0 || protocol != gen2 || state != 0 {
		return AccessSpec{}, fmt.Errorf("llrp: accessspec %d for antenna %d and protocol %d in state %d: want an id, 0, 1 and 0", s.ID, antenna, protocol, state)
	}
	for p, err := range Params(f.b) {
		if err != nil {
			return AccessSpec{}, err
		}
		switch p.Type {
		case pAccessSpecStop:
			if f := (fields{b: p.Data}); f.u8() != 0 {
				return AccessSpec{}, errors.New("llrp: accessspec has a stop trigger")
			}
		case pAccessCommand:
			if err := s.decodeCommand(p.Data); err != nil {
				return AccessSpec{}, err
			}
		}
	}
	if s.OpSpec == 0 {
		return AccessSpec{}, fmt.Errorf("llrp: accessspec %d reads nothing", s.ID)
	}
	return s, nil
}

func (s *AccessSpec) decodeCommand(b []byte) error {
	for p, err := range Params(b) {
		if err != nil {
			return err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pC1G2TagSpec:
			for p, err := range Params(p.Data) {
				if err != nil {
					return err
				}
				f := fields{b: p.Data}
				f.u8()
				if f.u16(); p.Type != pC1G2TargetTag || f.u16() != 0 || f.err != nil {
					return errors.New("llrp: accessspec is for some tags only")
				}
			}
		case pC1G2Read:
			if s.OpSpec != 0 {
				return errors.New("llrp: accessspec of more than one read")
			}
			s.OpSpec = f.u16()
			f.u32()
			s.Bank, s.First, s.Words = f.u8()>>6, f.u16(), f.u16()
			if f.err != nil {
				return f.err
			}
		}
	}
	return nil
}

// A ReadResult is what became of a read in one tag.
type ReadResult struct {
	OpSpec uint16
	Result uint8  // ReadOK or why not
	Data   []byte // whole words, of ReadOK only
}

// Results of a read.
const (
	ReadOK         = 0
	ReadNoAnswer   = 2 // the tag was gone
	ReadOverrun    = 4 // the tag has no such words
	maxReadResults = 16
)

func (r ReadResult) append(b []byte) []byte {
	return appendTLV(b, pC1G2ReadResult, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(append(b, r.Result), r.OpSpec)
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.Data)/2))
		return append(b, r.Data...)
	})
}

func decodeReadResult(b []byte) (ReadResult, error) {
	f := fields{b: b}
	r := ReadResult{Result: f.u8(), OpSpec: f.u16()}
	r.Data = f.take(2 * int(f.u16()))
	return r, f.err
}

// A Spec is what GET_ROSPECS and GET_ACCESSSPECS say about one spec.
type Spec struct {
	ID    uint32
	State uint8 // of an ROSpec: 0 disabled, 1 inactive, 2 active; of an AccessSpec: 0 disabled, 1 active
}

// StateActive is the state of an ROSpec that holds its antennas.
const StateActive = 2

// EncodeROSpecs returns the payload of a successful GET_ROSPECS_RESPONSE: each
// spec as it was added, in its present state.
func EncodeROSpecs(specs []ROSpec, state uint8) ([]byte, error) {
	b := Status{}.Encode()
	for _, s := range specs {
		at := len(b)
		one, err := s.Encode()
		if err != nil {
			return nil, err
		}
		b = append(b, one...)
		b[at+9] = state
	}
	return b, nil
}

// EncodeAccessSpecs returns the payload of a successful GET_ACCESSSPECS_RESPONSE.
func EncodeAccessSpecs(specs []AccessSpec, active bool) ([]byte, error) {
	b := Status{}.Encode()
	for _, s := range specs {
		at := len(b)
		one, err := s.Encode()
		if err != nil {
			return nil, err
		}
		b = append(b, one...)
		b[at+11] = flag(active)
	}
	return b, nil
}

// DecodeSpecs reads either response. What the specs do is passed over: they may
// be anybody's.
func DecodeSpecs(payload []byte) ([]Spec, error) {
	if err := checkStatus(payload); err != nil {
		return nil, err
	}
	var specs []Spec
	for p, err := range Params(payload) {
		if err != nil {
			return nil, err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pROSpec:
			id := f.u32()
			f.u8()
			specs = append(specs, Spec{id, f.u8()})
		case pAccessSpec:
			id := f.u32()
			f.u16()
			f.u8()
			specs = append(specs, Spec{id, f.u8() >> 7})
		}
		if f.err != nil {
			return nil, f.err
		}
	}
	return specs, nil
}
