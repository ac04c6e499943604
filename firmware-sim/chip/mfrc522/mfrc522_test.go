package mfrc522

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"

	"trailmark/firmware-sim/chip/picc"
)

// bench is a chip on a clock that the test moves.
type bench struct {
	*Chip
	now   time.Time
	field *picc.Field
	irq   []gpio.Level
}

func newBench(tags ...*picc.Tag) *bench {
	b := &bench{now: time.Unix(1000, 0), field: picc.NewField(picc.Options{})}
	b.field.Put(tags...)
	b.Chip = New(Options{Field: b.field, Now: func() time.Time { return b.now }, IRQ: func(l gpio.Level) { b.irq = append(b.irq, l) }})
	b.wait(2 * time.Millisecond)
	return b
}

func (b *bench) wait(d time.Duration) { b.now = b.now.Add(d) }

func (b *bench) set(register byte, values ...byte) {
	b.Transfer(append([]byte{register << 1}, values...), nil)
}

func (b *bench) get(registers ...byte) []byte {
	tx := make([]byte, len(registers)+1)
	for i, r := range registers {
		tx[i] = r<<1 | 0x80
	}
	rx := make([]byte, len(tx))
	b.Transfer(tx, rx)
	return rx[1:]
}

func (b *bench) want(t *testing.T, register, want byte) {
	t.Helper()
	if got := b.get(register)[0]; got != want {
		t.Errorf("register 0x%02x is 0x%02x, want 0x%02x", register, got, want)
	}
}

// on sets the chip up for type A with a time-out of 1 ms and its antenna on.
func (b *bench) on() {
	b.set(regTMode, bitTAuto)
	b.set(regTPrescaler, 169)
	b.set(regTReloadL, 39)
	b.set(regTxControl, 0x83)
}

// exchange sends a frame and gives the FIFO when 10 ms have passed.
func (b *bench) exchange(framing byte, data ...byte) []byte {
	b.set(regCommand, cmdIdle)
	b.set(regComIrq, 0x7f)
	b.set(regFIFOLevel, bitFlush)
	b.set(regFIFOData, data...)
	b.set(regCommand, cmdTransceive)
	b.set(regBitFraming, framing|bitStartSend)
	b.wait(10 * time.Millisecond)
	return b.get(slices.Repeat([]byte{regFIFOData}, int(b.get(regFIFOLevel)[0]))...)
}

func crc(data ...byte) []byte {
	v := picc.CRC(picc.PresetA, data)
	return append(data, byte(v), byte(v>>8))
}

// TestReset holds every register against the data sheet, section 9.3.
func TestReset(t *testing.T) {
	want := [64]byte{0x01: 0x20, 0x02: 0x80, 0x04: 0x14, 0x07: 0x21, 0x0b: 0x08, 0x0c: 0x10, 0x0e: 0xa0,
		0x11: 0x3f, 0x14: 0x80, 0x16: 0x10, 0x17: 0x84, 0x18: 0x84, 0x19: 0x4d, 0x1c: 0x62, 0x1f: 0xeb,
		0x21: 0xff, 0x22: 0xff, 0x24: 0x26, 0x26: 0x48, 0x27: 0x88, 0x28: 0x20, 0x29: 0x20, 0x33: 0x80, 0x36: 0x40, 0x37: 0x92}
	b := newBench()
	check := func(after string) {
		t.Helper()
		for a := range want {
			if got := b.get(byte(a))[0]; got != want[a] {
				t.Errorf("%s: register 0x%02x is 0x%02x, want 0x%02x", after, a, got, want[a])
			}
		}
	}
	check("power-on")
	for after, reset := range map[string]func(){
		"soft reset": func() { b.set(regCommand, cmdSoftReset) },
		"brown-out":  b.Brownout,
		"NRSTPD":     func() { _ = b.NRSTPD().Out(gpio.Low); _ = b.NRSTPD().Out(gpio.High) },
		"unplugged":  func() { b.Unplug(0xff); b.Plug() },
	} {
		for a := range byte(64) {
			if a != regCommand && a != regControl {
				b.set(a, 0x5a)
			}
		}
		reset()
		if b.get(regCommand)[0]&bitPowerDown == 0 {
			t.Errorf("%s: awake at once", after)
		}
		b.wait(2 * time.Millisecond)
		check(after)
	}
}

func TestReservedBitsStay(t *testing.T) {
	b := newBench()
	for a, r := range plain() {
		b.set(a, ^r.reset)
		b.want(t, a, r.reset^r.writable)
	}
	b.set(regVersion, 0x00)
	b.want(t, regVersion, 0x92)
}

func TestAbsentChip(t *testing.T) {
	b := newBench()
	for _, miso := range []byte{0x00, 0xff} {
		b.Unplug(miso)
		b.want(t, regVersion, miso)
	}
	b.Plug()
	_ = b.NRSTPD().Out(gpio.Low)
	b.want(t, regVersion, 0x00)
}

func TestFIFO(t *testing.T) {
	b := newBench()
	data := make([]byte, 66)
	for i := range data {
		data[i] = byte(i)
	}
	b.set(regComIrq, 0x7f)
	b.set(regFIFOData, data[:8]...)
	b.want(t, regStatus1, 0x21) // 8 bytes are at the water level
	b.set(regFIFOData, data[8:56]...)
	b.want(t, regStatus1, 0x22) // 8 bytes are left
	b.want(t, regComIrq, irqHiAlert)
	b.set(regFIFOData, data[56:64]...)
	b.want(t, regError, 0)
	b.set(regFIFOData, data[64:]...)
	b.want(t, regError, errOverflow)
	b.want(t, regFIFOLevel, 64)
	if got := b.get(slices.Repeat([]byte{regFIFOData}, 60)...); !bytes.Equal(got, data[:60]) {
		t.Errorf("the FIFO gives % x", got)
	}
	b.want(t, regComIrq, irqHiAlert|irqLoAlert|irqErr)
	b.set(regComIrq, irqHiAlert)
	b.want(t, regComIrq, irqLoAlert|irqErr)
	b.set(regComIrq, irqSet|irqRx)
	b.want(t, regComIrq, irqLoAlert|irqErr|irqRx)
	b.set(regFIFOLevel, bitFlush)
	b.want(t, regFIFOLevel, 0)
	b.want(t, regError, 0)
	b.want(t, regFIFOData, 0)
}

func TestCoprocessor(t *testing.T) {
	b := newBench()
	b.set(regMode, 0x3d)
	b.set(regCommand, cmdCalcCRC)
	b.set(regDivIrq, 0x04)
	b.set(regFIFOData, 0x12, 0x34)
	if got := b.get(regDivIrq, regCRCResultH, regCRCResultL, regFIFOLevel); !bytes.Equal(got, []byte{irqCRC, 0xcf, 0x26, 0}) {
		t.Errorf("got % x, want the crc of ISO/IEC 14443-3 annex B", got)
	}
	b.set(regFIFOData, 0x26, 0xcf) // over its own crc it is zero
	b.want(t, regStatus1, 0x61)
}

func TestMem(t *testing.T) {
	b := newBench()
	data := bytes.Repeat([]byte{7, 9}, 13)
	b.set(regFIFOData, data...)
	b.set(regComIrq, 0x7f)
	b.set(regCommand, cmdMem)
	b.want(t, regFIFOLevel, 1)
	b.want(t, regComIrq, irqIdle|irqLoAlert)
	b.set(regFIFOLevel, bitFlush)
	b.set(regCommand, cmdSoftReset) // leaves the 25 bytes alone
	b.wait(time.Millisecond)
	b.set(regCommand, cmdMem)
	if got := b.get(slices.Repeat([]byte{regFIFOData}, 25)...); !bytes.Equal(got, data[:25]) {
		t.Errorf("got % x", got)
	}
}

func TestTimer(t *testing.T) {
	b := newBench()
	b.set(regTPrescaler, 169)
	b.set(regTReloadL, 39)
	b.set(regComIrq, 0x7f)
	b.set(regControl, bitTStartNow)
	b.wait(510 * time.Microsecond)
	b.want(t, regTCounterL, 19)
	b.want(t, regStatus1, 0x29)
	b.wait(489 * time.Microsecond)
	b.want(t, regComIrq, 0)
	b.wait(2 * time.Microsecond)
	b.want(t, regComIrq, irqTimer)
	b.want(t, regStatus1, 0x21)
	b.set(regComIrq, 0x7f)
	b.set(regControl, bitTStartNow)
	b.wait(260 * time.Microsecond)
	b.set(regControl, bitTStopNow)
	b.wait(time.Hour)
	b.want(t, regComIrq, 0)
	b.want(t, regTCounterL, 29)
	b.set(regTMode, bitTAutoRestart)
	b.set(regControl, bitTStartNow)
	b.wait(time.Hour + 100*time.Microsecond)
	b.want(t, regComIrq, irqTimer)
	b.want(t, regStatus1, 0x29)
	b.set(regTMode, 0)
	b.set(regDemod, 0x4d|bitPrescaleEven)
	b.set(regControl, bitTStartNow)
	b.wait(13 * time.Microsecond)
	b.set(regTReloadL, 0)
	b.want(t, regTCounterL, 39) // a new reload value waits for the next start
}

func TestRequest(t *testing.T) {
	b := newBench(picc.Classic1K([4]byte{1, 2, 3, 4}))
	b.on()
	b.set(regComIrq, 0x7f)
	b.set(regComIEn, irqSet|irqRx) // active low
	b.set(regFIFOData, 0x26)
	b.set(regCommand, cmdTransceive)
	b.want(t, regStatus2, 1)
	b.set(regBitFraming, bitStartSend|7)
	b.want(t, regStatus2, 3)
	b.wait(84 * time.Microsecond) // 9 bit times are 85.0 µs
	b.want(t, regComIrq, 0)
	b.wait(2 * time.Microsecond)
	b.want(t, regComIrq, irqTx)
	b.want(t, regStatus2, 5)
	// The last bit of REQA is a zero: the answer starts 1172 periods later, 19
	// bits long, and ends with a bit time of nothing.
	b.wait(135 * time.Microsecond)
	b.want(t, regStatus2, 6)
	b.want(t, regStatus1, 0x21) // the timer has stopped
	b.wait(138 * time.Microsecond)
	b.want(t, regComIrq, irqTx)
	b.wait(10 * time.Microsecond)
	b.want(t, regComIrq, irqTx|irqRx)
	b.want(t, regStatus1, 0x31)
	if got := b.get(regFIFOLevel, regFIFOData, regFIFOData, regError, regControl, regColl); !bytes.Equal(got, []byte{2, 0x04, 0x00, 0, 0x10, 0xa0}) {
		t.Errorf("got % x", got)
	}
	b.set(regComIrq, 0x7f)
	b.want(t, regStatus1, 0x21)
	if n := len(b.irq); n < 2 || b.irq[n-2] != gpio.Low || b.irq[n-1] != gpio.High {
		t.Errorf("the pin went %v, want to end in Low, High", b.irq)
	}
}

func TestSilence(t *testing.T) {
	for name, change := range map[string]func(b *bench){
		"nobody there":  func(b *bench) { b.field = nil },
		"antenna off":   func(b *bench) { b.set(regTxControl, 0x80) },
		"receiver off":  func(b *bench) { b.set(regCommand, bitRcvOff) },
		"card was left": func(b *bench) { b.exchange(7, 0x26) },
	} {
		tag := picc.Classic1K([4]byte{1, 2, 3, 4})
		b := newBench(tag)
		b.on()
		if change(b); b.field == nil {
			b.field = picc.NewField(picc.Options{})
			b.Chip.o.Field.Take(tag)
		}
		if name == "receiver off" {
			b.set(regComIrq, 0x7f)
			b.set(regFIFOData, 0x26)
			b.set(regCommand, bitRcvOff|cmdTransceive)
			b.set(regBitFraming, bitStartSend|7)
			b.wait(10 * time.Millisecond)
		} else {
			b.exchange(7, 0x26)
		}
		if got := b.get(regComIrq)[0]; got&(irqTimer|irqRx|irqTx) != irqTimer|irqTx {
			t.Errorf("%s: interrupts 0x%02x", name, got)
		}
		b.want(t, regFIFOLevel, 0)
	}
}

func TestCollisionPosition(t *testing.T) {
	base := [4]byte{0x55, 0xaa, 0x0f, 0xf0}
	for bit := range 32 {
		other := base
		other[bit/8] ^= 1 << (bit % 8)
		for known := 0; known <= bit; known++ {
			b := newBench(picc.Classic1K(base), picc.Classic1K(other))
			b.on()
			b.set(regColl, 0) // clears what follows a collision
			b.exchange(7, 0x26)
			whole, odd := known/8, known%8
			got := b.exchange(byte(odd<<4|odd), append([]byte{0x93, byte(2+whole)<<4 | byte(odd)}, base[:(known+7)/8]...)...)
			at := bit - 8*whole // in the FIFO, RxAlign counted
			b.want(t, regColl, byte(at+1)&0x1f)
			b.want(t, regError, errColl)
			want := base
			clear(want[bit/8+1:])
			want[bit/8] = want[bit/8]&(1<<(bit%8)-1) | 1<<(bit%8)
			want[whole] &^= 1<<odd - 1
			if !bytes.Equal(got, append(want[whole:4:4], 0)) {
				t.Fatalf("bit %d after %d: FIFO % x, want % x", bit, known, got, want[whole:])
			}
		}
	}
}

func TestCollisionValuesKept(t *testing.T) {
	b := newBench(picc.Classic1K([4]byte{1, 2, 3, 4}), picc.Classic1K([4]byte{1, 0, 3, 4}))
	b.on()
	b.exchange(7, 0x26)
	if got := b.exchange(0, 0x93, 0x20); !bytes.Equal(got[:4], []byte{1, 2, 3, 4}) {
		t.Errorf("got % x", got)
	}
	b.want(t, regColl, bitValuesAfter|10)
}

// TestReceiverErrors disturbs the answer to an anticollision frame.
func TestReceiverErrors(t *testing.T) {
	flip := func(at int) func(picc.Frame, int, picc.Cell) picc.Cell {
		return func(_ picc.Frame, bit int, c picc.Cell) picc.Cell {
			if bit == at && c != picc.None {
				return c ^ picc.Both
			}
			return c
		}
	}
	for _, c := range []struct {
		name    string
		disturb func(picc.Frame, int, picc.Cell) picc.Cell
		err     byte
		level   byte
		last    byte
		coll    byte
	}{
		{"none", nil, 0, 5, 0, 0xa0},
		{"start", flip(0), errProtocol, 5, 0, 0xa0},
		{"data", flip(3), errParity, 5, 0, 0xa0},
		{"parity", flip(9), errParity, 5, 0, 0xa0},
		{"collision in the bcc", func(_ picc.Frame, bit int, c picc.Cell) picc.Cell {
			if bit == 38 {
				return picc.Both
			}
			return c
		}, errColl, 5, 0, 0xa0}, // behind bit 32 the position is not valid
		{"cut", func(_ picc.Frame, bit int, c picc.Cell) picc.Cell {
			if bit > 12 {
				return picc.None
			}
			return c
		}, 0, 2, 3, 0xa0},
		{"never ends", func(picc.Frame, int, picc.Cell) picc.Cell { return picc.One }, errOverflow, 64, 0, 0xa0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(picc.Classic1K([4]byte{1, 2, 3, 4}))
			b.on()
			b.exchange(7, 0x26)
			b.field.Disturb(c.disturb)
			b.set(regCommand, cmdIdle)
			b.set(regComIrq, 0x7f)
			b.set(regFIFOData, 0x93, 0x20)
			b.set(regCommand, cmdTransceive)
			b.set(regBitFraming, bitStartSend)
			b.wait(time.Second)
			if got, want := b.get(regError, regFIFOLevel, regControl, regColl), []byte{c.err, c.level, 0x10 | c.last, c.coll}; !bytes.Equal(got, want) {
				t.Errorf("error, level, control and coll are % x, want % x", got, want)
			}
			if irq := b.get(regComIrq)[0]; (irq&irqErr != 0) != (c.err != 0) || irq&irqRx == 0 {
				t.Errorf("interrupts 0x%02x", irq)
			}
		})
	}
}

func TestCRCByTheChip(t *testing.T) {
	tag := picc.NTAG213([7]byte{4, 1, 2, 3, 4, 5, 6})
	b := newBench(tag)
	b.on()
	b.exchange(7, 0x26)
	b.exchange(0, crc(0x93, 0x70, 0x88, 4, 1, 2, 0x8f)...)
	b.exchange(0, crc(0x95, 0x70, 3, 4, 5, 6, 3^4^5^6)...)
	if tag.State() != picc.Active {
		t.Fatal(tag.State())
	}
	b.set(regTxMode, bitCRCEn)
	b.set(regRxMode, bitCRCEn)
	if got := b.exchange(0, 0x60); !bytes.Equal(got, []byte{0, 4, 4, 2, 1, 0, 0x0f, 3}) {
		t.Errorf("version % x", got)
	}
	b.want(t, regError, 0)
	b.field.Disturb(func(_ picc.Frame, bit int, c picc.Cell) picc.Cell {
		if bit == 1 || bit == 9 {
			return c ^ picc.Both
		}
		return c
	})
	b.exchange(0, 0x60)
	b.want(t, regError, errCRC)
	b.field.Disturb(nil)
	b.exchange(0, 0x30, 0xff) // NAK, which has no crc and four bits
	b.want(t, regControl, 0x14)
	b.want(t, regError, errCRC)
}

func TestTransmitThenReceive(t *testing.T) {
	b := newBench(picc.Classic1K([4]byte{1, 2, 3, 4}))
	b.on()
	b.set(regComIrq, 0x7f)
	b.set(regBitFraming, 7)
	b.set(regFIFOData, 0x26)
	b.set(regCommand, cmdTransmit)
	b.wait(90 * time.Microsecond)
	b.want(t, regComIrq, irqTx|irqIdle)
	b.set(regComIrq, 0x7f)
	b.set(regCommand, cmdReceive)
	b.wait(time.Millisecond)
	b.want(t, regComIrq, irqRx|irqIdle)
	b.want(t, regFIFOLevel, 2)
}

func TestOtherCommands(t *testing.T) {
	b := newBench()
	b.set(regComIrq, 0x7f)
	b.set(regFIFOData, make([]byte, 12)...)
	b.set(regCommand, cmdMFAuthent)
	b.want(t, regError, errProtocol)
	b.want(t, regStatus2, 0)
	b.set(regComIrq, 0x7f)
	b.set(regCommand, 0x05) // unknown: back to Idle at once
	b.want(t, regCommand, cmdIdle)
	b.want(t, regComIrq, irqIdle)
	b.set(regComIrq, 0x7f)
	b.set(regCommand, cmdIdle)
	b.want(t, regComIrq, 0)
	b.set(regCommand, cmdTransceive)
	b.set(regCommand, bitRcvOff|cmdNoChange)
	b.want(t, regCommand, bitRcvOff|cmdTransceive)
}

func TestPowerDown(t *testing.T) {
	tag := picc.Classic1K([4]byte{1, 2, 3, 4})
	b := newBench(tag)
	b.on()
	if tag.State() != picc.Idle {
		t.Fatal(tag.State())
	}
	b.set(regCommand, bitPowerDown)
	b.wait(time.Second)
	b.want(t, regCommand, bitPowerDown)
	if tag.State() != picc.Off {
		t.Errorf("%v in power-down", tag.State())
	}
	b.set(regCommand, cmdIdle)
	b.wait(70 * time.Microsecond)
	b.want(t, regCommand, bitPowerDown) // on its way up
	b.wait(10 * time.Microsecond)
	b.want(t, regCommand, cmdIdle)
	if tag.State() != picc.Idle {
		t.Errorf("%v after power-down", tag.State())
	}
}

func TestWriteDuringAnAnswer(t *testing.T) {
	b := newBench(picc.Classic1K([4]byte{1, 2, 3, 4}))
	b.on()
	b.set(regFIFOData, 0x26)
	b.set(regCommand, cmdTransceive)
	b.set(regBitFraming, bitStartSend|7)
	b.wait(40 * time.Microsecond)
	b.set(regFIFOData, 0x00)
	b.want(t, regError, errWrite)
}

func TestSPI(t *testing.T) {
	b := newBench()
	for _, c := range []struct {
		f    physic.Frequency
		mode spi.Mode
		bits int
		ok   bool
	}{
		{10 * physic.MegaHertz, spi.Mode0, 8, true},
		{11 * physic.MegaHertz, spi.Mode0, 8, false},
		{physic.MegaHertz, spi.Mode3, 8, false},
		{physic.MegaHertz, spi.Mode0, 16, false},
	} {
		if _, err := b.Connect(c.f, c.mode, c.bits); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if b.Duplex() != conn.Full || b.String() != "MFRC522" || b.NRSTPD().String() != "NRSTPD" {
		t.Error("it does not say what it is")
	}
	r := make([]byte, 3)
	if err := b.Tx([]byte{1, 2}, r); err == nil {
		t.Error("buffers of two lengths pass")
	}
	if err := b.TxPackets([]spi.Packet{{W: []byte{regWaterLevel << 1, 9}}, {W: []byte{0x80 | regWaterLevel<<1, 0x80 | regVersion<<1, 0}, R: r}}); err != nil || !bytes.Equal(r, []byte{0, 9, 0x92}) {
		t.Errorf("% x, %v", r, err)
	}
	if err := b.TxPackets([]spi.Packet{{W: []byte{0}, KeepCS: true}}); err == nil {
		t.Error("KeepCS passes")
	}
	b.Transfer(nil, nil)
}

// FuzzTransfer lets a host do anything, over any time.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte{2, regFIFOData << 1, 0x26, 2, regCommand << 1, cmdTransceive, 2, regBitFraming << 1, 0x87, 255})
	f.Add([]byte{2, regTMode << 1, 0x90, 2, regControl << 1, 0x40, 200, 2, 0x80 | regTCounterL<<1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		b := newBench(picc.Classic1K([4]byte{1, 2, 3, 4}), picc.NTAG213([7]byte{4, 1, 2, 3, 4, 5, 6}))
		b.on()
		for len(script) > 0 {
			n := int(script[0])
			script = script[1:]
			if n > 80 {
				b.wait(time.Duration(n) * 100 * time.Microsecond)
				continue
			}
			n = min(n, len(script))
			rx := make([]byte, n)
			b.Transfer(script[:n], rx)
			script = script[n:]
		}
		if n := b.get(regFIFOLevel)[0]; n > fifoSize {
			t.Errorf("%d bytes in the FIFO", n)
		}
	})
}
