package llrp

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// An EventType is what a client can switch on and off (LLRP 1.0.1 section 13.2.6.3).
type EventType uint16

const (
	EventROSpec    EventType = 2
	EventBuffer    EventType = 3 // fill warning and overflow
	EventException EventType = 4
	EventAntenna   EventType = 8
)

// Config is the payload of SET_READER_CONFIG. What is nil stays as it is.
type Config struct {
	Reset     bool               // to factory defaults, before the rest applies
	Keepalive *time.Duration     // whole milliseconds; 0 switches keepalives off
	Hold      *bool              // hold reports and events after a reconnect until told
	Events    map[EventType]bool // at most 64 are read or sent; the standard has 10
}

// maxEvents bounds Config.Events.
const maxEvents = 64

// Encode returns the payload; a keepalive outside 0 to 2^32-1 ms is moved to the edge.
func (c Config) Encode() []byte {
	b := []byte{flag(c.Reset)}
	if len(c.Events) > 0 {
		b = appendTLV(b, pEventSpec, func(b []byte) []byte {
			types := slices.Sorted(maps.Keys(c.Events))
			for _, t := range types[:min(len(types), maxEvents)] {
				b = bytesTLV(b, pEventState, byte(t>>8), byte(t), flag(c.Events[t]))
			}
			return b
		})
	}
	if c.Keepalive != nil {
		b = appendTLV(b, pKeepaliveSpec, func(b []byte) []byte {
			ms := min(max(c.Keepalive.Milliseconds(), 0), math.MaxUint32)
			b = append(b, byte(min(ms, 1))) // trigger: none or periodic
			return binary.BigEndian.AppendUint32(b, uint32(ms))
		})
	}
	if c.Hold != nil {
		b = bytesTLV(b, pEventsAndReports, flag(*c.Hold))
	}
	return b
}

func flag(on bool) byte {
	if on {
		return 0x80
	}
	return 0
}

// DecodeConfig reads SET_READER_CONFIG.
func DecodeConfig(payload []byte) (Config, error) {
	if len(payload) == 0 {
		return Config{}, fmt.Errorf("llrp: %v of 0 bytes < 1", SetReaderConfig)
	}
	c, err := decodeConfig(payload[1:])
	c.Reset = payload[0]&0x80 != 0
	return c, err
}

// decodeConfig reads the parameters that setting and getting a configuration share.
func decodeConfig(b []byte) (Config, error) {
	var c Config
	for p, err := range Params(b) {
		if err != nil {
			return Config{}, err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pKeepaliveSpec:
			var every time.Duration
			if trigger, ms := f.u8(), f.u32(); trigger == 1 {
				every = time.Duration(ms) * time.Millisecond
			}
			c.Keepalive = &every
		case pEventsAndReports:
			c.Hold = new(f.u8()&0x80 != 0)
		case pEventSpec:
			for p, err := range Params(p.Data) {
				if err != nil {
					return Config{}, err
				}
				if p.Type != pEventState {
					continue
				}
				if c.Events == nil {
					c.Events = map[EventType]bool{}
				}
				f := fields{b: p.Data}
				c.Events[EventType(f.u16())] = f.u8()&0x80 != 0
				if f.err != nil {
					return Config{}, f.err
				}
				if len(c.Events) > maxEvents {
					return Config{}, fmt.Errorf("llrp: more than %d event types", maxEvents)
				}
			}
		}
		if f.err != nil {
			return Config{}, f.err
		}
	}
	return c, nil
}
