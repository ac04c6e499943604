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
	Trigger ReportTrigger
	N       uint16 // 0: no limit
	Content Content
}

// An AISpec takes inventory until the ROSpec stops it.
type AISpec struct {
	Antennas []uint16 // at most 256; a 0 among them means all
	StopMS   uint32   // 0: no limit of its own, else how long in milliseconds
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
				return bytesTLV(b, pInventoryParameter, 0, 1, gen2)
			})
		}
		if s.Report != nil {
			b = s.Report.append(b)
		}
		return b
	}), nil
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
		return bytesTLV(b, pTagReportSelector, byte(r.Content>>8), byte(r.Content))
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
		}
	}
	if !inventory {
		return AISpec{}, errors.New("llrp: aispec has no inventory parameters")
	}
	return a, nil
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
		if p.Type == pTagReportSelector {
			f := fields{b: p.Data}
			if r.Content = Content(f.u16()); f.err != nil {
				return ReportSpec{}, f.err
			}
		}
	}
	return r, nil
}

// EncodeROSpecID returns the payload of DELETE_, ENABLE_, START_ and
// STOP_ROSPEC; 0 names all.
func EncodeROSpecID(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }

// DecodeROSpecID reads what EncodeROSpecID wrote.
func DecodeROSpecID(payload []byte) (uint32, error) {
	f := fields{b: payload}
	return f.u32(), f.err
}
