package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trailmark/firmware-sim/internal/board/disk"
)

// A card fills up and is emptied under a program; what it leaves is in the folder.
func TestDisk(t *testing.T) {
	needRoot(t)
	folder := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "before"), []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command(t)
	c.Disk = disk.New(disk.Config{Path: folder, Size: 2 << 20})
	// A full card stays full when the command makes room on it; appending to a block
	// that it has goes on.
	c.Args = []string{"sh", "-c", `cd $0; cat before; echo; ls; head -c 500000 /dev/zero >big
		read x; echo more 2>/dev/null >>new || echo refused; echo y >>before && echo appended
		rm big; sleep 0.2; head -c 100000 /dev/zero >again 2>/dev/null || echo still
		read x; rm -f again; head -c 100000 /dev/zero >again && echo room`, folder}
	lines := make(chan string)
	in, out := talk(t, &c, lines)
	p, err := Start(t.Context(), c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := <-lines; !strings.Contains(got, w) {
				t.Errorf("got %q, want %q", got, w)
			}
		}
	}
	happen := func(word string) {
		t.Helper()
		h, err := c.Disk.Parse(word)
		if err == nil {
			err = h()
		}
		if err == nil {
			err = h() // twice is once
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(out, word)
	}
	expect("before", "before")
	for { // until the command has written
		if st, err := os.Stat(fmt.Sprintf("/proc/%d/root%s/big", p.Pid(), folder)); err == nil && st.Size() == 500000 {
			break
		}
	}
	happen("full")
	expect("refused", "appended", "still")
	happen("free")
	expect("room")
	if status, err := p.Wait(); status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "again")); !os.IsNotExist(err) {
		t.Errorf("the command wrote to this machine's folder: %v", err)
	}
	if err := c.Disk.Save(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(folder, "before")); string(b) != "beforey\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if st, err := os.Stat(filepath.Join(folder, "again")); err != nil || st.Size() != 100000 {
		t.Errorf("what the command left is not in the folder: %v", err)
	}
	if left := leftBehind(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDiskTooSmall(t *testing.T) {
	needRoot(t)
	folder := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "big"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command(t, "exit", "0")
	c.Disk = disk.New(disk.Config{Path: folder, Size: disk.MinSize})
	if _, err := Start(t.Context(), c, testLog(t)); err == nil || !strings.Contains(err.Error(), "does not fit") || !strings.Contains(err.Error(), "hint: the card has 65536 bytes") {
		t.Errorf("got %v", err)
	}
	if st, err := os.Stat(filepath.Join(folder, "big")); err != nil || st.Size() != 1<<20 {
		t.Errorf("the folder is not as it was: %v", err)
	}
}
