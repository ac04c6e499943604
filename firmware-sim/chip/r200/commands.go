package r200

import (
	"bytes"

	"trailmark/firmware-sim/chip/gen2"
	"trailmark/internal/r200"
)

func failed(code r200.ErrorCode) []r200.Frame {
	return []r200.Frame{{Kind: r200.Response, Code: r200.Failed, Params: []byte{byte(code)}}}
}

func done(to r200.Frame, params ...byte) []r200.Frame {
	return []r200.Frame{{Kind: r200.Response, Code: to.Code, Params: params}}
}

// answer carries out a command.
func (m *Module) answer(f r200.Frame) []r200.Frame {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.Kind != r200.Command || m.muted || m.rounds > 0 && f.Code != r200.StopPoll {
		return nil
	}
	var err error
	switch f.Code {
	case r200.GetInfo:
		text := map[byte]string{r200.InfoHardware: m.config.Hardware, r200.InfoSoftware: m.config.Software, r200.InfoManufacturer: m.config.Manufacturer}
		if len(f.Params) != 1 || text[f.Params[0]] == "" {
			return failed(r200.BadCommand)
		}
		return done(f, append([]byte{f.Params[0]}, text[f.Params[0]]...)...)
	case r200.GetRegion:
		return done(f, byte(m.region))
	case r200.GetPower:
		return done(f, r200.EncodePower(m.power)...)
	case r200.SetRegion:
		var region r200.Region
		if region, err = r200.DecodeRegion(f.Params); err == nil {
			m.region = region
		}
	case r200.SetPower:
		var power int16
		if power, err = r200.DecodePower(f.Params); err == nil {
			if power < minPower || power > maxPower {
				return failed(r200.BadCommand)
			}
			m.power = power
		}
	case r200.SetSelect:
		var mask []byte
		if mask, err = r200.DecodeSelect(f.Params); err == nil {
			m.mask, m.mode = mask, r200.SelectAlways // as some firmware does: to select is to switch it on
		}
	case r200.SetSelectMode:
		var mode r200.SelectMode
		if mode, err = r200.DecodeSelectMode(f.Params); err == nil {
			m.mode = mode
		}
	case r200.Poll:
		return m.round()
	case r200.PollMany:
		var rounds uint16
		if rounds, err = r200.DecodePollMany(f.Params); err == nil {
			m.rounds = int(rounds)
			return nil // the notices are the answer
		}
	case r200.StopPoll:
		m.rounds = 0
	case r200.ReadMemory:
		return m.read(f)
	default:
		return failed(r200.BadCommand)
	}
	if err != nil {
		return failed(r200.BadCommand)
	}
	return done(f, 0)
}

// poll runs a round if there are rounds to run.
func (m *Module) poll() []r200.Frame {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rounds == 0 {
		return nil
	}
	m.rounds--
	return m.round()
}

// heard runs an inventory round over the tags that are selected, if selected says so.
func (m *Module) heard(selected bool) []gen2.Tag {
	now := m.config.Clock()
	var tags []gen2.Tag
	for _, t := range m.config.Field(now) {
		if !selected || m.mask == nil || bytes.Equal(t.EPC, m.mask) {
			tags = append(tags, t)
		}
	}
	var heard []gen2.Tag
	for _, i := range m.air.Inventory(now, tags, gen2.Round{Budget: inventoryTime}) {
		heard = append(heard, tags[i])
	}
	return heard
}

func pc(epc []byte) uint16 { return uint16(len(epc)/2) << 11 }

func (m *Module) round() []r200.Frame {
	if m.jammed {
		return failed(r200.HopFailed)
	}
	var frames []r200.Frame
	for _, t := range m.heard(m.mode == r200.SelectAlways) {
		b, err := r200.Tag{PC: pc(t.EPC), EPC: t.EPC, RSSI: t.RSSI}.Encode()
		if err != nil {
			continue // no Gen2 tag has such an EPC
		}
		if m.badCRC > 0 {
			m.badCRC--
			b[len(b)-3] ^= 1
		}
		frames = append(frames, r200.Frame{Kind: r200.Notice, Code: r200.Poll, Params: b})
	}
	if frames == nil {
		return failed(r200.NoTag)
	}
	return frames
}

// memoryOverrun is Gen2's error code for a location that a tag does not have.
const memoryOverrun = 3

// read is ReadMemory of the TID bank; the module has no passwords to others.
func (m *Module) read(f r200.Frame) []r200.Frame {
	at, err := r200.DecodeMemoryRange(f.Params)
	if err != nil || at.Bank != r200.BankTID || at.Words == 0 {
		return failed(r200.BadCommand)
	}
	heard := m.heard(m.mode != r200.SelectNever)
	if len(heard) == 0 {
		return failed(r200.ReadFailed)
	}
	t := heard[0]
	from, to := 2*int(at.First), 2*(int(at.First)+int(at.Words))
	if to > len(t.TID) {
		return failed(r200.TagRefused | memoryOverrun)
	}
	b, err := r200.Memory{PC: pc(t.EPC), EPC: t.EPC, Data: t.TID[from:to]}.Encode()
	if err != nil {
		return failed(r200.ReadFailed)
	}
	return done(f, b...)
}
