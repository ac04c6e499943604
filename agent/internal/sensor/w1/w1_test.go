package w1

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/onewire"

	"trailmark/agent/internal/sensor"
)

// pad completes eight bytes with their CRC.
func pad(b ...byte) [9]byte {
	return [9]byte(append(b, onewire.CalcCRC(b)))
}

// file is what the kernel shows for a scratchpad: its own CRC verdict and C arithmetic.
func file(p [9]byte) string {
	hex := fmt.Sprintf("% x", p[:])
	verdict := "NO"
	if crc := onewire.CalcCRC(p[:8]); crc == p[8] {
		verdict = "YES"
	}
	t := int(int16(uint16(p[1])<<8|uint16(p[0]))) * 1000 / 16
	return fmt.Sprintf("%s : crc=%02x %s\n%s t=%d\n", hex, onewire.CalcCRC(p[:8]), verdict, hex, t)
}

func TestParseGood(t *testing.T) {
	for _, c := range []struct {
		text  string
		milli int64
	}{
		{"72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n", 23125},
		// The data sheet's table.
		{file(pad(0xd0, 0x07, 0x4b, 0x46, 0x7f, 0xff, 0x10, 0x10)), 125_000},
		{file(pad(0x91, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0f, 0x10)), 25_062}, // 25.0625
		{file(pad(0xa2, 0x00, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10)), 10_125},
		{file(pad(0x08, 0x00, 0x4b, 0x46, 0x7f, 0xff, 0x08, 0x10)), 500},
		{file(pad(0x00, 0x00, 0x4b, 0x46, 0x7f, 0xff, 0x10, 0x10)), 0},
		{file(pad(0xf8, 0xff, 0x4b, 0x46, 0x7f, 0xff, 0x08, 0x10)), -500},
		{file(pad(0xff, 0xff, 0x4b, 0x46, 0x7f, 0xff, 0x01, 0x10)), -62}, // -0.0625, toward zero
		{file(pad(0x5e, 0xff, 0x4b, 0x46, 0x7f, 0xff, 0x02, 0x10)), -10_125},
		{file(pad(0x6f, 0xfe, 0x4b, 0x46, 0x7f, 0xff, 0x01, 0x10)), -25_062},
		{file(pad(0x90, 0xfc, 0x4b, 0x46, 0x7f, 0xff, 0x10, 0x10)), -55_000},
		// A real 85 °C, its neighbours, and lower resolutions.
		{file(pad(0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x10, 0x10)), 85_000},
		{file(pad(0x51, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10)), 85_062},
		{file(pad(0x98, 0x01, 0x4b, 0x46, 0x1f, 0xff, 0x08, 0x10)), 25_500},
		{file(pad(0x94, 0x01, 0x4b, 0x46, 0x3f, 0xff, 0x0c, 0x10)), 25_250},
		{file(pad(0x92, 0x01, 0x4b, 0x46, 0x5f, 0xff, 0x0e, 0x10)), 25_125},
	} {
		milli, raw, fault := parse([]byte(c.text))
		if milli != c.milli || fault != sensor.FaultNone || len(raw) != 9 {
			t.Errorf("%q: got %d (%s), want %d", c.text, milli, fault, c.milli)
		}
	}
}

func TestParseBadWire(t *testing.T) {
	good := file(pad(0x72, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10))
	flipped := pad(0x72, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10)
	flipped[0] ^= 4
	ones := [9]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, c := range []struct {
		name, text string
		want       sensor.Fault
		raw        bool
	}{
		{"bus held low: CRC right, kernel says YES", file([9]byte{}), sensor.FaultAllZero, true},
		{"nobody answers", file(ones), sensor.FaultAllOnes, true},
		{"nobody answers, kernel says YES", strings.Replace(file(ones), "NO", "YES", 1), sensor.FaultAllOnes, true},
		{"flipped bit", file(flipped), sensor.FaultCRC, true},
		{"flipped bit, kernel says YES", strings.Replace(file(flipped), "NO", "YES", 1), sensor.FaultCRC, true},
		{"right bytes, kernel says NO", strings.Replace(good, "YES", "NO", 1), sensor.FaultCRC, true},
		{"config all ones", file(pad(0x72, 0x01, 0x4b, 0x46, 0xff, 0xff, 0x0e, 0x10)), sensor.FaultConfig, true},
		{"config of a 14-bit clone", file(pad(0x72, 0x01, 0x4b, 0x46, 0x9f, 0xff, 0x0e, 0x10)), sensor.FaultConfig, true},
		{"config zero", file(pad(0x72, 0x01, 0x4b, 0x46, 0x00, 0xff, 0x0e, 0x10)), sensor.FaultConfig, true},
		{"power-on", "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n", sensor.FaultPowerOn, true},
		{"85 °C of a clone", file(pad(0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0xff, 0xff)), sensor.FaultPowerOn, true},
		{"too hot", file(pad(0xd1, 0x07, 0x4b, 0x46, 0x7f, 0xff, 0x0f, 0x10)), sensor.FaultRange, true},
		{"too cold", file(pad(0x8f, 0xfc, 0x4b, 0x46, 0x7f, 0xff, 0x01, 0x10)), sensor.FaultRange, true},
		{"the kernel's register mark 0x07ff", file(pad(0xff, 0x07, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10)), sensor.FaultRange, true},
		{"other t=", strings.Replace(good, "t=23125", "t=23124", 1), sensor.FaultFormat, true},
		{"t= not a number", strings.Replace(good, "t=23125", "t=", 1), sensor.FaultFormat, true},
		{"lines disagree", good[:40] + "73" + good[42:], sensor.FaultFormat, true},
		{"crc= disagrees", strings.Replace(good, "crc=57", "crc=58", 1), sensor.FaultFormat, true},
		{"no verdict", strings.Replace(good, " YES", "", 1), sensor.FaultFormat, true},
		{"empty", "", sensor.FaultFormat, false},
		{"one line", good[:40], sensor.FaultFormat, false},
		{"three lines", good + "t=1\n", sensor.FaultFormat, false},
		{"eight bytes", strings.ReplaceAll(good, "72 01", "72"), sensor.FaultFormat, false},
		{"no hex", strings.Replace(good, "4b", "4g", 1), sensor.FaultFormat, false},
		{"endless", good + strings.Repeat(" ", 4096), sensor.FaultFormat, false},
	} {
		milli, raw, fault := parse([]byte(c.text))
		if fault != c.want || milli != 0 || (raw != nil) != c.raw {
			t.Errorf("%s: got %d, %s, raw % x; want fault %s", c.name, milli, fault, raw, c.want)
		}
	}
}

func plug(t *testing.T, root, name, text string) string {
	t.Helper()
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "w1_slave"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFindAndSample(t *testing.T) {
	root := t.TempDir()
	good := file(pad(0x72, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10))
	dir := plug(t, root, "28-0316a2795fff", good)
	plug(t, root, "28-0000000ABCDE", file([9]byte{}))
	for _, other := range []string{"w1_bus_master1", "10-000802b4bfff", "28-short", "28-00000000000g", "28-+00000000001"} {
		plug(t, root, other, good)
	}
	probes, err := Find(root)
	if err != nil || len(probes) != 2 {
		t.Fatalf("%d probes, %v", len(probes), err)
	}
	if p := probes[1]; p.Channel() != "28-0316a2795fff/temp" || p.Unit() != "Cel" || p.Serial() != "28-0316a2795fff" {
		t.Errorf("%s %s %s", p.Channel(), p.Unit(), p.Serial())
	}
	if c := probes[0].Channel(); c != "28-0000000abcde/temp" {
		t.Error(c)
	}
	before := time.Now()
	s := probes[1].Sample(t.Context())
	if s.Milli != 23125 || s.Fault != sensor.FaultNone || s.Channel != "28-0316a2795fff/temp" || s.At.Before(before) {
		t.Errorf("%+v", s)
	}
	if s := probes[0].Sample(t.Context()); s.Fault != sensor.FaultAllZero || s.Milli != 0 || s.At.IsZero() {
		t.Errorf("%+v", s)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if s := probes[1].Sample(t.Context()); s.Fault != sensor.FaultGone || s.Milli != 0 || s.Raw != nil || s.At.IsZero() {
		t.Errorf("unplugged: %+v", s)
	}
	plug(t, root, "28-0316a2795fff", good)
	if s := probes[1].Sample(t.Context()); s.Fault != sensor.FaultNone {
		t.Errorf("back again: %+v", s)
	}
	if _, err := Find(filepath.Join(root, "none")); err == nil || !strings.Contains(err.Error(), "hint") {
		t.Errorf("no bus: %v", err)
	}
}

// A named pipe that nobody writes to is a bus that hangs in the kernel.
func TestHungBus(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "28-0316a2795fff")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "w1_slave")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("needs named pipes: %v", err)
	}
	probes, err := Find(root)
	if err != nil || len(probes) != 1 {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if s := probes[0].Sample(ctx); s.Fault != sensor.FaultGone || s.Milli != 0 {
			t.Errorf("hung: %+v", s)
		}
		cancel()
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // the one reader that hangs wakes up
	if err != nil {
		t.Fatal(err)
	}
	// Now that the bus answers, so does the probe. The answer of the hung read is not used.
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	plug(t, root, "28-0316a2795fff", file(pad(0x72, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10)))
	if _, err := w.WriteString(file(pad(0x08, 0x00, 0x4b, 0x46, 0x7f, 0xff, 0x08, 0x10))); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if s := probes[0].Sample(t.Context()); s.Milli != 23125 || s.Fault != sensor.FaultNone {
		t.Errorf("after the hang: %+v", s)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(file(pad(0x72, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10))))
	f.Add([]byte(file([9]byte{})))
	f.Add([]byte(file(pad(0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10))))
	f.Fuzz(func(t *testing.T, text []byte) {
		milli, raw, fault := parse(text)
		if fault != sensor.FaultNone {
			if milli != 0 {
				t.Fatalf("%d with fault %s", milli, fault)
			}
			return
		}
		if milli < -55_000 || milli > 125_000 || len(raw) != 9 || !onewire.CheckCRC(raw) {
			t.Fatalf("%d from % x", milli, raw)
		}
		if want := file([9]byte(raw)); !strings.EqualFold(strings.TrimSuffix(string(text), "\n"), strings.TrimSuffix(want, "\n")) {
			t.Fatalf("accepted %q, the kernel writes %q", text, want)
		}
	})
}
