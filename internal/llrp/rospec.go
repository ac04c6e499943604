package llrp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// gen2 is the air protocol EPCglobal Class 1 Gen 2, ISO 18000-63.
const gen2 = 1

// A StartTrigger says when an enabled ROSpec becomes active.
type StartTrigger uint8

const (
	StartOnRequest   StartTrigger = 0 // START_ROSPEC only
	StartImmediately StartTrigger = 1 // as soon as it is enabled
)

// A ReportTrigger says when collected reads are sent.
type ReportTrigger uint8

const (
	ReportOnRequest ReportTrigger = 0 // GET_REPORT only
	ReportEndAISpec ReportTrigger = 1 // after N tags, or at the end of an AISpec
	ReportEndROSpec ReportTrigger = 2 // after N tags, or at the end of the ROSpec
)

// Content says which fields a report holds; the bits are those of
// TagReportContentSelector.
type Content uint16

const (
	HasROSpecID  Content = 1 << 15
	HasAntenna   Content = 1 << 12
	HasRSSI      Content = 1 << 10
	HasFirstSeen Content = 1 << 9
	HasLastSeen  Content = 1 << 8
	HasSeenCount Content = 1 << 7
)

// A ReportSpec is an ROReportSpec.
type ReportSpec struct {
	Trigger       ReportTrigger
	N             uint16 // 0: no limit
	Content       Content
	SerializedTID bool // Impinj only: read each tag's TID along with its EPC ("FastID")
}

// An AISpec takes inventory until the ROSpec stops it.
type AISpec struct {
	Antennas  []uint16   // at most 256; a 0 among them means all
	StopMS    uint32     // 0: no limit of its own, else how long in milliseconds
	Inventory *Inventory // nil: as the reader is configured
}

// An Inventory is how tags are called on all antennas of an AISpec.
type Inventory struct {
	Session    uint8      // 0..3: how long a tag stays silent after its answer
	Population uint16     // how many tags to expect at once
	Search     SearchMode // Impinj only; 0 is not sent
	Transmit   *Transmit  // nil: as the reader is configured
}

// Transmit is power and channel, each by its index in the reader's own tables.
type Transmit struct {
	HopTable uint16 // with Capabilities.Hopping, else 0
	Channel  uint16 // from 1 without hopping, else 0
	Power    uint16
}

// An ROSpec is a reader operation: inventory of Gen2 tags, and how to report it.
type ROSpec struct {
	ID       uint32 // not 0
	Priority uint8  // 0 is the highest
	Start    StartTrigger
	StopMS   uint32   // 0: runs until STOP_ROSPEC, else how long in milliseconds
	AISpecs  []AISpec // 1 to 32, one after the other
	Report   *ReportSpec
}

// Encode returns the payload of ADD_ROSPEC.
func (s ROSpec) Encode() ([]byte, error) {
	if s.ID == 0 {
		return nil, errors.New("llrp: rospec id is 0, which names all of them")
	}
	if len(s.AISpecs) < 1 || len(s.AISpecs) > 32 {
		return nil, fmt.Errorf("llrp: rospec of %d aispecs: want 1 to 32", len(s.AISpecs))
	}
	for _, a := range s.AISpecs {
		if len(a.Antennas) < 1 || len(a.Antennas) > 256 {
			return nil, fmt.Errorf("llrp: aispec of %d antennas: want 1 to 256", len(a.Antennas))
		}
		if a.Inventory != nil && a.Inventory.Session > 3 {
			return nil, fmt.Errorf("llrp: session %d > 3", a.Inventory.Session)
		}
	}
	return appendTLV(nil, pROSpec, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, s.ID)
		b = append(b, s.Priority, 0) // state: the standard wants disabled here
		b = appendTLV(b, pROBoundarySpec, func(b []byte) []byte {
			b = bytesTLV(b, pROSpecStartTrigger, byte(s.Start))
			return appendStop(b, pROSpecStopTrigger, s.StopMS)
		})
		for _, a := range s.AISpecs {
			b = appendTLV(b, pAISpec, func(b []byte) []byte {
				b = binary.BigEndian.AppendUint16(b, uint16(len(a.Antennas)))
				for _, id := range a.Antennas {
					b = binary.BigEndian.AppendUint16(b, id)
				}
				b = appendStop(b, pAISpecStopTrigger, a.StopMS)
				return appendTLV(b, pInventoryParameter, func(b []byte) []byte {
					b = append(b, 0, 1, gen2)
					if a.Inventory != nil {
						b = a.Inventory.append(b)
					}
					return b
				})
			})
		}
		if s.Report != nil {
			b = s.Report.append(b)
		}
		return b
	}), nil
}

// append writes an AntennaConfiguration for all antennas.
func (v Inventory) append(b []byte) []byte {
	return appendTLV(b, pAntennaConfiguration, func(b []byte) []byte {
		b = append(b, 0, 0)
		if t := v.Transmit; t != nil {
			b = appendTLV(b, pRFTransmitter, func(b []byte) []byte {
				b = binary.BigEndian.AppendUint16(b, t.HopTable)
				b = binary.BigEndian.AppendUint16(b, t.Channel)
				return binary.BigEndian.AppendUint16(b, t.Power)
			})
		}
		return appendTLV(b, pC1G2Inventory, func(b []byte) []byte {
			b = append(b, 0) // the reader itself chooses between A and B
			b = appendTLV(b, pC1G2Singulation, func(b []byte) []byte {
				b = binary.BigEndian.AppendUint16(append(b, v.Session<<6), v.Population)
				return append(b, 0, 0, 0, 0) // tag transit time: unknown
			})
			if v.Search != SearchReader {
				b = customTLV(b, impinjSearchMode, byte(v.Search>>8), byte(v.Search))
			}
			return b
		})
	})
}

// appendStop writes the trigger both stop parameters share: 0 none, 1 duration.
func appendStop(b []byte, t ParamType, ms uint32) []byte {
	return appendTLV(b, t, func(b []byte) []byte {
		return binary.BigEndian.AppendUint32(append(b, byte(min(ms, 1))), ms)
	})
}

func (r ReportSpec) append(b []byte) []byte {
	return appendTLV(b, pROReportSpec, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(append(b, byte(r.Trigger)), r.N)
		b = bytesTLV(b, pTagReportSelector, byte(r.Content>>8), byte(r.Content))
		if r.SerializedTID {
			b = customTLV(b, impinjReportSelector, customTLV(nil, impinjEnableSerializedTID, 0, 1)...)
		}
		return b
	})
}

// DecodeROSpec reads ADD_ROSPEC. A trigger or protocol that an ROSpec here
// cannot say is an error, because to pass over it would change the operation.
func DecodeROSpec(payload []byte) (ROSpec, error) {
	for p, err := range Params(payload) {
		if err != nil {
			return ROSpec{}, err
		}
		if p.Type == pROSpec {
			return decodeROSpec(p.Data)
		}
	}
	return ROSpec{}, fmt.Errorf("llrp: %v has no rospec", AddROSpec)
}

func decodeROSpec(b []byte) (ROSpec, error) {
	f := fields{b: b}
	s := ROSpec{ID: f.u32(), Priority: f.u8()}
	state := f.u8()
	if f.err != nil {
		return ROSpec{}, f.err
	}
	if s.ID == 0 || state != 0 {
		return ROSpec{}, fmt.Errorf("llrp: rospec %d in state %d: want an id and state 0, disabled", s.ID, state)
	}
	bounded := false
	for p, err := range Params(f.b) {
		if err != nil {
			return ROSpec{}, err
		}
		switch p.Type {
		case pROBoundarySpec:
			bounded = true
			err = s.decodeBoundary(p.Data)
		case pAISpec:
			if len(s.AISpecs) == 32 {
				return ROSpec{}, errors.New("llrp: rospec of more than 32 aispecs")
			}
			var a AISpec
			a, err = decodeAISpec(p.Data)
			s.AISpecs = append(s.AISpecs, a)
		case pROReportSpec:
			var r ReportSpec
			r, err = decodeReportSpec(p.Data)
			s.Report = &r
		}
		if err != nil {
			return ROSpec{}, err
		}
	}
	if !bounded || len(s.AISpecs) == 0 {
		return ROSpec{}, fmt.Errorf("llrp: rospec %d lacks its boundary or an aispec", s.ID)
	}
	return s, nil
}

func (s *ROSpec) decodeBoundary(b []byte) error {
	for p, err := range Params(b) {
		if err != nil {
			return err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pROSpecStartTrigger:
			if s.Start = StartTrigger(f.u8()); s.Start > StartImmediately {
				return fmt.Errorf("llrp: start trigger %d is neither 0, none, nor 1, immediate", s.Start)
			}
			err = f.err
		case pROSpecStopTrigger:
			s.StopMS, err = decodeStop(p.Data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func decodeStop(b []byte) (uint32, error) {
	f := fields{b: b}
	trigger, ms := f.u8(), f.u32()
	switch {
	case f.err != nil:
		return 0, f.err
	case trigger > 1:
		return 0, fmt.Errorf("llrp: stop trigger %d is neither 0, none, nor 1, duration", trigger)
	case trigger == 0:
		return 0, nil
	}
	return ms, nil
}

func decodeAISpec(b []byte) (AISpec, error) {
	f := fields{b: b}
	n := int(f.u16())
	if n < 1 || n > 256 {
		return AISpec{}, fmt.Errorf("llrp: aispec of %d antennas: want 1 to 256", n)
	}
	var a AISpec
	for range n {
		a.Antennas = append(a.Antennas, f.u16())
	}
	if f.err != nil {
		return AISpec{}, f.err
	}
	inventory := false
	for p, err := range Params(f.b) {
		if err != nil {
			return AISpec{}, err
		}
		switch p.Type {
		case pAISpecStopTrigger:
			if a.StopMS, err = decodeStop(p.Data); err != nil {
				return AISpec{}, err
			}
		case pInventoryParameter:
			f := fields{b: p.Data}
			if f.u16(); f.u8() != gen2 {
				return AISpec{}, errors.New("llrp: air protocol is not 1, gen2")
			}
			inventory = true
			if a.Inventory, err = decodeInventory(f.b); err != nil {
				return AISpec{}, err
			}
		}
	}
	if !inventory {
		return AISpec{}, errors.New("llrp: aispec has no inventory parameters")
	}
	return a, nil
}

// decodeInventory reads an AntennaConfiguration, nil if there is none.
func decodeInventory(b []byte) (*Inventory, error) {
	var v *Inventory
	for p, err := range Params(b) {
		if err != nil {
			return nil, err
		}
		if p.Type != pAntennaConfiguration {
			continue
		}
		f := fields{b: p.Data}
		if antenna := f.u16(); antenna != 0 || v != nil {
			return nil, errors.New("llrp: antennas of one aispec are configured differently")
		}
		v = &Inventory{}
		for p, err := range Params(f.b) {
			if err != nil {
				return nil, err
			}
			f := fields{b: p.Data}
			switch p.Type {
			case pRFTransmitter:
				v.Transmit = &Transmit{f.u16(), f.u16(), f.u16()}
			case pC1G2Inventory:
				err = v.decodeCommand(p.Data)
			}
			if err = errors.Join(err, f.err); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func (v *Inventory) decodeCommand(b []byte) error {
	f := fields{b: b}
	if f.u8()&0x80 != 0 {
		return errors.New("llrp: inventory is aware of the tags' state")
	}
	if f.err != nil {
		return f.err
	}
	for p, err := range Params(f.b) {
		if err != nil {
			return err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pC1G2Singulation:
			v.Session, v.Population = f.u8()>>6, f.u16()
		case pCustom:
			if subtype, body := decodeCustom(p.Data); subtype == impinjSearchMode {
				f.b = body
				v.Search = SearchMode(f.u16())
			}
		}
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

func decodeReportSpec(b []byte) (ReportSpec, error) {
	f := fields{b: b}
	r := ReportSpec{Trigger: ReportTrigger(f.u8()), N: f.u16()}
	if f.err != nil {
		return ReportSpec{}, f.err
	}
	if r.Trigger > ReportEndROSpec {
		return ReportSpec{}, fmt.Errorf("llrp: report trigger %d > %d", r.Trigger, ReportEndROSpec)
	}
	for p, err := range Params(f.b) {
		if err != nil {
			return ReportSpec{}, err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pTagReportSelector:
			r.Content = Content(f.u16())
		case pCustom:
			if subtype, body := decodeCustom(p.Data); subtype == impinjReportSelector {
				r.SerializedTID, err = decodeReportSelector(body)
			}
		}
		if err = errors.Join(err, f.err); err != nil {
			return ReportSpec{}, err
		}
	}
	return r, nil
}

func decodeReportSelector(b []byte) (serializedTID bool, err error) {
	for p, err := range Params(b) {
		if err != nil {
			return false, err
		}
		if subtype, body := decodeCustom(p.Data); p.Type == pCustom && subtype == impinjEnableSerializedTID {
			f := fields{b: body}
			serializedTID = f.u16() == 1
			if f.err != nil {
				return false, f.err
			}
		}
	}
	return serializedTID, nil
}

// EncodeROSpecID returns the payload of DELETE_, ENABLE_, START_ and
// STOP_ROSPEC, and of those for AccessSpecs; 0 names all.
func EncodeROSpecID(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }

// DecodeROSpecID reads what EncodeROSpecID wrote.
func DecodeROSpecID(payload []byte) (uint32, error) {
	f := fields{b: payload}
	return f.u32(), f.err
}
