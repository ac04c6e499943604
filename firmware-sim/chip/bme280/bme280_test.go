package bme280

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/physic"
	stock "periph.io/x/devices/v3/bmxx80"

	"trailmark/firmware-sim/chip"
	"trailmark/firmware-sim/chip/i2cbus"
)

var (
	_ i2cbus.Target = (*Chip)(nil)
	_ i2cbus.Holder = (*Chip)(nil)
)

// published is the trimming of a chip whose registers its owner published.
var published = Trimming{
	T1: 28176, T2: 26220, T3: 50,
	P1: 38237, P2: -10824, P3: 3024, P4: 7799, P5: -99, P6: -7, P7: 9900, P8: -10230, P9: 4285,
	H1: 75, H2: 366, H3: 0, H4: 309, H5: 0, H6: 30,
}

type bench struct {
	*testing.T
	start, now                time.Time
	celsius, humidity, pascal float64
	chip                      *Chip
	bus                       *i2cbus.Bus
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, now: time.Unix(1_700_000_000, 0), celsius: 4.25, humidity: 60, pascal: 101_325, bus: i2cbus.New("i2c-sim")}
	b.start = b.now
	b.chip = New(Config{
		Clock:    func() time.Time { return b.now },
		Celsius:  func(time.Time) float64 { return b.celsius },
		Humidity: func(time.Time) float64 { return b.humidity },
		Pascal:   func(time.Time) float64 { return b.pascal },
	})
	if err := b.bus.Attach(AddrLow, b.chip); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) write(w ...byte) {
	b.Helper()
	if err := b.bus.Tx(AddrLow, w, nil); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) read(reg byte, n int) []byte {
	b.Helper()
	r := make([]byte, n)
	if err := b.bus.Tx(AddrLow, []byte{reg}, r); err != nil {
		b.Fatal(err)
	}
	return r
}

func (b *bench) wants(what string, reg byte, want ...byte) {
	b.Helper()
	if got := b.read(reg, len(want)); !bytes.Equal(got, want) {
		b.Errorf("%s: %#02x holds % x, want % x", what, reg, got, want)
	}
}

func (b *bench) inject(k chip.Kind) {
	b.Helper()
	if err := b.chip.Inject(chip.Fault{Kind: k}); err != nil {
		b.Fatal(err)
	}
}

var reset = []byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0}

// The worked example of the datasheet, both ways.
func TestWorkedExample(t *testing.T) {
	celsius := Example.celsius(519888)
	if math.Abs(celsius-25.08247) > 1e-4 {
		t.Errorf("%g °C, want 25.08", celsius)
	}
	if pascal := Example.pascal(415148, fine(celsius)); math.Abs(pascal-100653.27) > 0.01 {
		t.Errorf("%g Pa, want 100653.27", pascal)
	}
	if adc := invert(Example.celsius, celsius, full); adc != 519888 {
		t.Errorf("ADC %g, want 519888", adc)
	}
	// What the reset value of the register stands for with this trimming.
	if v := Example.celsius(skipped); math.Abs(v-26.46) > 0.005 {
		t.Errorf("0x80000 is %g °C, want 26.46", v)
	}
}

func TestTrimmingRegisters(t *testing.T) {
	trim := Trimming{T1: 0x1122, T2: -2, P9: 0x3344, H1: 0x55, H2: -3, H3: 0x66, H4: -0x234, H5: -0x567, H6: -1}
	var reg [256]byte
	trim.registers(&reg)
	if !bytes.Equal(reg[0x88:0x8c], []byte{0x22, 0x11, 0xfe, 0xff}) || !bytes.Equal(reg[0x9e:0xa2], []byte{0x44, 0x33, 0, 0x55}) {
		t.Errorf("% x", reg[0x88:0xa2])
	}
	if !bytes.Equal(reg[0xe1:0xe8], []byte{
		0xfd, 0xff, 0x66,
		0xdc, // H4 = 0xdcc, its upper eight bits
		0x9c, // H5's lower four, H4's lower four
		0xa9, // H5 = 0xa99, its upper eight bits
		0xff,
	}) {
		t.Errorf("% x", reg[0xe1:0xe8])
	}
}

func TestForcedMode(t *testing.T) {
	b := newBench(t)
	b.wants("id", regID, 0x60)
	b.wants("power-on", regData, reset...)
	b.wants("power-on", regCtrlHum, 0, 0, 0, 0)
	b.write(regCtrlHum, 1, regCtrlMeas, 0x25) // one sample each, forced
	const longest = 1250 + 2300 + 2300 + 575 + 2300 + 575
	b.now = b.now.Add(longest*time.Microsecond - 1)
	b.wants("measuring", regStatus, measuring, 0x25)
	b.wants("measuring", regData, reset...)
	b.now = b.now.Add(1)
	b.wants("done", regStatus, 0, 0x24) // asleep again
	first := b.read(regData, 8)
	if bytes.Equal(first[:3], reset[:3]) || bytes.Equal(first[3:6], reset[3:6]) || bytes.Equal(first[6:], reset[6:]) {
		t.Errorf("% x", first)
	}
	if first[2]&0xf0 != 0 || first[5]&0xf0 != 0 {
		t.Errorf("one sample has 16 bits, got % x", first)
	}
	b.celsius = 30
	b.now = b.now.Add(time.Hour)
	b.wants("asleep", regData, first...)
}

func TestHumidityIsLatched(t *testing.T) {
	b := newBench(t)
	b.write(regCtrlMeas, 0x25, regCtrlHum, 1) // too late for this measurement
	b.now = b.now.Add(time.Second)
	b.wants("written after", regData+6, 0x80, 0)
	b.wants("written after", regCtrlHum, 1)
	b.write(regCtrlMeas, 0x25)
	b.now = b.now.Add(time.Second)
	if got := b.read(regData+6, 2); bytes.Equal(got, []byte{0x80, 0}) {
		t.Errorf("% x", got)
	}
	b.write(regCtrlMeas, 0x05) // pressure alone
	b.now = b.now.Add(time.Second)
	b.wants("temperature skipped", regData+3, 0x80, 0, 0)
}

func TestWritesWhileMeasuring(t *testing.T) {
	b := newBench(t)
	b.write(regCtrlMeas, 0x25)
	b.write(regCtrlMeas, 0x20) // sleep, when done
	b.write(regCtrlMeas, 0x27) // ignored, and so is the next
	b.write(regCtrlHum, 5)
	b.wants("pending", regCtrlHum, 0, measuring, 0x25)
	b.now = b.now.Add(time.Second)
	b.wants("executed", regCtrlHum, 0, 0, 0x20)
}

func TestNormalMode(t *testing.T) {
	b := newBench(t)
	b.chip.config.Celsius = func(at time.Time) float64 { return 4 + at.Sub(b.start).Seconds() }
	b.write(regConfig, 0x80, regCtrlMeas, 0x27) // every 500 ms
	b.write(regConfig, 0x00)                    // not in this mode
	b.wants("config", regConfig, 0x80)
	const measure = (1250 + 2300 + 2300 + 575) * time.Microsecond
	at := func(d time.Duration, status byte, celsius float64) {
		t.Helper()
		b.now = b.start.Add(d)
		r := b.read(regStatus, 1)
		data := b.read(regData, 8)
		adc := float64(uint32(data[3])<<12 | uint32(data[4])<<4 | uint32(data[5])>>4)
		if got := Example.celsius(adc); r[0] != status || math.Abs(got-celsius) > 0.01 {
			t.Errorf("after %v: status %#02x, %g °C, want %#02x, %g °C", d, r[0], got, status, celsius)
		}
	}
	at(measure, 0, 4+measure.Seconds())
	at(measure+500*time.Millisecond, measuring, 4+measure.Seconds())
	at(2*measure+500*time.Millisecond, 0, 4.5+2*measure.Seconds())
	n := time.Duration(50)
	at(n*(measure+500*time.Millisecond)+measure, 0, 4+(n*(measure+500*time.Millisecond)+measure).Seconds())
}

func TestNormalModeAfterALongTime(t *testing.T) {
	b := newBench(t)
	b.write(regConfig, 0x10, regCtrlMeas, 0xff) // filter 16, standby 0.5 ms
	b.now = b.now.Add(time.Second)
	before := b.read(regData, 8)
	b.celsius = 25
	b.now = b.now.Add(30 * 24 * time.Hour)
	after := b.read(regData, 8)
	adc := float64(uint32(after[3])<<12 | uint32(after[4])<<4 | uint32(after[5])>>4)
	if got := Example.celsius(adc); math.Abs(got-25) > 0.001 || bytes.Equal(before, after) {
		t.Errorf("%g °C, want 25", got)
	}
}

// Table 6 of the datasheet: samples until three quarters of a step are through.
func TestFilter(t *testing.T) {
	for i, want := range []int{1, 2, 5, 11, 22} {
		f, n := filter{}, 0
		coefficient := float64(int(1) << i)
		f.next(400_000, 5, coefficient)
		for got := uint32(0); got < 475_000; n++ {
			got = f.next(500_000, 5, coefficient)
		}
		if n != want {
			t.Errorf("coefficient %g: %d samples, want %d", coefficient, n, want)
		}
	}
	f := filter{}
	for osrs := range byte(5) { // 16 bits, and one more for each doubling
		step := uint32(16) >> osrs
		if got := f.next(0xabcdd, osrs+1, 1); got%step != 0 || math.Abs(float64(got)-0xabcdd) > float64(step)/2 {
			t.Errorf("oversampling %d: %#x", osrs+1, got)
		}
	}
	if got := f.next(full, 1, 1); got != 0xffff0 {
		t.Errorf("saturated: %#x", got)
	}
}

func TestResets(t *testing.T) {
	b := newBench(t)
	measured := func() {
		t.Helper()
		b.write(regCtrlHum, 1, regConfig, 0x08, regCtrlMeas, 0x25)
		b.now = b.now.Add(20 * time.Millisecond)
		if got := b.read(regData, 8); bytes.Equal(got, reset) {
			t.Fatal("nothing was measured")
		}
	}
	measured()
	b.write(regReset, 0xb5) // not the key
	b.wants("wrong key", regCtrlHum, 1, 0, 0x24, 0x08)
	trimming := b.read(0x88, 26)
	b.write(regReset, resetKey)
	b.wants("copying", regStatus, imUpdate)
	b.now = b.now.Add(startup)
	b.wants("reset", regCtrlHum, 0, 0, 0, 0)
	b.wants("reset", regData, reset...)

	measured()
	b.inject(chip.BrownOut)
	if err := b.bus.Tx(AddrLow, []byte{regID}, make([]byte, 1)); !errors.Is(err, i2cbus.ErrNACK) {
		t.Errorf("starting up: %v", err)
	}
	b.now = b.now.Add(startup)
	b.wants("brown-out", regCtrlHum, 0, 0, 0, 0)
	b.wants("brown-out", regData, reset...)
	b.wants("the trimming stays", 0x88, trimming...)
}

func TestFaults(t *testing.T) {
	b := newBench(t)
	if err := b.chip.Inject(chip.Fault{Kind: chip.Corrupt, Count: 1}); err != nil {
		t.Fatal(err)
	}
	b.wants("a flipped bit", regID, 0x70)
	b.wants("once", regID, 0x60)
	b.inject(chip.Short)
	if err := b.bus.Tx(AddrLow, []byte{regID}, nil); !errors.Is(err, i2cbus.ErrLow) {
		t.Errorf("short: %v", err)
	}
	b.inject(chip.Gone)
	if err := b.bus.Tx(AddrLow, []byte{regID}, nil); !errors.Is(err, i2cbus.ErrNACK) {
		t.Errorf("gone: %v", err)
	}
	b.inject(chip.None)
	b.inject(chip.Counterfeit)
	b.wants("counterfeit", regID, 0x58)
	b.wants("counterfeit", 0xe1, 0, 0, 0, 0, 0, 0, 0)
}

// The stock driver gets what the chip feels, with either trimming.
func TestStockDriver(t *testing.T) {
	for _, trim := range []*Trimming{nil, &published} {
		for _, c := range []struct{ celsius, humidity, pascal float64 }{
			{4.25, 60, 101_325}, {-18.3, 35, 98_000}, {0, 99, 87_000}, {26.46, 50, 101_325}, {45, 10, 105_000}, {84, 5, 31_000},
		} {
			synctest.Test(t, func(t *testing.T) {
				bus := i2cbus.New("i2c-sim")
				bus.Pace(time.Sleep)
				model := New(Config{
					Trimming: trim,
					Celsius:  func(time.Time) float64 { return c.celsius },
					Humidity: func(time.Time) float64 { return c.humidity },
					Pascal:   func(time.Time) float64 { return c.pascal },
				})
				if err := bus.Attach(AddrLow, model); err != nil {
					t.Fatal(err)
				}
				d, err := stock.NewI2C(bus, AddrLow, &stock.DefaultOpts)
				if err != nil {
					t.Fatal(err)
				}
				var e physic.Env
				if err := d.Sense(&e); err != nil {
					t.Fatal(err)
				}
				celsius := e.Temperature.Celsius()
				humidity := float64(e.Humidity) / float64(physic.PercentRH)
				pascal := float64(e.Pressure) / float64(physic.Pascal)
				if math.Abs(celsius-c.celsius) > 0.011 || math.Abs(humidity-c.humidity) > 0.05 || math.Abs(pascal-c.pascal) > 1.5 {
					t.Errorf("felt %+v, read %.3f °C, %.3f %%RH, %.2f Pa", c, celsius, humidity, pascal)
				}
			})
		}
	}
}

// Why the agent has a driver of its own: after a loss of power in its measurement
// the chip answers with reset values, which the stock driver compensates and
// reports as 26.46 °C without an error.
func TestStockDriverReportsABrownOutAsAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		constant := func(v float64) chip.Source { return func(time.Time) float64 { return v } }
		model := New(Config{Celsius: constant(4), Humidity: constant(60), Pascal: constant(101_325)})
		bus := i2cbus.New("i2c-sim")
		bus.Pace(time.Sleep)
		if err := bus.Attach(AddrLow, model); err != nil {
			t.Fatal(err)
		}
		d, err := stock.NewI2C(bus, AddrLow, &stock.DefaultOpts)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(5*time.Millisecond, func() {
			if err := model.Inject(chip.Fault{Kind: chip.BrownOut}); err != nil {
				t.Error(err)
			}
		})
		var e physic.Env
		if err := d.Sense(&e); err != nil || math.Abs(e.Temperature.Celsius()-26.46) > 1e-6 {
			t.Errorf("%v, %v, want 26.46 °C and no error", e.Temperature, err)
		}
	})
}

func FuzzTransactions(f *testing.F) {
	f.Add([]byte{2, 0xf2, 1, 0xf4, 0x27})
	f.Add([]byte{3, 0xe0, 0xb6, 0xf5, 0xff, 0xf4, 0xff})
	f.Fuzz(func(t *testing.T, w []byte) {
		b := newBench(t)
		for len(w) > 0 {
			n := min(1+int(w[0]&7), len(w))
			b.write(w[:n]...)
			b.read(w[0], int(w[0]>>3))
			b.now = b.now.Add(time.Duration(w[0]) * time.Millisecond)
			w = w[n:]
		}
		b.now = b.now.Add(time.Second)
		b.wants("id", regID, 0x60)
	})
}
