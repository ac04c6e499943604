// Package logger reads the text export of a vaccine fridge logger (Berlinger
// Fridge-tag 2 L) as a time series.
//
// It promises that nothing is guessed: a reading out of order, outside the
// instrument's range, in Fahrenheit or in an unknown spelling is an error that
// names its line. The export's signature is not checked: the readings feed a
// simulator and are no evidence.
//
// Format: lines of text, ended by LF or CRLF. A line that starts without white
// space opens a section. Of those, two are read:
//
//	Hist:                                 one block per day, newest first
//	  Date: 2022-05-05
//	  Min T: +5.0, TS Min T: 23:08
//	  Max T: +12.4, TS Max T: 15:20
//	  Avrg T: +7.1
//	Data:                                 one line per reading, oldest first
//	<tab>yyyy-MM-dd hh:mm<tab>T<tab>Out of limits
//	<tab>2022-05-05 15:16<tab>12.1<tab>x
package logger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Bounds of one export: far above what the instrument can hold, far below what
// would hurt.
const (
	MaxLine     = 4096    // bytes
	MaxReadings = 1 << 20 // ten years at five minutes
	MaxDays     = 4096
)

// The instrument's range in thousandths of a degree Celsius, with room for a
// bare sensor element.
const (
	minMilli = -60_000
	maxMilli = 100_000
)

// Export is one parsed file.
type Export struct {
	Serial   string        // of the logger; "" if the file names none
	Interval time.Duration // between two readings as configured; 0 if the file names none
	Days     []Day         // in file order: newest first
	Readings []Reading     // in strictly rising order of At, never empty
}

// Reading is one logged temperature.
type Reading struct {
	// At is the logger's own clock, which knows no zone: it is given as UTC.
	At    time.Time
	Milli int32 // thousandths of a degree Celsius
	Out   bool  // the logger marked it out of its limits
}

// Day is what the logger computed for one calendar day from all its
// measurements, which are more frequent than its readings. The logger cuts the
// mean to a tenth, towards zero. Temperatures are thousandths of a degree.
type Day struct {
	Date           time.Time
	Min, Max, Mean int32
}

// Parse reads an export to its end. Errors name the line.
func Parse(r io.Reader) (*Export, error) {
	p := parser{export: &Export{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxLine)
	for lines.Scan() {
		p.line++
		if err := p.read(lines.Text()); err != nil {
			return nil, fmt.Errorf("logger export line %d: %w", p.line, err)
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("longer than %d bytes", MaxLine)
		}
		return nil, fmt.Errorf("logger export line %d: %w", p.line+1, err)
	}
	if len(p.export.Readings) == 0 {
		return nil, fmt.Errorf("logger export: no readings in %d lines, need a section %q", p.line, "Data:")
	}
	return p.export, nil
}

type parser struct {
	export  *Export
	line    int
	section string
	heading bool // the table's heading was seen
}

func (p *parser) read(s string) error {
	if s == "" {
		return nil
	}
	if s[0] != ' ' && s[0] != '\t' {
		p.section, _, _ = strings.Cut(s, ":")
		p.heading = false
		return nil
	}
	switch p.section {
	case "Conf":
		return p.conf(strings.TrimSpace(s))
	case "Hist":
		return p.hist(strings.TrimSpace(s))
	case "Data":
		return p.data(s)
	}
	return nil
}

func (p *parser) conf(s string) error {
	key, value, _ := strings.Cut(s, ": ")
	switch key {
	case "Serial":
		p.export.Serial = value
	case "Temp unit":
		if value != "C" {
			return fmt.Errorf("temperature unit %q, want C", value)
		}
	case "Logging Interval":
		var minutes int
		if _, err := fmt.Sscanf(value, "%d", &minutes); err != nil || minutes < 1 || minutes > 24*60 {
			return fmt.Errorf("logging interval %q, want 1 to 1440 minutes", value)
		}
		p.export.Interval = time.Duration(minutes) * time.Minute
	}
	return nil
}

func (p *parser) hist(s string) (err error) {
	key, value, _ := strings.Cut(s, ": ")
	value, _, _ = strings.Cut(value, ", ")
	days := p.export.Days
	if key == "Date" {
		if len(days) == MaxDays {
			return fmt.Errorf("more than %d days", MaxDays)
		}
		date, err := time.Parse(time.DateOnly, value)
		if err != nil {
			return fmt.Errorf("day %q, want yyyy-MM-dd", value)
		}
		p.export.Days = append(days, Day{Date: date})
		return nil
	}
	if len(days) == 0 {
		return nil
	}
	day := &days[len(days)-1]
	switch key {
	case "Min T":
		day.Min, err = milli(value)
	case "Max T":
		day.Max, err = milli(value)
	case "Avrg T":
		day.Mean, err = milli(value)
	}
	return err
}

func (p *parser) data(s string) error {
	field := strings.Split(strings.TrimPrefix(s, "\t"), "\t")
	if !p.heading {
		if field[0] != "yyyy-MM-dd hh:mm" {
			return fmt.Errorf("heading starts with %q, want %q", field[0], "yyyy-MM-dd hh:mm")
		}
		p.heading = true
		return nil
	}
	out := len(field) == 3 && field[2] == "x"
	if len(field) != 2 && !out {
		return fmt.Errorf("reading %q, want <tab>time<tab>temperature, then <tab>x if out of limits", s)
	}
	at, err := time.Parse("2006-01-02 15:04", field[0])
	if err != nil {
		return fmt.Errorf("time %q, want yyyy-MM-dd hh:mm", field[0])
	}
	value, err := milli(field[1])
	if err != nil {
		return err
	}
	had := p.export.Readings
	if n := len(had); n == MaxReadings {
		return fmt.Errorf("more than %d readings", MaxReadings)
	} else if n > 0 && !at.After(had[n-1].At) {
		return fmt.Errorf("time %s is not after the reading before it, %s",
			field[0], had[n-1].At.Format("2006-01-02 15:04"))
	}
	p.export.Readings = append(had, Reading{At: at, Milli: value, Out: out})
	return nil
}

// milli reads the export's one spelling of a temperature: an optional sign, one
// to three digits, a point and one digit.
func milli(s string) (int32, error) {
	bad := fmt.Errorf("temperature %q, want degrees Celsius such as -8.4", s)
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || len(digits) < 3 || len(digits) > 5 {
		return 0, bad
	}
	var tenths int32
	for i := range len(digits) {
		switch c := digits[i]; {
		case i == len(digits)-2 && c == '.':
		case i != len(digits)-2 && c >= '0' && c <= '9':
			tenths = tenths*10 + int32(c-'0')
		default:
			return 0, bad
		}
	}
	if s[0] == '-' {
		tenths = -tenths
	}
	value := tenths * 100
	if value < minMilli || value > maxMilli {
		return 0, fmt.Errorf("temperature %s outside %d to %d degrees Celsius", s, minMilli/1000, maxMilli/1000)
	}
	return value, nil
}
