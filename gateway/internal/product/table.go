package product

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"trailmark/statement"
)

// Bounds of a file of products.
const (
	MaxFile = 8 << 20 // bytes
	MaxRows = 10_000
)

// column is a column of a table of products, by what its header may say.
type column struct {
	field  string
	zh, en string   // how it is written
	also   []string // how it may be written besides, lower case
}

var columns = []column{
	{"gtin", "商品条码", "GTIN", []string{"gtin-14", "条码", "barcode"}},
	{"name zh-CN", "名称", "name (zh-CN)", []string{"中文名称", "商品名称", "name_zh", "name-zh"}},
	{"name en", "英文名称", "name (en)", []string{"name", "name_en", "name-en"}},
	{"band", "温度范围", "band", []string{"温度范围 (°c)", "温度范围（℃）", "温度", "band (°c)", "temperature"}},
	{"allowed", "允许超标时间", "allowed", []string{"允许超标", "allowed time"}},
	{"rule", "规则", "rule", nil},
}

// language is the header of names in a language that has no column of its own.
var language = regexp.MustCompile(`^(?i:name) \(([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)\)$`)

// keep in the column of rules stands for a rule that a table cannot write: the
// one that is signed stays.
const keep = "keep"

// A RowError is what is wrong at one place of a table.
type RowError struct {
	Line   int    `json:"line"`
	Column string `json:"column"` // as its header says
	Says   string `json:"says"`
}

func (e *RowError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Says)
	}
	return fmt.Sprintf("line %d, column %s: %s", e.Line, e.Column, e.Says)
}

// A Row is one product of a table.
type Row struct {
	Line  int
	Draft Draft
	Keep  bool // the rule that is signed stays
}

// A Sheet is a table that was read.
type Sheet struct {
	Rows   []Row
	Errors []*RowError // of lines that are no product
	Hints  []string    // what a person should know of the file
}

// ReadTable reads a CSV file of products: a row of headers in Chinese or English,
// a product a line. The file is UTF-8, with or without a byte order mark, or
// GB18030. An error is of the file as a whole.
func ReadTable(data []byte) (*Sheet, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("file of %d bytes is over the limit of %d", len(data), MaxFile)
	}
	s := &Sheet{}
	text, err := s.decode(data)
	if err != nil {
		return nil, err
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty\nhint: its first line names the columns: " + strings.Join(Header(true), ","))
	} else if err != nil {
		return nil, fmt.Errorf("no table of comma-separated values: %w", err)
	}
	fields, err := headers(head)
	if err != nil {
		return nil, err
	}
	seen := map[string]int{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return s, nil
		} else if err != nil {
			return nil, fmt.Errorf("no table of comma-separated values: %w", err)
		}
		line, _ := r.FieldPos(0)
		if strings.TrimSpace(strings.Join(record, "")) == "" {
			continue
		}
		if len(s.Rows)+len(s.Errors) == MaxRows {
			return nil, fmt.Errorf("line %d: more than %d products\nhint: split the file", line, MaxRows)
		}
		if len(record) != len(head) {
			s.Errors = append(s.Errors, &RowError{line, "", fmt.Sprintf("%d values, but %d columns", len(record), len(head))})
			continue
		}
		row, rowErr := s.row(line, head, fields, record)
		if rowErr == nil {
			if first, twice := seen[row.Draft.GTIN]; twice {
				rowErr = &RowError{line, headerOf(head, fields, "gtin"), fmt.Sprintf("%s is on line %d already", row.Draft.GTIN, first)}
			}
		}
		if rowErr != nil {
			s.Errors = append(s.Errors, rowErr)
			continue
		}
		seen[row.Draft.GTIN] = line
		s.Rows = append(s.Rows, row)
	}
}

// decode is the file as UTF-8.
func (s *Sheet) decode(data []byte) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")); ok {
		data = rest
	}
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) || bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("the file is UTF-16 or no text\nhint: save it as \"CSV UTF-8\"")
	}
	if utf8.Valid(data) {
		return data, nil
	}
	text, err := simplifiedchinese.GB18030.NewDecoder().Bytes(data)
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
		return nil, errors.New("the file is neither UTF-8 nor GB18030\nhint: save it as \"CSV UTF-8\"")
	}
	s.Hints = append(s.Hints, "the file was read as GB18030 / 文件按 GB18030 读取; save it as \"CSV UTF-8\" if names look wrong")
	return text, nil
}

// headers are the fields of a table's columns.
func headers(head []string) ([]string, error) {
	out := make([]string, len(head))
	at := map[string]int{}
	for i, h := range head {
		name := strings.ToLower(strings.TrimSpace(h))
		if lang := language.FindStringSubmatch(strings.TrimSpace(h)); lang != nil {
			out[i] = "name " + lang[1]
		}
		for _, c := range columns {
			if name == strings.ToLower(c.zh) || name == strings.ToLower(c.en) || contains(c.also, name) {
				out[i] = c.field
			}
		}
		switch other, twice := at[out[i]]; {
		case out[i] == "" && len(head) == 1 && strings.ContainsAny(h, ";\t"):
			return nil, errors.New("the columns are not separated by commas\nhint: save the file as \"CSV UTF-8 (comma delimited)\"")
		case out[i] == "":
			return nil, fmt.Errorf("line 1, column %d: %q is no column of products\nhint: %s", i+1, h, strings.Join(append(Header(true), Header(false)...), ", "))
		case twice:
			return nil, fmt.Errorf("line 1: column %d says the same as column %d", i+1, other+1)
		}
		at[out[i]] = i
	}
	if _, ok := at["gtin"]; !ok {
		return nil, fmt.Errorf("line 1: no column %s or %s", columns[0].zh, columns[0].en)
	}
	return out, nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func headerOf(head, fields []string, name string) string {
	for i, f := range fields {
		if f == name {
			return strings.TrimSpace(head[i])
		}
	}
	return name
}

// row reads one line.
func (s *Sheet) row(line int, head, fields, record []string) (Row, *RowError) {
	row := Row{Line: line}
	fail := func(name string, err error) *RowError {
		return &RowError{line, headerOf(head, fields, name), strings.TrimPrefix(err.Error(), "epc: ")}
	}
	for i, value := range record {
		value = unguard(strings.TrimSpace(value))
		if value == "" && fields[i] != "gtin" {
			continue
		}
		var err error
		switch fields[i] {
		case "gtin":
			if row.Draft.GTIN, err = PadGTIN(value); err == nil && len(value) < 14 && len(s.Hints) < 8 {
				s.Hints = append(s.Hints, fmt.Sprintf("line %d: %s counts as %s", line, value, row.Draft.GTIN))
			}
			var f *FieldError
			if errors.As(err, &f) {
				err = f.Err
			}
		default:
			row.Draft.Name = append(row.Draft.Name, statement.Text{Lang: strings.TrimPrefix(fields[i], "name "), Words: value})
		case "band":
			row.Draft.Band = strings.NewReplacer("~", "..", "～", "..", "–", "..", "至", "..", "℃", "", "°C", "", " ", "").Replace(value)
		case "allowed":
			row.Draft.Allowed, err = minutes(value)
		case "rule":
			if row.Keep = value == keep; !row.Keep {
				row.Draft.Rule = value
			}
		}
		if err != nil {
			return row, fail(fields[i], err)
		}
	}
	check := row.Draft
	if row.Keep {
		if check.Band != "" || check.Allowed != 0 {
			return row, fail("rule", errors.New("keep stands for a whole rule; leave band and allowed time empty"))
		}
		check.Rule = "who-1" // for the check of everything else
	}
	_, err := check.Product(statement.Texts{{Lang: "en", Words: "brand"}})
	var f *FieldError
	switch {
	case errors.As(err, &f) && f.Field == "name":
		return row, fail("name zh-CN", f.Err)
	case errors.As(err, &f):
		return row, fail(f.Field, f.Err)
	case err != nil:
		return row, &RowError{line, "", err.Error()}
	}
	return row, nil
}

// minutes reads a duration: a number is minutes.
func minutes(s string) (time.Duration, error) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Minute, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no time\nhint: minutes, or 1h30m", s)
	}
	return d, nil
}

// Header is the row of headers.
func Header(chinese bool) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.en
		if chinese {
			out[i] = c.zh
		}
	}
	return out
}

// WriteTable writes products as a CSV file that ReadTable reads, with a byte order
// mark, without which spreadsheets take it for another encoding.
func WriteTable(w io.Writer, products []Product, chinese bool) error {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	// Languages that have no column of their own get one behind the others.
	var more []string
	for _, p := range products {
		for _, t := range p.Name {
			if t.Lang != "zh-CN" && t.Lang != "en" && !contains(more, t.Lang) {
				more = append(more, t.Lang)
			}
		}
	}
	head := Header(chinese)
	for _, lang := range more {
		head = append(head, "name ("+lang+")")
	}
	if err := out.Write(head); err != nil {
		return err
	}
	for _, p := range products {
		band, allowed, rule, ok := written(p.Rule)
		if !ok {
			rule = keep
		}
		late := ""
		if allowed != 0 {
			late = allowed.String()
			if allowed%time.Minute == 0 {
				late = strconv.FormatInt(int64(allowed/time.Minute), 10)
			}
		}
		name := map[string]string{}
		for _, t := range p.Name {
			name[t.Lang] = t.Words
		}
		record := []string{p.GTIN, name["zh-CN"], name["en"], band, late, rule}
		for _, lang := range more {
			record = append(record, name[lang])
		}
		for i := range record {
			record[i] = guard(record[i])
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// formula are the characters that make a spreadsheet take a cell for a formula.
const formula = "=+-@\t\r"

// guard keeps a cell from being taken for a formula.
func guard(s string) string {
	if s != "" && strings.IndexByte(formula+"'", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// unguard takes away what guard put there.
func unguard(s string) string {
	if len(s) > 1 && s[0] == '\'' && strings.IndexByte(formula+"'", s[1]) >= 0 {
		return s[1:]
	}
	return s
}
