package llrp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Capabilities is what the reader says about itself and about what it can do.
type Capabilities struct {
	Antennas     uint16 // numbered from 1
	UTCClock     bool   // false: reports carry time since start instead
	Manufacturer uint32 // IANA private enterprise number
	Model        uint32 // the manufacturer's numbering
	Firmware     string // the first 1024 bytes are sent

	MaxROSpecs, MaxAccessSpecs uint32 // 0: the reader did not say

	Power       []PowerLevel // at most 1024
	Hopping     bool         // the reader changes channels by itself
	HopTable    uint8        // the first one's number, with Hopping
	Frequencies []uint32     // kHz, of that table or of the fixed channels, which count from 1; at most 1024
}

// A PowerLevel is an entry of the table of transmit powers.
type PowerLevel struct {
	Index uint16
	Centi int16 // hundredths of a dBm
}

// maxTable bounds both tables: 8 bytes an entry, far from a 16-bit length.
const maxTable = 1024

// AllCapabilities is the payload of GET_READER_CAPABILITIES that asks for
// everything.
func AllCapabilities() []byte { return []byte{0} }

// Encode returns the payload of a successful GET_READER_CAPABILITIES_RESPONSE.
// The tables the standard wants beside it say: one sensitivity, no GPIO, Gen2 in
// one mode.
func (c Capabilities) Encode() []byte {
	b := appendTLV(Status{}.Encode(), pGeneralCapabilities, func(b []byte) []byte {
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
	b = appendTLV(b, pLLRPCapabilities, func(b []byte) []byte {
		b = append(b, 0, 1, 0, 0)
		for _, n := range []uint32{c.MaxROSpecs, 1, 1, c.MaxAccessSpecs, 1} { // the other three: what a spec may hold
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	})
	b = appendTLV(b, pRegulatory, func(b []byte) []byte {
		b = append(b, 0, 0, 0, 0) // country and standard: unspecified
		return appendTLV(b, pUHFBand, c.appendBand)
	})
	return bytesTLV(b, pC1G2Capabilities, 0, 0, 0)
}

func (c Capabilities) appendBand(b []byte) []byte {
	for _, p := range c.Power[:min(len(c.Power), maxTable)] {
		b = bytesTLV(b, pTransmitPowerLevel, byte(p.Index>>8), byte(p.Index), byte(uint16(p.Centi)>>8), byte(p.Centi))
	}
	b = appendTLV(b, pFrequencyInformation, func(b []byte) []byte {
		b = append(b, flag(c.Hopping))
		table := pFixedFrequencyTable
		if c.Hopping {
			table = pFrequencyHopTable
		}
		return appendTLV(b, table, func(b []byte) []byte {
			if c.Hopping {
				b = append(b, c.HopTable, 0)
			}
			n := min(len(c.Frequencies), maxTable)
			b = binary.BigEndian.AppendUint16(b, uint16(n))
			for _, f := range c.Frequencies[:n] {
				b = binary.BigEndian.AppendUint32(b, f)
			}
			return b
		})
	})
	return appendTLV(b, pC1G2RFModeTable, func(b []byte) []byte {
		return appendTLV(b, pC1G2RFMode, func(b []byte) []byte {
			b = binary.BigEndian.AppendUint32(b, 0)
			b = append(b, 0, 2, 0, 2) // divide ratio 8, Miller 4, PR-ASK, multi-interrogator mask
			for _, n := range []uint32{250_000, 1500, 25_000, 25_000, 0} {
				b = binary.BigEndian.AppendUint32(b, n)
			}
			return b
		})
	})
}

// DecodeCapabilities reads a GET_READER_CAPABILITIES_RESPONSE; a status other
// than success is an error.
func DecodeCapabilities(payload []byte) (Capabilities, error) {
	if err := checkStatus(payload); err != nil {
		return Capabilities{}, err
	}
	var c Capabilities
	general := false
	for p, err := range Params(payload) {
		if err != nil {
			return Capabilities{}, err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pGeneralCapabilities:
			general = true
			c.Antennas, c.UTCClock = f.u16(), f.u16()&(1<<14) != 0
			c.Manufacturer, c.Model, c.Firmware = f.u32(), f.u32(), f.text()
		case pLLRPCapabilities:
			f.take(4)
			c.MaxROSpecs = f.u32()
			f.take(8)
			c.MaxAccessSpecs = f.u32()
		case pRegulatory:
			if f.take(4); f.err == nil {
				err = c.decodeRegulatory(f.b)
			}
		}
		if err = errors.Join(err, f.err); err != nil {
			return Capabilities{}, err
		}
	}
	if !general {
		return Capabilities{}, errors.New("llrp: response has no general device capabilities")
	}
	return c, nil
}

func (c *Capabilities) decodeRegulatory(b []byte) error {
	for p, err := range Params(b) {
		if err != nil {
			return err
		}
		if p.Type != pUHFBand {
			continue
		}
		for p, err := range Params(p.Data) {
			if err != nil {
				return err
			}
			f := fields{b: p.Data}
			switch p.Type {
			case pTransmitPowerLevel:
				c.Power = append(c.Power, PowerLevel{f.u16(), int16(f.u16())})
				if len(c.Power) > maxTable {
					err = fmt.Errorf("llrp: more than %d power levels", maxTable)
				}
			case pFrequencyInformation:
				c.Hopping = f.u8()&0x80 != 0
				err = c.decodeFrequencies(f.b)
			}
			if err = errors.Join(err, f.err); err != nil {
				return err
			}
		}
	}
	return nil
}

// decodeFrequencies reads the first table that fits Hopping.
func (c *Capabilities) decodeFrequencies(b []byte) error {
	c.HopTable, c.Frequencies = 0, nil
	for p, err := range Params(b) {
		if err != nil {
			return err
		}
		f := fields{b: p.Data}
		switch {
		case p.Type == pFrequencyHopTable && c.Hopping:
			c.HopTable = f.u8()
			f.u8()
		case p.Type == pFixedFrequencyTable && !c.Hopping:
		default:
			continue
		}
		n := int(f.u16())
		if n > maxTable {
			return fmt.Errorf("llrp: %d frequencies > %d", n, maxTable)
		}
		for range n {
			c.Frequencies = append(c.Frequencies, f.u32())
		}
		return f.err
	}
	return nil
}
