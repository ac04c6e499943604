package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReport(t *testing.T) {
	var r Report
	r.Add("clock", OK, Both("off by %d ms", "误差 %d 毫秒", 12), Words{})
	r.Error("key", Warn, errors.New("cannot <read> it\nhint: chmod 600 key.pem"))
	if !r.Healthy() {
		t.Error("a warning is no failure")
	}
	r.Add("probe", Fail, Both("%s is gone", "%s 无应答", "28-1"), Both("check the plug", "请检查插头"))
	if r.Healthy() {
		t.Error("a failure passes for health")
	}
	for lang, want := range map[string]string{
		"en": `ok    clock       off by 12 ms
warn  key         cannot <read> it
                  hint: chmod 600 key.pem
fail  probe       28-1 is gone
                  hint: check the plug
`,
		"zh-CN": `ok    clock       误差 12 毫秒
warn  key         cannot <read> it
                  提示: chmod 600 key.pem
fail  probe       28-1 无应答
                  提示: 请检查插头
`} {
		var out bytes.Buffer
		if err := r.Print(&out, lang); err != nil || out.String() != want {
			t.Errorf("%v\n%s\nwant\n%s", err, &out, want)
		}
	}
	var out bytes.Buffer
	if err := r.JSON(&out, "zh-CN"); err != nil {
		t.Fatal(err)
	}
	var lines []map[string]string
	if err := json.Unmarshal(out.Bytes(), &lines); err != nil || len(lines) != 3 || lines[2]["hint"] != "请检查插头" || lines[0]["hint"] != "" || lines[2]["level"] != "fail" {
		t.Errorf("%v: %s", err, &out)
	}
	out.Reset()
	if err := new(Report).JSON(&out, "en"); err != nil || strings.TrimSpace(out.String()) != "[]" {
		t.Errorf("an empty report is %q, %v", &out, err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if _, forgets := volatile[int64(fs.Type)]; forgets {
		t.Skip("temporary files are on a file system that forgets")
	}
	for _, c := range []struct {
		dir          string
		used, budget int64
		level        Level
		said, hint   string
	}{
		{closed, 0, 1 << 20, OK, "mode 0700", ""},
		{open, 0, 1 << 20, Warn, "mode 0755", "chmod 700"},
		{closed, 0, 1 << 60, Warn, "MB free", "lower card"},
		{closed, 1 << 60, 1 << 60, OK, "MB free", ""},
		{filepath.Join(dir, "none"), 0, 1, Warn, "not there yet", "when it starts"},
		{filepath.Join(dir, "none", "deeper"), 0, 1, Fail, "may not make it", "sudo -u trailmark-agent"},
		{file, 0, 1, Fail, "not a folder", "dir"},
	} {
		var r Report
		r.Folder(c.dir, c.used, c.budget)
		if f := r.findings[0]; len(r.findings) != 1 || f.Level != c.level || !strings.Contains(f.Said.En, c.said) || !strings.Contains(f.Hint.En, c.hint) ||
			(c.hint == "") != (f.Hint.Zh == "") {
			t.Errorf("%s: %+v", c.dir, r.findings)
		}
	}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		var r Report
		if r.Folder("/dev/shm", 0, 1); r.findings[0].Level == OK || !strings.Contains(r.findings[0].Said.En, "tmpfs") {
			t.Errorf("a folder in memory: %+v", r.findings)
		}
	}
}
