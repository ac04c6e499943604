package ds18b20

import "testing"

func TestScratchpadBytes(t *testing.T) {
	want := Scratchpad{
		0x44, 0x00, // 68 sixteenths = 4.25 °C
		0x4b, 0x46, // alarm bytes TH, TL
		0x7f,             // 12 bits
		0xff, 0x0c, 0x10, // reserved
		0x94, // CRC-8
	}
	if got := Convert(4250); got != want {
		t.Errorf("got % x, want % x", got, want)
	}
}

// The table of the data sheet, and what rounding does between its steps.
func TestConvert(t *testing.T) {
	for _, c := range []struct {
		milli int32
		raw   uint16
		read  int32
	}{
		{125000, 0x07d0, 125000}, {25062, 0x0191, 25062}, {10125, 0x00a2, 10125}, {500, 0x0008, 500}, {0, 0, 0},
		{-500, 0xfff8, -500}, {-10125, 0xff5e, -10125}, {-25062, 0xfe6f, -25062}, {-55000, 0xfc90, -55000},
		{4300, 0x0045, 4312}, {-8400, 0xff7a, -8375}, {31, 0, 0}, {32, 1, 62}, {-31, 0, 0}, {-32, 0xffff, -62},
		{126000, 0x07d0, 125000}, {-60000, 0xfc90, -55000},
	} {
		s := Convert(c.milli)
		if raw := uint16(s[0]) | uint16(s[1])<<8; raw != c.raw || s.Milli() != c.read {
			t.Errorf("%d: register %#04x read as %d, want %#04x read as %d", c.milli, raw, s.Milli(), c.raw, c.read)
		}
		if CRC8(s[:]) != 0 { // a checksum followed by itself leaves nothing
			t.Errorf("%d: CRC of % x is not right", c.milli, s)
		}
	}
	if CRC8([]byte{0x02, 0x1c, 0xb8, 0x01, 0, 0, 0}) != 0xa2 { // Maxim application note 27
		t.Error("CRC-8 disagrees with application note 27")
	}
}
