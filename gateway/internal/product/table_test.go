package product

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

var brand = statement.Texts{{Lang: "en", Words: "Brand"}}

const sample = "商品条码,名称,英文名称,温度范围,允许超标时间,规则\n" +
	"09521234543213,流感疫苗,Flu vaccine,2..8,,\n" +
	"9521234543220,\"冻虾, 500g\",Shrimp,-25～-18 ℃,30,\n" +
	"\n" +
	"09521234543237,常温疫苗,,,,who-1\n"

func TestReadTable(t *testing.T) {
	gb, err := simplifiedchinese.GB18030.NewEncoder().String(sample)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"utf-8": sample, "byte order mark": "\ufeff" + sample, "gb18030": gb, "crlf": strings.ReplaceAll(sample, "\n", "\r\n"),
		"english": strings.Replace(sample, "商品条码,名称,英文名称,温度范围,允许超标时间,规则", "gtin,Name (zh-CN),name,BAND,allowed,rule", 1)} {
		s, err := ReadTable([]byte(file))
		if err != nil || len(s.Errors) > 0 || len(s.Rows) != 3 {
			t.Errorf("%s: %v, %+v", name, err, s)
			continue
		}
		if got := s.Rows[1]; got.Line != 3 || got.Draft.GTIN != "09521234543220" || got.Draft.Band != "-25..-18" || got.Draft.Allowed != 30*time.Minute || got.Draft.Name.In("zh-CN") != "冻虾, 500g" {
			t.Errorf("%s: %+v", name, got)
		}
		if s.Rows[2].Line != 5 || s.Rows[2].Draft.Rule != "who-1" {
			t.Errorf("%s: %+v", name, s.Rows[2])
		}
		if hinted := strings.Contains(strings.Join(s.Hints, "\n"), "GB18030"); hinted != (name == "gb18030") || !strings.Contains(strings.Join(s.Hints, "\n"), "9521234543220 counts as 09521234543220") {
			t.Errorf("%s: hints %q", name, s.Hints)
		}
	}
}

// TestWrongLines: an error names the line and the column as its header does.
func TestWrongLines(t *testing.T) {
	const head = "商品条码,名称,温度范围,允许超标时间,规则\n"
	for line, want := range map[string]string{
		"09521234543210,a,2..8,,": "line 2, column 商品条码: gtin 09521234543210 ends in check digit 0: want 3",
		",a,2..8,,":               "column 商品条码: gtin \"\" has 0 characters",
		"9.52123E+12,a,2..8,,":    "column 商品条码: gtin",
		"09521234543213,,2..8,,":  "line 2, column 名称: a product has a name",
		"09521234543213," + strings.Repeat("字", 86) + ",2..8,,": "column 名称: 258 bytes in language zh-CN, want 1 to 256",
		"09521234543213,a,8..2,,":                               "column 温度范围: \"8..2\" is not a band",
		"09521234543213,a,,,":                                   "column 温度范围: \"\" is not a band",
		"09521234543213,a,NaN..8,,":                             "column 温度范围",
		"09521234543213,a,2..8,soon,":                           "column 允许超标时间: \"soon\" is no time",
		"09521234543213,a,2..8,-3,":                             "column 允许超标时间",
		"09521234543213,a,,,who-9":                              "column 规则: no rule is named \"who-9\"\nhint: who-1 or who-2",
		"09521234543213,a,2..8,,who-1":                          "column 规则: who-1 is a whole rule",
		"09521234543213,a,2..8":                                 "line 2: 3 values, but 5 columns",
		"09521234543213,a,2..8,,\n9521234543213,b,2..8,,":       "line 3, column 商品条码: 09521234543213 is on line 2 already",
	} {
		s, err := ReadTable([]byte(head + line + "\n"))
		if err != nil || len(s.Errors) != 1 || !strings.Contains(s.Errors[0].Error(), want) {
			t.Errorf("%q: %v, %v, want %q", line, err, s, want)
		}
	}
	for file, want := range map[string]string{
		"":                             "the file is empty",
		"名称,温度范围\na,2..8\n":            "no column 商品条码 or GTIN",
		"gtin,price\n1,2\n":            "line 1, column 2: \"price\" is no column",
		"gtin,name,英文名称\n":             "column 3 says the same as column 2",
		"gtin;name;band\n1;2;3\n":      "not separated by commas",
		"gtin,\"na\n":                  "no table of comma-separated values",
		"\xff\xfeg\x00":                "UTF-16",
		"gtin,name\n\xff\xff\xff,a\n":  "neither UTF-8 nor GB18030",
		strings.Repeat(" ", MaxFile+1): "is over the limit",
	} {
		if s, err := ReadTable([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, %v, want %q", file, s, err, want)
		}
	}
}

// TestTableRoundTrip: what is exported is imported as the same, and no cell is a
// formula to a spreadsheet.
func TestTableRoundTrip(t *testing.T) {
	who2, _ := passport.Rule("who-2")
	band, err := Draft{Band: "-25.5..-18", Allowed: 90 * time.Second}.rule()
	if err != nil {
		t.Fatal(err)
	}
	odd := []statement.Criterion{{Unit: "%RH", Limit: trace.Limit{Comparison: trace.AtOrAbove, Value: 60000}, Kind: statement.Single}}
	products := []Product{
		{GTIN: "09521234543213", Name: statement.Texts{{Lang: "zh-CN", Words: "=cmd|' /C calc'!A0"}, {Lang: "en", Words: "-1+1"}}, Rule: who2, Brand: brand},
		{GTIN: "09521234543220", Name: statement.Texts{{Lang: "fr", Words: "@crevette"}, {Lang: "en", Words: "'quoted"}}, Rule: band, Brand: brand},
		{GTIN: "09521234543237", Name: statement.Texts{{Lang: "zh-CN", Words: "湿度"}}, Rule: odd},
	}
	for _, chinese := range []bool{true, false} {
		var file bytes.Buffer
		if err := WriteTable(&file, products, chinese); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(file.String(), "\n") {
			for _, cell := range strings.Split(line, ",") {
				if cell = strings.Trim(cell, `"`); cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
					t.Errorf("cell %q is a formula", cell)
				}
			}
		}
		s, err := ReadTable(file.Bytes())
		if err != nil || len(s.Errors) > 0 || len(s.Rows) != 3 {
			t.Fatalf("%v, %v\n%s", err, s, &file)
		}
		for i, row := range s.Rows {
			if i == 2 {
				if !row.Keep {
					t.Errorf("a rule that a table cannot write is not kept: %+v", row)
				}
				continue
			}
			p, err := row.Draft.Product(brand)
			if err != nil || !products[i].Same(p) {
				t.Errorf("%v: %+v, want %+v", err, p, products[i])
			}
		}
	}
}

func TestBandsAreExact(t *testing.T) {
	for band, want := range map[string][2]int64{"2.3..8.1": {2299, 8101}, "-0.5..0.29": {-501, 291}, "2..8": {1999, 8001}} {
		rule, err := Draft{Band: band}.rule()
		if err != nil || rule[0].Limit.Value != want[0] || rule[1].Limit.Value != want[1] {
			t.Errorf("%s: %+v, %v", band, rule, err)
		}
		if again, _, _, ok := written(rule); !ok || again != band {
			t.Errorf("%s is written %q, %v", band, again, ok)
		}
	}
}

// FuzzReadTable: any file is an error or products that can be signed, written and
// read again.
func FuzzReadTable(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("gtin,name,rule\n9521234543220,a,keep\n"))
	f.Add([]byte("\ufeffGTIN,name (fr),band\n\"09521234543213\",'=x,2..8"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadTable(data)
		if err != nil {
			return
		}
		var products []Product
		for _, row := range s.Rows {
			if row.Keep {
				continue
			}
			p, err := row.Draft.Product(brand)
			if err != nil {
				t.Fatalf("%+v: %v", row, err)
			}
			products = append(products, Product{GTIN: p.GTIN, Name: p.Name, Rule: p.Rule})
		}
		var file bytes.Buffer
		if err := WriteTable(&file, products, true); err != nil {
			t.Fatal(err)
		}
		again, err := ReadTable(file.Bytes())
		if err != nil || len(again.Errors) > 0 {
			t.Fatalf("%v %v\n%s", err, again, &file)
		}
		for i, row := range again.Rows {
			p, err := row.Draft.Product(brand)
			if err != nil || p.GTIN != products[i].GTIN || !sameTexts(p.Name, products[i].Name) || !slices.Equal(p.Rule, products[i].Rule) {
				t.Fatalf("%+v, want %+v", p, products[i])
			}
		}
	})
}
