package llrp

import (
	"encoding/binary"
	"errors"
)

// Capabilities is what GeneralDeviceCapabilities says about the device.
type Capabilities struct {
	Antennas     uint16 // numbered from 1
	UTCClock     bool   // false: reports carry time since start instead
	Manufacturer uint32 // IANA private enterprise number
	Model        uint32 // the manufacturer's numbering
	Firmware     string // the first 1024 bytes are sent
}

// GeneralCapabilities is the payload of GET_READER_CAPABILITIES that asks for
// Capabilities only.
func GeneralCapabilities() []byte { return []byte{1} }

// Encode returns the payload of a successful GET_READER_CAPABILITIES_RESPONSE.
// The tables the standard wants beside it say: one sensitivity, no GPIO, Gen2.
func (c Capabilities) Encode() []byte {
	return appendTLV(Status{}.Encode(), pGeneralCapabilities, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, c.Antennas)
		var flags uint16
		if c.UTCClock {
			flags = 1 << 14
		}
		b = binary.BigEndian.AppendUint16(b, flags)
		b = binary.BigEndian.AppendUint32(b, c.Manufacturer)
		b = binary.BigEndian.AppendUint32(b, c.Model)
		b = appendText(b, c.Firmware)
		b = bytesTLV(b, pReceiveSensitivity, 0, 1, 0, 0)
		b = bytesTLV(b, pGPIOCapabilities, 0, 0, 0, 0)
		for a := range min(c.Antennas, 256) { // 9 bytes each: far from the 16-bit length
			b = bytesTLV(b, pPerAntennaAirProto, byte((a+1)>>8), byte(a+1), 0, 1, gen2)
		}
		return b
	})
}

// DecodeCapabilities reads a GET_READER_CAPABILITIES_RESPONSE; a status other
// than success is an error.
func DecodeCapabilities(payload []byte) (Capabilities, error) {
	s, err := DecodeStatus(payload)
	if err != nil {
		return Capabilities{}, err
	}
	if err := s.Err(); err != nil {
		return Capabilities{}, err
	}
	for p, err := range Params(payload) {
		if err != nil {
			return Capabilities{}, err
		}
		if p.Type == pGeneralCapabilities {
			f := fields{b: p.Data}
			c := Capabilities{Antennas: f.u16(), UTCClock: f.u16()&(1<<14) != 0,
				Manufacturer: f.u32(), Model: f.u32(), Firmware: f.text()}
			return c, f.err
		}
	}
	return Capabilities{}, errors.New("llrp: response has no general device capabilities")
}
