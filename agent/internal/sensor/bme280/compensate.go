package bme280

import (
	"encoding/binary"
	"math"

	"trailmark/agent/internal/sensor"
)

// trimming is the factory trimming: registers 0x88 to 0x9f, 0xa1, 0xe1 to 0xe7.
type trimming [32]byte

// unsigned and signed give a little endian word.
func (t *trimming) unsigned(i int) int64 { return int64(binary.LittleEndian.Uint16(t[i:])) }
func (t *trimming) signed(i int) int64   { return int64(int16(binary.LittleEndian.Uint16(t[i:]))) }

// plausible reports trimming that a chip can have: without dig_T1 or dig_P1 it
// was not read.
func (t *trimming) plausible() bool { return t.unsigned(0) != 0 && t.unsigned(6) != 0 }

// The formulas are those of the data sheet (section 4.2.3), in 64 bits throughout
// and bounded, so that no trimming makes one overflow into a value that looks right.

// temperature gives hundredths of °C, and the fine temperature for the others.
func (t *trimming) temperature(adc int64) (centi, fine int64) {
	t1, t2, t3 := t.unsigned(0), t.signed(2), t.signed(4)
	d := adc>>4 - t1
	fine = (adc>>3-t1<<1)*t2>>11 + (d*d>>12)*t3>>14
	return (fine*5 + 128) >> 8, fine
}

// pressure gives Pa in 24.8 fixed point; ok is false where the formula has no result.
func (t *trimming) pressure(adc, fine int64) (p int64, ok bool) {
	p1 := t.unsigned(6)
	var p2, p3, p4, p5, p6, p7, p8, p9 = t.signed(8), t.signed(10), t.signed(12), t.signed(14),
		t.signed(16), t.signed(18), t.signed(20), t.signed(22)
	v1 := fine - 128000
	v2 := v1*v1*p6 + (v1*p5)<<17 + p4<<35
	v1 = (v1*v1*p3)>>8 + (v1*p2)<<12
	v1 = (1<<47 + v1) * p1 >> 33
	if v1 == 0 {
		return 0, false
	}
	n := (1048576-adc)<<31 - v2
	if n < 0 || n > math.MaxInt64/3125 {
		return 0, false
	}
	if p = n * 3125 / v1; p < 0 || p > 1<<34 { // 24.16 here: four times what the chip can measure
		return 0, false
	}
	v1 = p9 * (p >> 13) * (p >> 13) >> 25
	v2 = p8 * p >> 19
	return (p+v1+v2)>>8 + p7<<4, true
}

// humidity gives %RH in 22.10 fixed point, clamped to 0 to 100 as the data sheet does.
func (t *trimming) humidity(adc, fine int64) int64 {
	h1, h2, h3, h6 := int64(t[24]), t.signed(25), int64(t[27]), int64(int8(t[31]))
	h4 := int64(int8(t[28]))<<4 | int64(t[29]&0x0f)
	h5 := int64(int8(t[30]))<<4 | int64(t[29]>>4)
	v := fine - 76800
	v = ((adc<<14 - h4<<20 - h5*v + 16384) >> 15) *
		((((v*h6>>10)*(v*h3>>11+32768)>>10+2097152)*h2 + 8192) >> 14)
	v -= ((v >> 15) * (v >> 15) >> 7) * h1 >> 4
	return min(max(v, 0), 419430400) >> 12
}

// A reading is thousandths of a unit, or a fault and 0.
type reading struct {
	milli int64
	fault sensor.Fault
}

// Indices of the channels.
const (
	temp = iota
	humidity
	pressure
	channels
)

// compensate gives the readings of the data registers 0xf7 to 0xfe. A quantity
// that says "not measured" (section 4.2.3: 0x80000, 0x8000) is a FaultPowerOn,
// although a chip at just that value would say the same; and without a
// temperature there is nothing else.
func compensate(data [8]byte, t *trimming) (out [channels]reading) {
	adcP := int64(data[0])<<12 | int64(data[1])<<4 | int64(data[2])>>4
	adcT := int64(data[3])<<12 | int64(data[4])<<4 | int64(data[5])>>4
	adcH := int64(data[6])<<8 | int64(data[7])

	centi, fine := t.temperature(adcT)
	out[temp] = bound(centi*10, -40_000, 85_000)
	if adcT == 0x80000 {
		out[temp] = reading{fault: sensor.FaultPowerOn}
	}
	if out[temp].fault != sensor.FaultNone {
		out[humidity], out[pressure] = out[temp], out[temp]
		return out
	}
	out[humidity] = bound(t.humidity(adcH, fine)*1000/1024, 0, 100_000)
	if adcH == 0x8000 {
		out[humidity] = reading{fault: sensor.FaultPowerOn}
	}
	if p, ok := t.pressure(adcP, fine); ok {
		out[pressure] = bound(p*1000/256, 30_000_000, 110_000_000)
	} else {
		out[pressure] = reading{fault: sensor.FaultRange}
	}
	if adcP == 0x80000 {
		out[pressure] = reading{fault: sensor.FaultPowerOn}
	}
	return out
}

// bound refuses what the chip cannot measure (section 1.1).
func bound(milli, low, high int64) reading {
	if milli < low || milli > high {
		return reading{fault: sensor.FaultRange}
	}
	return reading{milli: milli}
}
