package llrp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxEPC is the most a Gen2 tag can hold: 31 words of 16 bits.
const maxEPC = 62

// maxMemory bounds what one read gives, in bytes: 16 of them fit in a report.
const maxMemory = 1024

// A TagReport is one TagReportData. Only the fields that Has names mean anything.
type TagReport struct {
	Has      Content
	EPC      []byte // at most 62 bytes, the last one padded with zero bits; empty if there is none
	ROSpecID uint32
	Antenna  uint16       // from 1
	RSSI     int8         // dBm, peak
	First    uint64       // µs of the reader's clock, which nobody checked
	Last     uint64       // as First
	Uptime   bool         // First and Last count from the reader's start, not from 1970
	Count    uint16       // how often seen between First and Last
	Reads    []ReadResult // of AccessSpecs; at most 16
	TID      []byte       // Impinj's serialized TID, whole words; nil: not sent
}

// EncodeReports returns the payload of RO_ACCESS_REPORT.
func EncodeReports(tags []TagReport) ([]byte, error) {
	var b []byte
	for _, t := range tags {
		if len(t.EPC) > maxEPC {
			return nil, fmt.Errorf("llrp: epc of %d bytes > %d", len(t.EPC), maxEPC)
		}
		if len(t.TID) > maxMemory || len(t.TID)%2 != 0 || len(t.Reads) > maxReadResults {
			return nil, fmt.Errorf("llrp: tag with %d read results and a tid of %d bytes", len(t.Reads), len(t.TID))
		}
		for _, r := range t.Reads {
			if len(r.Data) > maxMemory || len(r.Data)%2 != 0 {
				return nil, fmt.Errorf("llrp: read result of %d bytes", len(r.Data))
			}
		}
		b = appendTLV(b, pTagReportData, t.append)
	}
	return b, nil
}

func (t TagReport) append(b []byte) []byte {
	if len(t.EPC) == 12 {
		b = append(appendTV(b, tvEPC96), t.EPC...)
	} else {
		b = appendTLV(b, pEPCData, func(b []byte) []byte {
			return append(binary.BigEndian.AppendUint16(b, uint16(8*len(t.EPC))), t.EPC...)
		})
	}
	if t.Has&HasROSpecID != 0 {
		b = binary.BigEndian.AppendUint32(appendTV(b, tvROSpecID), t.ROSpecID)
	}
	if t.Has&HasAntenna != 0 {
		b = binary.BigEndian.AppendUint16(appendTV(b, tvAntennaID), t.Antenna)
	}
	if t.Has&HasRSSI != 0 {
		b = append(appendTV(b, tvPeakRSSI), byte(t.RSSI))
	}
	var uptime ParamType
	if t.Uptime {
		uptime = 1 // each uptime parameter follows its UTC twin
	}
	if t.Has&HasFirstSeen != 0 {
		b = binary.BigEndian.AppendUint64(appendTV(b, tvFirstSeenUTC+uptime), t.First)
	}
	if t.Has&HasLastSeen != 0 {
		b = binary.BigEndian.AppendUint64(appendTV(b, tvLastSeenUTC+uptime), t.Last)
	}
	if t.Has&HasSeenCount != 0 {
		b = binary.BigEndian.AppendUint16(appendTV(b, tvTagSeenCount), t.Count)
	}
	for _, r := range t.Reads {
		b = r.append(b)
	}
	if t.TID != nil {
		b = customTLV(b, impinjSerializedTID, append(binary.BigEndian.AppendUint16(nil, uint16(len(t.TID)/2)), t.TID...)...)
	}
	return b
}

// DecodeReports reads RO_ACCESS_REPORT. Byte strings share memory with payload. What is
// no tag report, surveys and vendor additions, is passed over.
func DecodeReports(payload []byte) ([]TagReport, error) {
	var tags []TagReport
	for p, err := range Params(payload) {
		if err != nil {
			return nil, err
		}
		if p.Type != pTagReportData {
			continue
		}
		t, err := decodeTag(p.Data)
		if err != nil {
			return nil, err
		}
		tags = append(tags, t)
	}
	return tags, nil
}

func decodeTag(b []byte) (TagReport, error) {
	var t TagReport
	for p, err := range Params(b) {
		if errors.Is(err, errUnknownTV) {
			break // the length of this tag's report is known: only its rest is lost
		}
		if err != nil {
			return TagReport{}, err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case tvEPC96:
			t.EPC = p.Data
		case pEPCData:
			n := (int(f.u16()) + 7) / 8
			if n > maxEPC {
				return TagReport{}, fmt.Errorf("llrp: epc of %d bytes > %d", n, maxEPC)
			}
			t.EPC = f.take(n)
		case tvROSpecID:
			t.Has, t.ROSpecID = t.Has|HasROSpecID, f.u32()
		case tvAntennaID:
			t.Has, t.Antenna = t.Has|HasAntenna, f.u16()
		case tvPeakRSSI:
			t.Has, t.RSSI = t.Has|HasRSSI, int8(f.u8())
		case tvFirstSeenUTC, tvFirstSeenUptime:
			t.Has, t.First, t.Uptime = t.Has|HasFirstSeen, f.u64(), p.Type == tvFirstSeenUptime
		case tvLastSeenUTC, tvLastSeenUptime:
			t.Has, t.Last, t.Uptime = t.Has|HasLastSeen, f.u64(), p.Type == tvLastSeenUptime
		case tvTagSeenCount:
			t.Has, t.Count = t.Has|HasSeenCount, f.u16()
		case pC1G2ReadResult:
			var r ReadResult
			if r, err = decodeReadResult(p.Data); err == nil && (len(r.Data) > maxMemory || len(t.Reads) == maxReadResults) {
				err = fmt.Errorf("llrp: read result %d of %d bytes", len(t.Reads)+1, len(r.Data))
			}
			t.Reads = append(t.Reads, r)
		case pCustom:
			if subtype, body := decodeCustom(p.Data); subtype == impinjSerializedTID {
				f.b = body
				if t.TID = f.take(2 * int(f.u16())); len(t.TID) > maxMemory {
					err = fmt.Errorf("llrp: tid of %d bytes > %d", len(t.TID), maxMemory)
				}
			}
		}
		if err != nil {
			return TagReport{}, err
		}
		if f.err != nil {
			return TagReport{}, f.err
		}
	}
	return t, nil
}
