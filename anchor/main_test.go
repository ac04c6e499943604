package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trailmark/anchor/internal/report"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

// anchor is the built command in a folder of its own.
type anchor struct {
	t    *testing.T
	path string
	dir  string
}

func build(t *testing.T) *anchor {
	t.Helper()
	a := &anchor{t: t, path: filepath.Join(t.TempDir(), "anchor"), dir: t.TempDir()}
	if out, err := exec.Command("go", "build", "-o", a.path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return a
}

// run gives the exit code and both outputs.
func (a *anchor) run(args ...string) (code int, stdout, stderr string) {
	a.t.Helper()
	cmd := exec.Command(a.path, args...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "TZ=Asia/Shanghai")
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		a.t.Fatal(err)
	}
	return code, out.String(), problems.String()
}

func (a *anchor) file(name string, data []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// passport writes NAME.passport and NAME.trust.
func (a *anchor) passport(name string, o passporttest.Options) []byte {
	a.t.Helper()
	data, trust := passporttest.Make(a.t, o)
	pinned, err := trust.Encode()
	if err != nil {
		a.t.Fatal(err)
	}
	a.file(name+".passport", data)
	a.file(name+".trust", pinned)
	return data
}

func (a *anchor) wants(code int, stdout, stderr string, args ...string) {
	a.t.Helper()
	c, out, problems := a.run(args...)
	if c != code || !strings.Contains(out, stdout) || !strings.Contains(problems, stderr) {
		a.t.Errorf("anchor %s: exit %d, want %d with %q and %q\nstdout: %.1500s\nstderr: %s", strings.Join(args, " "), c, code, stdout, stderr, out, problems)
	}
}

func TestCommand(t *testing.T) {
	a := build(t)
	t.Run("verify", func(t *testing.T) { a.t = t; verifies(a) })
	t.Run("refute", func(t *testing.T) { a.t = t; refutes(a) })
	t.Run("inspect", func(t *testing.T) { a.t = t; inspects(a) })
	t.Run("report", func(t *testing.T) { a.t = t; reports(a) })
	t.Run("usage", func(t *testing.T) { a.t = t; usage(a) })
}

func verifies(a *anchor) {
	a.passport("kept", passporttest.Options{})
	a.wants(0, "Verified: 2–8 °C was kept", "", "verify", "--trust", "kept.trust", "kept.passport")
	a.wants(0, "已核验：", "", "verify", "kept.passport", "--trust", "kept.trust", "--lang=zh-CN") // flags after the file
	a.passport("beyond", passporttest.Options{Beyond: true})
	a.wants(0, "Verified, but beyond the rule: 8 °C or above for 1 h 20 min", "", "verify", "--trust", "beyond.trust", "beyond.passport")
	a.passport("audit", passporttest.Options{Audit: true})
	a.wants(0, "Verified: 2–8 °C was kept", "", "verify", "--audit", "--trust", "audit.trust", "audit.passport")

	_, out, _ := a.run("verify", "--json", "--trust", "kept.trust", "kept.passport")
	var v struct {
		Verified bool
		Outcome  string
		Legs     []struct{ Zone string }
		Bytes    int
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || !v.Verified || v.Outcome != "kept" || len(v.Legs) != 2 || v.Bytes == 0 {
		a.t.Errorf("--json printed %s (%v)", out, err)
	}
}

func refutes(a *anchor) {
	for code, o := range map[string]passporttest.Options{
		"range": {Tampered: true}, "window": {Narrow: true}, "item": {Foreign: true}, "expired": {Expired: true},
		"untrusted-key": {WrongRole: true}, "revoked": {Revoked: statement.RoleDevice},
		"signature": {Forge: func(k statement.Kind, raw []byte) []byte {
			if k == statement.KindFrame {
				raw[len(raw)-1] ^= 1
			}
			return raw
		}},
	} {
		a.passport(code, o)
		a.wants(1, "REFUTED: "+code+": ", "", "verify", "--trust", code+".trust", code+".passport")
		_, out, _ := a.run("verify", "--json", "--trust", code+".trust", code+".passport")
		var r struct {
			Verified bool
			Code     string
			Reason   string
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Verified || r.Code != code || r.Reason == "" {
			a.t.Errorf("%s: --json printed %s (%v)", code, out, err)
		}
		a.wants(1, "REFUTED: "+code+": ", "", "report", "--trust", code+".trust", "-o", code+".pdf", code+".passport")
		if _, err := os.Stat(filepath.Join(a.dir, code+".pdf")); err == nil {
			a.t.Errorf("%s: a report was written of what does not stand", code)
		}
	}
	a.file("not.passport", []byte("hello"))
	a.passport("good", passporttest.Options{})
	a.wants(1, "REFUTED: malformed: ", "", "verify", "--trust", "good.trust", "not.passport")
	a.file("large.passport", make([]byte, 1<<20+1))
	a.wants(1, "", "add --audit", "verify", "--trust", "good.trust", "large.passport")
	a.wants(1, "REFUTED: malformed: ", "", "verify", "--audit", "--trust", "good.trust", "large.passport")
	a.wants(1, "", "trust file", "verify", "--trust", "not.passport", "good.passport")
	a.wants(1, "", "no such file", "verify", "--trust", "good.trust", "missing")
}

func inspects(a *anchor) {
	data := a.passport("item", passporttest.Options{})
	a.wants(0, `2: / item / [/ gtin / "09521234543213", / serial / "1001"]`, "", "inspect", "item.passport")
	a.wants(0, "/ authorities /", "", "inspect", "item.trust", "--full")
	a.file("cut.passport", data[:len(data)/2])
	a.wants(1, `2: / item / [`, "cut.passport is damaged at byte ", "inspect", "cut.passport")
	a.wants(1, "", "damaged at byte 0", "inspect", "--as", "note", "item.passport")
	a.wants(2, "", `kind "pie" is none of`, "inspect", "--as", "pie", "item.passport")
}

func reports(a *anchor) {
	a.passport("item", passporttest.Options{})
	pdf := func(name string) bool {
		data, err := os.ReadFile(filepath.Join(a.dir, name))
		return err == nil && bytes.HasPrefix(data, []byte("%PDF-")) && bytes.Contains(data[len(data)-32:], []byte("%%EOF"))
	}
	a.wants(0, "Verified: 2–8 °C was kept", "", "report", "item.passport", "--trust", "item.trust", "-o", "en.pdf")
	if !pdf("en.pdf") {
		a.t.Error("no PDF in en.pdf")
	}
	a.wants(1, "", "hint: sudo apt install fonts-droid-fallback", "report", "--font", "item.passport", "--trust", "item.trust", "-o", "no.pdf", "item.passport")
	a.wants(2, "", "-o FILE is missing", "report", "--trust", "item.trust", "item.passport")
	a.wants(2, "", "is not a URL", "report", "--trust", "item.trust", "-o", "no.pdf", "--resolver", "example.com", "item.passport")
	if pdf("no.pdf") {
		a.t.Error("a PDF in spite of an error")
	}
	if report.FindFont(report.FontFolders()) == "" {
		a.wants(1, "", "hint: sudo apt install fonts-droid-fallback", "report", "--lang", "zh-CN", "--trust", "item.trust", "-o", "zh.pdf", "item.passport")
		return
	}
	a.wants(0, "已核验：", "", "report", "--lang", "zh-CN", "--trust", "item.trust", "-o", "zh.pdf", "item.passport")
	if !pdf("zh.pdf") {
		a.t.Error("no PDF in zh.pdf")
	}
}

func usage(a *anchor) {
	a.wants(0, "anchor inspect FILE", "")
	a.wants(0, "anchor report --trust FILE", "", "--help")
	for _, sub := range []string{"verify", "inspect", "report"} {
		a.wants(0, "Example:\n\n  anchor "+sub+" ", "", sub, "--help")
		a.wants(0, "\nFlags:\n", "", sub, "--help")
		a.wants(2, "", "which file?", sub)
		a.wants(2, "", "one file at a time", sub, "a", "b")
		a.wants(2, "", "flag provided but not defined", sub, "--frob", "a")
	}
	a.wants(2, "", "--trust FILE is missing", "verify", "a")
	a.wants(2, "", `language "fr" is neither`, "verify", "--trust", "a", "--lang", "fr", "a")
	a.wants(2, "", "unknown command", "frobnicate")
}
