package bme280

import "math"

// A Trimming is the set of compensation parameters that the factory measures for
// each chip (datasheet section 4.2.2, table 16).
type Trimming struct {
	T1                             uint16
	T2, T3                         int16
	P1                             uint16
	P2, P3, P4, P5, P6, P7, P8, P9 int16
	H1                             uint8
	H2                             int16
	H3                             uint8
	H4, H5                         int16 // 12 bits
	H6                             int8
}

// Example is the set of the datasheet's worked example (BST-BMP280-DS001, section
// 3.12), with the humidity part of a common chip.
var Example = Trimming{
	T1: 27504, T2: 26435, T3: -1000,
	P1: 36477, P2: -10685, P3: 3024, P4: 2855, P5: 140, P6: -7, P7: 15500, P8: -14600, P9: 6000,
	H1: 75, H2: 370, H3: 0, H4: 313, H5: 50, H6: 30,
}

// registers writes the set to where a driver reads it: 0x88 to 0xa1 and 0xe1 to
// 0xe7.
func (t *Trimming) registers(reg *[256]byte) {
	for i, v := range []uint16{
		t.T1, uint16(t.T2), uint16(t.T3), t.P1, uint16(t.P2), uint16(t.P3), uint16(t.P4),
		uint16(t.P5), uint16(t.P6), uint16(t.P7), uint16(t.P8), uint16(t.P9),
	} {
		reg[0x88+2*i], reg[0x89+2*i] = byte(v), byte(v>>8)
	}
	reg[0xa1] = t.H1
	reg[0xe1], reg[0xe2] = byte(t.H2), byte(uint16(t.H2)>>8)
	reg[0xe3] = t.H3
	reg[0xe4] = byte(t.H4 >> 4)
	reg[0xe5] = byte(t.H4&0x0f) | byte(t.H5&0x0f)<<4
	reg[0xe6] = byte(t.H5 >> 4)
	reg[0xe7] = byte(t.H6)
}

// fine returns the formulas' t_fine for a temperature in °C.
func fine(celsius float64) float64 { return celsius * 5120 }

// The compensation formulas in floating point (datasheet section 8.1), of which
// the chip is the inverse: a reading, in counts of 20 or 16 bits, for which they
// give the wanted value.

func (t *Trimming) celsius(adc float64) float64 {
	a := (adc/16384 - float64(t.T1)/1024) * float64(t.T2)
	b := adc/131072 - float64(t.T1)/8192
	return (a + b*b*float64(t.T3)) / 5120
}

func (t *Trimming) pascal(adc, fine float64) float64 {
	a := fine/2 - 64000
	b := a*a*float64(t.P6)/32768 + a*float64(t.P5)*2
	b = b/4 + float64(t.P4)*65536
	a = (float64(t.P3)*a*a/524288 + float64(t.P2)*a) / 524288
	a = (1 + a/32768) * float64(t.P1)
	p := (1048576 - adc - b/4096) * 6250 / a
	return p + (float64(t.P9)*p*p/2147483648+p*float64(t.P8)/32768+float64(t.P7))/16
}

func (t *Trimming) humidity(adc, fine float64) float64 {
	h := fine - 76800
	h = (adc - (float64(t.H4)*64 + float64(t.H5)/16384*h)) *
		(float64(t.H2) / 65536 * (1 + float64(t.H6)/67108864*h*(1+float64(t.H3)/67108864*h)))
	return h * (1 - float64(t.H1)*h/524288)
}

// invert returns the reading from 0 to full for which f is nearest to want. f
// rises or falls all the way; the reading saturates at either end.
func invert(f func(adc float64) float64, want float64, full float64) float64 {
	low, high := 0.0, full
	rising := f(full) > f(0)
	for range 48 { // to well below one count
		mid := (low + high) / 2
		if (f(mid) < want) == rising {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Round((low + high) / 2)
}
