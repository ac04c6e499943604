package budget

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	first, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	touched := make([]byte, 8<<20)
	for i := range touched {
		touched[i] = byte(i)
	}
	if _, err := f.Write(touched); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	last := first
	for end := time.Now().Add(30 * time.Second); last.CPU < first.CPU+50*time.Millisecond && time.Now().Before(end); {
		if last, err = Of(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	r := last.Since(first)
	if first.RSS <= 0 || last.Peak < 8<<20 || last.Peak < last.RSS || r.Over <= 0 {
		t.Errorf("first %+v, last %+v", first, last)
	}
	if r.CPU <= 0 || last.CPU < first.CPU+50*time.Millisecond {
		t.Errorf("CPU %v, then %v: a rate of %v", first.CPU, last.CPU, r.CPU)
	}
	// A file system in memory has no storage to write to.
	if n := last.Dirtied - first.Dirtied; n < 8<<20 && n != 0 {
		t.Errorf("%d bytes dirtied by 8 MiB", n)
	}
	if _, err := Of(-1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
}

func TestCPU(t *testing.T) {
	for _, c := range []struct {
		stat string
		want time.Duration
	}{
		{"1 (agent) S 2 3 4 5 6 7 8 9 10 11 250 50 0 0", 3 * time.Second},
		{"1 (a) S 9 (b) R 2 3 4 5 6 7 8 9 10 11 1 0 0 0", 10 * time.Millisecond}, // a name may look like the rest
		{"1 (agent) S 2 3", -1},
		{"1 (agent) S 2 3 4 5 6 7 8 9 10 11 x 50 0 0", -1},
		{"", -1},
	} {
		got, err := cpu([]byte(c.stat))
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%q: %v, %v", c.stat, got, err)
		}
	}
}

func TestFields(t *testing.T) {
	text := []byte("Name:\tVmRSS: 7\nVmRSSX:\t8\nVmRSS:\t  123 kB\nempty:\nword: x\n")
	if got, err := fields(text, "VmRSS"); err != nil || got[0] != 123 {
		t.Errorf("%v, %v", got, err)
	}
	for _, name := range []string{"none", "empty", "word"} {
		if got, err := fields(text, name); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCard(t *testing.T) {
	dir := t.TempDir()
	c, err := Mount(filepath.Join(dir, "card"), filepath.Join(dir, "mnt"), 64<<20)
	if errors.Is(err, ErrNoCard) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	written := func() int64 {
		n, err := c.Written()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := written()
	f, err := os.Create(filepath.Join(dir, "mnt", "file"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	// The data, and not much of metadata.
	if n := written() - before; n < 1<<20 || n > 2<<20 {
		t.Errorf("1 MiB came to %d bytes on the device", n)
	}
}
