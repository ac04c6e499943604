// Package budget measures what a running process takes of its machine, and what
// a card receives, as Linux counts them.
package budget

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks per second of /proc/<pid>/stat: USER_HZ, 100 on every Linux that Go runs on.
const ticks = 100

// Usage is what a process has taken since it began (proc(5)).
type Usage struct {
	At   time.Time
	RSS  int64         // resident now, bytes (VmRSS)
	Peak int64         // resident at most, bytes (VmHWM)
	CPU  time.Duration // user and system time, to 10 ms
	// Dirtied is what it made the page cache write, bytes (write_bytes less
	// cancelled_write_bytes). A page that is synced and then changed again counts
	// again; what the file system writes for itself does not.
	Dirtied int64
}

// Of reads the usage of a process.
func Of(pid int) (Usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	status, err := read("status")
	stat, err2 := read("stat")
	io, err3 := read("io")
	if err := errors.Join(err, err2, err3); err != nil {
		return Usage{}, fmt.Errorf("budget: %w", err)
	}
	u := Usage{At: time.Now()}
	kb, err := fields(status, "VmRSS", "VmHWM")
	if err != nil {
		return Usage{}, fmt.Errorf("budget: %s/status: %w", dir, err)
	}
	u.RSS, u.Peak = kb[0]<<10, kb[1]<<10
	if u.CPU, err = cpu(stat); err != nil {
		return Usage{}, fmt.Errorf("budget: %s/stat: %w", dir, err)
	}
	written, err := fields(io, "write_bytes", "cancelled_write_bytes")
	if err != nil {
		return Usage{}, fmt.Errorf("budget: %s/io: %w", dir, err)
	}
	u.Dirtied = written[0] - written[1]
	return u, nil
}

// fields finds the numbers of lines such as "VmRSS:	 123 kB".
func fields(text []byte, names ...string) ([]int64, error) {
	out := make([]int64, len(names))
	for i, name := range names {
		found := false
		for line := range bytes.Lines(text) {
			value, ok := strings.CutPrefix(string(line), name+":")
			words := strings.Fields(value)
			if !ok || len(words) == 0 {
				continue
			}
			n, err := strconv.ParseInt(words[0], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out[i], found = n, true
		}
		if !found {
			return nil, fmt.Errorf("no %s", name)
		}
	}
	return out, nil
}

// cpu is utime and stime, fields 14 and 15. The name in field 2 may hold anything.
func cpu(stat []byte) (time.Duration, error) {
	words := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(words) < 13 {
		return 0, errors.New("too few fields")
	}
	var sum int64
	for _, w := range words[11:13] {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// A Rate is what a process takes per time.
type Rate struct {
	Over    time.Duration
	CPU     float64 // of one core
	Dirtied float64 // bytes a second
}

// Since is the rate from an earlier usage to u.
func (u Usage) Since(earlier Usage) Rate {
	over := u.At.Sub(earlier.At)
	return Rate{Over: over, CPU: float64(u.CPU-earlier.CPU) / float64(over), Dirtied: float64(u.Dirtied-earlier.Dirtied) / over.Seconds()}
}
