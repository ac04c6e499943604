package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConfig(t *testing.T) {
	for s, want := range map[string]Size{"65536": 65536, "64KiB": 65536, "8MiB": 8 << 20, "1GiB": 1 << 30} {
		if got, err := ParseSize(s); got != want || err != nil {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"": "want a number of bytes", "8 MB": "want a number of bytes", "-1": "want a number", "99999999999": "want a number",
		"63KiB": "64512 bytes, want 65536 to 1073741824", "2GiB": "2147483648 bytes", "9999999999GiB": "bytes, want 65536",
	} {
		if got, err := ParseSize(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d, %v, want %q in it", s, got, err, want)
		}
	}
	for _, path := range []string{"", "data", "/", "/var/", "/var/../etc"} {
		if err := (Config{Path: path}).Check(); err == nil {
			t.Errorf("%q is taken", path)
		}
	}
}

func TestWords(t *testing.T) {
	d := New(Config{Path: "/nowhere", Size: MinSize})
	if _, err := d.Parse("brim"); err == nil || !strings.Contains(err.Error(), "want full or free") {
		t.Errorf("got %v", err)
	}
	full, err := d.Parse("full")
	if err != nil {
		t.Fatal(err)
	}
	if err := full(); err == nil || !strings.Contains(err.Error(), "no command has the disk") {
		t.Errorf("a disk that is not there is full: %v", err)
	}
	if err := errors.Join(d.free(), d.Save(), d.Discard()); err != nil {
		t.Error(err)
	}
}

// What is kept of a folder: content, modes, links, and nothing of what was there before.
func TestReplaceTree(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(from, "sub"), 0o750), os.Mkdir(to, 0o755),
		os.WriteFile(filepath.Join(from, "key.pem"), []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(from, "sub", "x"), []byte("x"), 0o644),
		os.WriteFile(filepath.Join(to, "old"), nil, 0o644),
		os.Symlink("/run/status.json", filepath.Join(from, "status.json")),
		unix.Mkfifo(filepath.Join(from, "pipe"), 0o600),
		os.Chmod(from, 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := replaceTree(from, to); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(path, to) {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				got = append(got, strings.TrimPrefix(path, to)+" "+info.Mode().String())
			}
		}
		return err
	})
	want := " drwx------; /key.pem -rw-------; /status.json Lrwxrwxrwx; /sub drwxr-x---; /sub/x -rw-r--r--"
	if strings.Join(got, "; ") != want || err != nil {
		t.Errorf("got %s, %v\nwant %s", strings.Join(got, "; "), err, want)
	}
	if b, err := os.ReadFile(filepath.Join(to, "key.pem")); string(b) != "secret" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := replaceTree(from, filepath.Join(dir, "gone")); err == nil || !strings.Contains(err.Error(), "move it there by hand") {
		t.Errorf("nothing to replace: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "gone.card-*", "new", "key.pem")); len(left) != 1 || err != nil {
		t.Errorf("what could not be put in place is lost: %v, %v", left, err)
	}
	if err := replaceTree(filepath.Join(dir, "none"), to); err == nil {
		t.Error("a folder that is not was copied")
	}
}
