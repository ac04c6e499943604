package hostclock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is 512 bytes of a caller.
type memory [512]byte

func (m *memory) Read(address uint64, b []byte) error  { return m.copy(address, b, false) }
func (m *memory) Write(address uint64, b []byte) error { return m.copy(address, b, true) }

func (m *memory) copy(address uint64, b []byte, write bool) error {
	if address == 0 || address > uint64(len(m)-len(b)) {
		return unix.EFAULT
	}
	if write {
		copy(m[address:], b)
	} else {
		copy(b, m[address:])
	}
	return nil
}

func (m *memory) pair(at int) (a, b int64) {
	return int64(binary.LittleEndian.Uint64(m[at:])), int64(binary.LittleEndian.Uint64(m[at+8:]))
}

func do(t *testing.T, c *Clock, word string) error {
	t.Helper()
	happen, err := c.Parse(word)
	if err != nil {
		t.Fatal(err)
	}
	return happen()
}

func TestParseRefuses(t *testing.T) {
	for word, want := range map[string]string{
		"":             `no fault ""`,
		"step":         `no fault "step"`,
		"step=":        "want a duration",
		"step=0s":      "want a duration",
		"step=soon":    `step "soon"`,
		"step=900000h": "at most 876000h0m0s",
		"1971":         `no fault "1971", want step=DURATION, 1970 or none`,
		"1970=1":       "no fault",
		"none=1":       "no fault",
	} {
		if _, err := new(Clock).Parse(word); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", word, err, want)
		}
	}
}

func TestStepsAddUp(t *testing.T) {
	c := new(Clock)
	for _, s := range []struct {
		word  string
		ahead time.Duration
		fails bool
	}{
		{"step=+3h", 3 * time.Hour, false},
		{"step=-90s", 3*time.Hour - 90*time.Second, false},
		{"step=-876000h", 3*time.Hour - 90*time.Second, true}, // before 1970
		{"step=876000h", 3*time.Hour - 90*time.Second + MaxStep, false},
		{"step=876000h", 3*time.Hour - 90*time.Second + MaxStep, true}, // after 2200
		{"none", 0, false},
	} {
		if err := do(t, c, s.word); (err != nil) != s.fails {
			t.Errorf("%s: %v", s.word, err)
		}
		if ahead, set := c.state(); ahead != s.ahead || set != (s.word != "none") {
			t.Errorf("%s: ahead by %v, want %v; set %v", s.word, ahead, s.ahead, set)
		}
	}
}

func TestCall(t *testing.T) {
	c := new(Clock)
	if err := do(t, c, "1970"); err != nil {
		t.Fatal(err)
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		t.Fatal(err)
	}
	about := func(name string, sec int64) {
		t.Helper()
		if sec < boot.Sec || sec > boot.Sec+10 {
			t.Errorf("%s shows %d s, want %d", name, sec, boot.Sec)
		}
	}
	var m memory
	call := func(number uint32, argument ...uint64) (int64, error) {
		m = memory{}
		var a [6]uint64
		copy(a[:], argument)
		return c.Call(int32(number), a, &m)
	}
	if v, err := call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, 64); v != 0 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	sec, ns := m.pair(64)
	if about("clock_gettime", sec); ns < 0 || ns >= 1e9 {
		t.Errorf("%d ns", ns)
	}
	if v, err := call(unix.SYS_GETTIMEOFDAY, 64, 128); v != 0 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	sec, us := m.pair(64)
	if about("gettimeofday", sec); us < 0 || us >= 1e6 {
		t.Errorf("%d µs", us)
	}
	for _, number := range []uint32{unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME} {
		argument := []uint64{64}
		if number == unix.SYS_CLOCK_ADJTIME {
			argument = []uint64{unix.CLOCK_REALTIME, 64}
		}
		state, err := call(number, argument...)
		tx := (*unix.Timex)(unsafe.Pointer(&m[64]))
		if state != unix.TIME_ERROR || err != nil || tx.Status&unix.STA_UNSYNC == 0 || tx.Maxerror != noDiscipline {
			t.Errorf("state %d, %v, %+v", state, err, tx)
		}
		about("adjtimex", tx.Time.Sec)
	}
	for _, a := range [][]uint64{{unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, 0}, {unix.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, 510},
		{unix.SYS_GETTIMEOFDAY, 510}, {unix.SYS_GETTIMEOFDAY, 0, 510}, {unix.SYS_ADJTIMEX, 510}} {
		if v, err := call(uint32(a[0]), a[1:]...); v != 0 || !errors.Is(err, unix.EFAULT) {
			t.Errorf("call %v: %d, %v, want EFAULT", a, v, err)
		}
	}
	for _, number := range []uint32{unix.SYS_CLOCK_SETTIME, unix.SYS_SETTIMEOFDAY} {
		if _, err := call(number, 64, 64); err != unix.EPERM {
			t.Errorf("the clock can be set: %v", err)
		}
	}
	m = memory{}
	m[64] = 1 // ADJ_OFFSET
	if _, err := c.Call(unix.SYS_ADJTIMEX, [6]uint64{64}, &m); err != unix.EPERM {
		t.Errorf("the clock can be adjusted: %v", err)
	}
	if _, err := call(unix.SYS_GETPID); err != unix.ENOSYS {
		t.Errorf("got %v", err)
	}
}

// ownVDSO is the vDSO of this process.
func ownVDSO(t testing.TB) []byte {
	from, size, err := findVDSO(os.Getpid())
	if err != nil || size == 0 || len(shown) == 0 {
		t.Skip("no vDSO that is known here", err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	image := make([]byte, size)
	if _, err := mem.ReadAt(image, from); err != nil {
		t.Fatal(err)
	}
	return image
}

func TestPatch(t *testing.T) {
	image := ownVDSO(t)
	patches, err := patch(image)
	if err != nil || len(patches) != len(shown) {
		t.Fatalf("%d patches, want %d: %v", len(patches), len(shown), err)
	}
	for at, code := range patches {
		copy(image[at:], code)
	}
	if again, err := patch(image); err != nil || len(again) != 0 {
		t.Errorf("a second time %v, %v", again, err)
	}
	if _, err := patch(bytes.ReplaceAll(image, []byte("_gettimeofday"), []byte("_gettimeofdie"))); err == nil || !strings.Contains(err.Error(), "not all functions") {
		t.Errorf("one function is missing: %v", err)
	}
	// A caller that is gone: nothing is written to whoever has its number now.
	if err := Hook(os.Getpid(), func() error { return unix.ENOENT }); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	if err := Hook(1<<30, func() error { return nil }); err == nil {
		t.Error("a process that is not was hooked")
	}
}

func FuzzPatch(f *testing.F) {
	image := ownVDSO(f)
	f.Add(image)
	f.Add(image[:64])
	f.Fuzz(func(t *testing.T, image []byte) {
		patches, err := patch(image)
		for at, code := range patches {
			if err != nil || at < 0 || at+int64(len(code)) > int64(len(image)) {
				t.Fatalf("patch of %d bytes at %d in %d, %v", len(code), at, len(image), err)
			}
		}
	})
}
