package w1tree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trailmark/firmware-sim/chip/ds18b20"
)

// Lines printed by real buses, as people post them.
func TestTextOfRealChips(t *testing.T) {
	for _, c := range []struct {
		milli int32
		want  string
	}{
		{23125, "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"},
		{4250, "44 00 4b 46 7f ff 0c 10 94 : crc=94 YES\n44 00 4b 46 7f ff 0c 10 94 t=4250\n"},
	} {
		s := ds18b20.Convert(c.milli)
		if got := Text(s, s); got != c.want {
			t.Errorf("%d: got %q, want %q", c.milli, got, c.want)
		}
	}
	const afterReset = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"
	if got := Text(ds18b20.PoweredOn(), ds18b20.PoweredOn()); got != afterReset {
		t.Errorf("got %q, want %q", got, afterReset)
	}
}

func read(t *testing.T, root, id string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, id, "w1_slave"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFaults(t *testing.T) {
	root := t.TempDir()
	id, other := SlaveID(0x45a1b2c), SlaveID(1<<48|2)
	if id != "28-0000045a1b2c" || other != "28-000000000002" {
		t.Fatalf("ids %s and %s", id, other)
	}
	tree, err := New(root, id, other)
	if err != nil {
		t.Fatal(err)
	}
	set := func(f Fault) {
		t.Helper()
		if err := tree.Set(id, 4250, f); err != nil {
			t.Fatal(err)
		}
	}
	const good = "44 00 4b 46 7f ff 0c 10 94"
	for _, c := range []struct {
		fault Fault
		want  string
	}{
		{None, good + " : crc=94 YES\n" + good + " t=4250\n"},
		{CRC, "4c 00 4b 46 7f ff 0c 10 94 : crc=be NO\n" + good + " t=4750\n"},
		{Empty, ""},
		{AllZero, "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n"},
		{PowerOn, Text(ds18b20.PoweredOn(), ds18b20.PoweredOn())},
		{None, good + " : crc=94 YES\n" + good + " t=4250\n"},
	} {
		set(c.fault)
		if got := read(t, root, id); got != c.want {
			t.Errorf("%v: got %q, want %q", c.fault, got, c.want)
		}
	}
	set(Gone)
	set(Gone) // twice is once
	if found, _ := filepath.Glob(filepath.Join(root, "28-*")); len(found) != 1 {
		t.Errorf("with one of two chips gone the bus shows %v", found)
	}
	set(None)
	read(t, root, id)
	if err := tree.Set("28-nobody", 0, None); err == nil {
		t.Error("a chip nobody plugged took a value")
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(root); len(left) != 0 {
		t.Errorf("after Close %v is left", left)
	}
}

func TestNewClearsAnEarlierRun(t *testing.T) {
	root := t.TempDir()
	if _, err := New(root, SlaveID(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(root, SlaveID(2)); err != nil { // the first was never closed
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(root, "28-*")); len(found) != 1 || filepath.Base(found[0]) != SlaveID(2) {
		t.Errorf("the bus shows %v, want %s alone", found, SlaveID(2))
	}
	if _, err := New(t.TempDir(), SlaveID(1), SlaveID(1)); err == nil {
		t.Error("two chips with one id")
	}
	// A directory with something else in it is not ours to remove.
	if err := os.WriteFile(filepath.Join(root, SlaveID(2), "keep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(root, SlaveID(3)); err == nil {
		t.Error("removed a foreign file")
	}
}

// A reader that polls while values change finds a whole file every time.
func TestNeverHalfAFile(t *testing.T) {
	root, id := t.TempDir(), SlaveID(7)
	tree, err := New(root, id)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error)
	go func() {
		var err error
		for i := range int32(500) {
			if err = tree.Set(id, i*63, None); err != nil {
				break
			}
		}
		written <- err
	}()
	for {
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
		text := read(t, root, id)
		if lines := strings.Split(text, "\n"); len(lines) != 3 || !strings.HasSuffix(lines[0], " YES") || !strings.Contains(lines[1], " t=") {
			t.Fatalf("read %q", text)
		}
	}
}
