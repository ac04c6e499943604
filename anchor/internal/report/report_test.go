package report

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

var made = time.Date(2026, 3, 3, 1, 2, 3, 0, time.UTC)

// verified is a report of a passport that stands.
func verified(t *testing.T, o passporttest.Options, lang passport.Lang) Report {
	t.Helper()
	data, trust := passporttest.Make(t, o)
	pinned, err := trust.Encode()
	if err != nil {
		t.Fatal(err)
	}
	v, err := passport.VerifyAudit(data, trust, made)
	if err != nil {
		t.Fatal(err)
	}
	r := Report{Verdict: v, Passport: File{"item.passport", data}, Trust: File{"dir/our trust.cbor", pinned}, Lang: lang,
		Zone: time.FixedZone("", 8*3600), Made: made, Resolver: "https://id.gs1.org"}
	if path := FindFont(FontFolders()); path != "" {
		if r.Font, err = ReadFont(path); err != nil {
			t.Fatal(err)
		}
	}
	if r.Font == nil && lang == passport.Chinese {
		t.Skip("no font with Chinese here: apt install fonts-droid-fallback")
	}
	return r
}

func write(t *testing.T, r Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// poppler runs one of poppler's tools on a PDF.
func poppler(t *testing.T, pdf []byte, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("%s is not here: apt install poppler-utils", tool)
	}
	cmd := exec.Command(path, append(args, "-", "-")...)
	if tool == "pdfinfo" {
		cmd = exec.Command(path, append(args, "-")...)
	}
	cmd.Stdin = bytes.NewReader(pdf)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// squeezed is text without white space: lines are broken where they fit.
func squeezed(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

func onePage(t *testing.T, pdf []byte, want ...string) {
	t.Helper()
	if info := poppler(t, pdf, "pdfinfo"); !strings.Contains(squeezed(info), "Pages:1") || !strings.Contains(info, "(A4)") {
		t.Errorf("not one page of A4:\n%s", info)
	}
	text := squeezed(poppler(t, pdf, "pdftotext", "-raw"))
	for _, w := range want {
		if !strings.Contains(text, squeezed(w)) {
			t.Errorf("the page lacks %q:\n%s", w, text)
		}
	}
}

func TestPage(t *testing.T) {
	both := []passport.Lang{passport.English, passport.Chinese}
	for name, o := range map[string]passporttest.Options{
		"kept": {}, "beyond": {Beyond: true, Simulated: true}, "withheld": {Withheld: true}, "unruled": {Unruled: true}, "moment": {Moment: true},
		"humid": {Humid: true}, "replanned": {Replanned: true, KeyStatus: true}, "audit": {Audit: true, Erased: true},
	} {
		for _, l := range both {
			t.Run(name+" "+string(l), func(t *testing.T) {
				r := verified(t, o, l)
				pdf := write(t, r)
				if len(pdf) > 200_000 {
					t.Errorf("%d bytes: the fonts are not embedded as subsets", len(pdf))
				}
				want := []string{r.Verdict.Sentence(l), "ΔH 83.144 kJ/mol", "GTIN " + passporttest.GTIN, passporttest.Serial,
					fmt.Sprintf("SHA-256 %x", sha256.Sum256(r.Passport.Data)), fmt.Sprintf("SHA-256 %x", sha256.Sum256(r.Trust.Data)),
					"anchor verify --trust 'our trust.cbor' item.passport", "UTC+08:00", "2026-03-03 09:02", "2026-03-02 08:30",
					l.Say("1/1 个验证者", "1 of 1 validators"), l.Say("不证明探头放在哪里", "not where the probe sat"), l.Clock(statement.ClockSynchronised)}
				if o.Simulated {
					want = append(want, l.Say("含模拟设备的数据，并非真实测量：truck-pi", "Includes data of simulated devices, not of real measurements: truck-pi"))
				}
				if o.Beyond {
					want = append(want, l.Say("全程：8 °C 及以上，1 小时 20 分钟", "whole journey: 8 °C or above, 1 h 20 min"), "10.8")
				}
				if o.Withheld {
					want = append(want, l.Say("计划要求这些测量", "The plan lists these measurements"), l.Say("没有得到证明的测量", "nothing proven here"))
				}
				if o.Audit {
					want = append(want, l.Say("曲线为护照中出示的 108 个读数", "the curve is 108 readings"), l.Say("已删除 2 块", "erased: 2 blocks"))
				} else if !o.Unruled {
					want = append(want, l.Say("不是曲线", "not a curve"))
				}
				onePage(t, pdf, want...)
			})
		}
	}
}

// TestHappenings wants what devices reported on the page, from whichever frame
// discloses it, in order of time.
func TestHappenings(t *testing.T) {
	r := verified(t, passporttest.Options{}, passport.English)
	p, err := passport.Parse(r.Passport.Data)
	if err != nil {
		t.Fatal(err)
	}
	at := passporttest.Epoch().Add(9 * time.Hour).UnixMilli()
	until := at + 600_000
	for i := range p.Evidence {
		if p.Evidence[i].Shown == nil {
			continue
		}
		for n, h := range []*statement.Happening{{Type: statement.Fault, At: at + 60_000, Subject: "air", Words: "no answer"}, {Type: statement.AlarmStart, At: at, Until: &until, Subject: "box"}} {
			body, err := statement.NewBody(h)
			if err != nil {
				t.Fatal(err)
			}
			p.Evidence[i].Shown.Records = append(p.Evidence[i].Shown.Records, passport.Record{Index: 100 + uint64(n), Data: statement.SaltedRecord([16]byte{9}, body)})
		}
		break
	}
	if r.Passport.Data, err = p.Encode(); err != nil {
		t.Fatal(err)
	}
	onePage(t, write(t, r), "Events that devices reported (those disclosed) 2026-03-02 17:00 – 2026-03-02 17:10: alarm start box 2026-03-02 17:01: probe fault air (no answer)")
}

// TestCrowded wants one page of any journey, and that what no signature can
// prove is never what makes room.
func TestCrowded(t *testing.T) {
	r := verified(t, passporttest.Options{Beyond: true, Simulated: true}, passport.English)
	v := r.Verdict
	legs := v.Legs
	v.Legs[0].Name = statement.Texts{{Lang: "en", Words: strings.Repeat("very long ", 25)}}
	for range 40 {
		v.Legs = append(v.Legs, legs...)
		v.Broken = append(v.Broken, v.Broken[0])
		v.Withheld = append(v.Withheld, passport.Withheld{Channel: "air", From: legs[0].From, To: legs[0].To})
		v.Devices = append(v.Devices, v.Devices[1])
	}
	v.Product.Name = statement.Texts{{Lang: "en", Words: strings.Repeat("name ", 50)}}
	v.Product.Rule = slices.Repeat(v.Product.Rule, 8)
	pdf := write(t, r)
	onePage(t, pdf, "more legs are not shown here: anchor verify lists them all", "… (anchor verify says it all)",
		"What no signature can prove", "a hidden sighting cannot be excluded", "how far they can be trusted", fmt.Sprintf("%x", sha256.Sum256(r.Passport.Data)))
}

func TestSameBytes(t *testing.T) {
	r := verified(t, passporttest.Options{}, passport.English)
	if !bytes.Equal(write(t, r), write(t, r)) {
		t.Error("the same report has two encodings")
	}
}

func TestFonts(t *testing.T) {
	r := verified(t, passporttest.Options{}, passport.English)
	r.Font = nil
	write(t, r) // English needs no font of the system
	r.Lang = passport.Chinese
	if err := Write(new(bytes.Buffer), r); !errors.Is(err, ErrNoFont) || !strings.Contains(err.Error(), "apt install fonts-droid-fallback") {
		t.Errorf("Chinese without a font: %v", err)
	}
	r.Lang = passport.English
	r.Verdict.Product.Name = statement.Texts{{Lang: "zh-CN", Words: "疫苗"}}
	if err := Write(new(bytes.Buffer), r); !errors.Is(err, ErrNoFont) {
		t.Errorf("a Chinese name without a font: %v", err)
	}
	dir := t.TempDir()
	if got := FindFont([]string{dir, filepath.Join(dir, "missing")}); got != "" {
		t.Errorf("found %s in an empty folder", got)
	}
	for name, c := range map[string]struct{ data, want string }{
		"cff.otf": {"OTTO\x00\x01", "CFF, not TrueType"}, "many.ttc": {"ttcf\x00\x01", "a collection"}, "not.ttf": {"hello", "cannot be embedded"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFont(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "hint: sudo apt install") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDamagedFont wants an error, not a crash, of a font that is only sound
// where the measuring library looks.
func TestDamagedFont(t *testing.T) {
	r := verified(t, passporttest.Options{}, passport.Chinese)
	whole := bytes.Clone(r.Font)
	at := bytes.Index(whole[:4096], []byte("loca"))
	if at < 0 {
		t.Fatal("the font has no glyph locations")
	}
	failed := false
	for _, spoil := range []int{8, 9, 10, 12, 13} { // the table's offset and length
		r.Font = bytes.Clone(whole)
		r.Font[at+spoil] ^= 0x7f
		if err := Write(new(bytes.Buffer), r); err != nil {
			failed = true
			if !strings.Contains(err.Error(), "font") {
				t.Errorf("byte %d: %v", spoil, err)
			}
		}
	}
	if !failed {
		t.Error("a font without its glyphs passes")
	}
}

func TestLink(t *testing.T) {
	if got := Link("https://id.example.com/", passport.Item{GTIN: "09521234543213", Serial: "A/1 %"}); got != "https://id.example.com/01/09521234543213/21/A%2F1%20%25" {
		t.Error(got)
	}
}

// FuzzWrap wants every rune on some line, and no line too wide.
func FuzzWrap(f *testing.F) {
	p, err := newPen(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Verified: 2–8 °C was kept at 杭州冷库 1 号（示例）。", 30.0)
	f.Add(strings.Repeat("x", 400), 12.0)
	f.Add("  a   b ⚠ c", 8.0)
	f.Fuzz(func(t *testing.T, words string, w float64) {
		if !(w >= 8 && w <= 200) || len(words) > 2000 {
			return
		}
		s := style{8, false, black}
		lines := p.wrap(words, w, s)
		if got, want := squeezed(strings.Join(lines, "")), squeezed(strings.ToValidUTF8(words, "\ufffd")); got != want && squeezed(words) == want {
			t.Errorf("%q became %q", want, got)
		}
		for i, line := range lines {
			if p.width(line, s) > w+1e-6 {
				t.Errorf("line %d %q is %.2f mm wide, want %.2f", i, line, p.width(line, s), w)
			}
		}
	})
}
