package hostclock

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxVDSO is more than any vDSO has, in bytes.
const maxVDSO = 256 << 10

// Hook makes a process ask the kernel for the time: the functions of its vDSO that
// tell it from memory become system calls, in this process's copy alone. A process
// that is hooked already, or has no vDSO, stays as it is. Until it returns the
// process must not read the clock; all its threads are hooked with it, and children
// that it forks are. A program it executes has a vDSO of its own. valid fails once
// the number may be another process's, and is asked before anything is written.
func Hook(pid int, valid func() error) error {
	from, size, err := findVDSO(pid)
	if err != nil || size == 0 {
		return err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	if err := valid(); err != nil { // from here on mem is of this process, whoever gets its number
		return err
	}
	image := make([]byte, size)
	if _, err := mem.ReadAt(image, from); err != nil {
		return fmt.Errorf("read the vDSO: %w", err)
	}
	patches, err := patch(image)
	if err != nil {
		return fmt.Errorf("vDSO: %w", err)
	}
	for at, code := range patches {
		if _, err := mem.WriteAt(code, from+at); err != nil {
			return fmt.Errorf("write to the vDSO: %w", err)
		}
	}
	return nil
}

// findVDSO returns where a process has its vDSO; size 0: it has none.
func findVDSO(pid int) (from, size int64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			return 0, 0, lines.Err()
		}
		if !strings.HasSuffix(lines.Text(), "[vdso]") {
			continue
		}
		var to int64
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); err != nil || to <= from || to-from > maxVDSO {
			return 0, 0, fmt.Errorf("vDSO at %q, want at most %d bytes", lines.Text(), maxVDSO)
		}
		return from, to - from, nil
	}
}

// patch returns what to write where in a vDSO: nothing where it stands already.
func patch(image []byte) (map[int64][]byte, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	patches, found := map[int64][]byte{}, 0
	for _, s := range symbols {
		number, ok := shown[s.Name]
		if !ok {
			continue
		}
		found++
		code := stub(number)
		end := s.Value + uint64(len(code))
		if s.Size < uint64(len(code)) || end < s.Value || end > uint64(len(image)) {
			return nil, fmt.Errorf("%s has %d bytes at %#x, want room for %d", s.Name, s.Size, s.Value, len(code))
		}
		if !bytes.Equal(image[s.Value:end], code) {
			patches[int64(s.Value)] = code
		}
	}
	if found < len(shown) {
		return nil, errors.New("not all functions that tell the time are in it")
	}
	return patches, nil
}
