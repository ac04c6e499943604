package bme280

import (
	"encoding/binary"
	"math"
	"testing"

	"trailmark/agent/internal/sensor"
)

// example is the trimming of the worked example that Bosch prints for the same
// temperature and pressure formulas (BMP280 data sheet, section 3.12).
func example() (t trimming) {
	for i, v := range []int{27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000} {
		binary.LittleEndian.PutUint16(t[2*i:], uint16(v))
	}
	copy(t[24:], specimen[24:])
	return t
}

// specimen is the trimming of a real chip.
var specimen = trimming{
	0x10, 0x6e, 0x6c, 0x66, 0x32, 0x00, 0x5d, 0x95, 0xb8, 0xd5, 0xd0, 0x0b, 0x77, 0x1e, 0x9d, 0xff,
	0xf9, 0xff, 0xac, 0x26, 0x0a, 0xd8, 0xbd, 0x10, 0x4b, 0x6e, 0x01, 0x00, 0x13, 0x05, 0x00, 0x1e,
}

// measured is what that chip sent: 23.72 °C, 65.3 %RH, 1009.4 hPa.
var measured = [8]byte{0x4a, 0x52, 0xc0, 0x80, 0x96, 0xc0, 0x7a, 0x76}

func data(adcP, adcT, adcH uint32) [8]byte {
	return [8]byte{byte(adcP >> 12), byte(adcP >> 4), byte(adcP << 4), byte(adcT >> 12), byte(adcT >> 4), byte(adcT << 4), byte(adcH >> 8), byte(adcH)}
}

func TestCompensate(t *testing.T) {
	ex := example()
	centi, fine := ex.temperature(519888)
	p, ok := ex.pressure(415148, fine)
	// The figure prints 25767236, which is the exact 100653.27 Pa; the integer
	// formula printed beside it gives three units (0.01 Pa) less.
	if centi != 2508 || fine != 128422 || p != 25767233 || !ok {
		t.Errorf("the data sheet's example: %d, %d, %d, %t; want 2508, 128422, 25767233", centi, fine, p, ok)
	}
	out := compensate(data(415148, 519888, 0x7a76), &ex)
	if out[temp].milli != 25_080 || out[pressure].milli != 100_653_253 {
		t.Errorf("the data sheet's example: %+v", out)
	}
	// What periph's driver, another implementation, makes of the same bytes.
	want := [channels]reading{temp: {milli: 23_720}, humidity: {milli: 65_305}, pressure: {milli: 100_942_695}}
	if out := compensate(measured, &specimen); out != want {
		t.Errorf("specimen: %+v, want %+v", out, want)
	}
}

func TestCompensateRefuses(t *testing.T) {
	type faults [channels]sensor.Fault
	const (
		ok  = sensor.FaultNone
		on  = sensor.FaultPowerOn
		far = sensor.FaultRange
	)
	p, temperature, h := uint32(0x4a52c), uint32(0x8096c), uint32(0x7a76)
	for _, c := range []struct {
		name string
		data [8]byte
		want faults
	}{
		{"good", data(p, temperature, h), faults{ok, ok, ok}},
		{"reset values, 26 °C to the formula", data(0x80000, 0x80000, 0x8000), faults{on, on, on}},
		{"no temperature", data(p, 0x80000, h), faults{on, on, on}},
		{"no humidity", data(p, temperature, 0x8000), faults{humidity: on}},
		{"no pressure", data(0x80000, temperature, h), faults{pressure: on}},
		{"too hot", data(p, 0xd0000, h), faults{far, far, far}},
		{"too cold", data(p, 0x40000, h), faults{far, far, far}},
		{"vacuum", data(0xffff0, temperature, h), faults{pressure: far}},
		{"too deep", data(0x10000, temperature, h), faults{pressure: far}},
	} {
		out := compensate(c.data, &specimen)
		for i, r := range out {
			if r.fault != c.want[i] || r.fault != ok && r.milli != 0 {
				t.Errorf("%s: channel %d: %d, %s; want %s", c.name, i, r.milli, r.fault, c.want[i])
			}
		}
	}
	if out := compensate(data(p, temperature, 0xffff), &specimen); out[humidity].milli != 100_000 {
		t.Errorf("saturated: %+v, want 100 %%RH", out[humidity])
	}
	if out := compensate(data(p, temperature, 0), &specimen); out[humidity].milli != 0 || out[humidity].fault != ok {
		t.Errorf("dry: %+v, want 0 %%RH", out[humidity])
	}
}

// floats are the data sheet's formulas in double precision (section 8.1).
func floats(d [8]byte, t *trimming) (temperature, rh, pa float64) {
	u := func(i int) float64 { return float64(binary.LittleEndian.Uint16(t[i:])) }
	s := func(i int) float64 { return float64(int16(binary.LittleEndian.Uint16(t[i:]))) }
	adcP := float64(uint32(d[0])<<12 | uint32(d[1])<<4 | uint32(d[2])>>4)
	adcT := float64(uint32(d[3])<<12 | uint32(d[4])<<4 | uint32(d[5])>>4)
	adcH := float64(uint32(d[6])<<8 | uint32(d[7]))
	x := adcT/131072 - u(0)/8192
	fine := (adcT/16384-u(0)/1024)*s(2) + x*x*s(4)

	v1 := fine/2 - 64000
	v2 := (v1*v1*s(16)/32768+v1*s(14)*2)/4 + s(12)*65536
	v1 = (1 + (s(10)*v1*v1/524288+s(8)*v1)/524288/32768) * u(6)
	pa = (1048576 - adcP - v2/4096) * 6250 / v1
	pa += (s(22)*pa*pa/2147483648 + pa*s(20)/32768 + s(18)) / 16

	h4 := float64(int16(int8(t[28]))<<4 | int16(t[29]&15))
	h5 := float64(int16(int8(t[30]))<<4 | int16(t[29]>>4))
	v := fine - 76800
	v = (adcH - (h4*64 + h5/16384*v)) * (s(25) / 65536 * (1 + float64(int8(t[31]))/67108864*v*(1+float64(t[27])/67108864*v)))
	v *= 1 - float64(t[24])*v/524288
	return fine / 5120, min(max(v, 0), 100), pa
}

// The integer formulas agree with the exact ones over the whole range.
func TestCompensateAgainstFloats(t *testing.T) {
	n := [channels]int{}
	for _, tr := range []trimming{example(), specimen} {
		for adcT := uint32(0x50000); adcT < 0xd0000; adcT += 0x1357 {
			for i := range uint32(64) {
				d := data(0x20000+i*0x2345, adcT, 0x4000+i*0x181)
				out := compensate(d, &tr)
				celsius, rh, pa := floats(d, &tr)
				for j, want := range [channels]float64{temp: celsius, humidity: rh, pressure: pa} {
					if out[j].fault != sensor.FaultNone {
						continue
					}
					n[j]++
					if got, off := float64(out[j].milli)/1000, [channels]float64{temp: 0.011, humidity: 0.05, pressure: 0.5}[j]; math.Abs(got-want) > off {
						t.Fatalf("channel %d of % x: %g, want %g", j, d, got, want)
					}
				}
			}
		}
	}
	if n[temp] < 5000 || n[humidity] < 5000 || n[pressure] < 2000 {
		t.Errorf("%v values compared", n)
	}
}

func FuzzCompensate(f *testing.F) {
	ex := example()
	f.Add(measured[:], specimen[:])
	reset := data(0x80000, 0x80000, 0x8000)
	f.Add(reset[:], ex[:])
	f.Fuzz(func(t *testing.T, d, tr []byte) {
		if len(d) != 8 || len(tr) != 32 {
			return
		}
		limits := [channels][2]int64{temp: {-40_000, 85_000}, humidity: {0, 100_000}, pressure: {30_000_000, 110_000_000}}
		for i, r := range compensate([8]byte(d), (*trimming)(tr)) {
			if r.fault != sensor.FaultNone && r.milli != 0 {
				t.Errorf("channel %d: %d with fault %s", i, r.milli, r.fault)
			}
			if r.fault == sensor.FaultNone && (r.milli < limits[i][0] || r.milli > limits[i][1]) {
				t.Errorf("channel %d: %d", i, r.milli)
			}
		}
	})
}
