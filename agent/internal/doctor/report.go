// Package doctor is the list of what works on a device and what does not: one
// line for each thing, with what to do about it, in Chinese or English. It looks
// at the machine itself; who knows more adds to the list.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// A Level is how bad a finding is.
type Level string

// The levels. A skipped check says why it was not made.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
	Skip Level = "skip"
)

// Words are one text in both languages. Names, numbers and what other programs
// said are the same in both.
type Words struct{ En, Zh string }

// Same is a text that needs no translation.
func Same(text string) Words { return Words{text, text} }

// Both formats one text in both languages.
func Both(en, zh string, args ...any) Words {
	return Words{fmt.Sprintf(en, args...), fmt.Sprintf(zh, args...)}
}

func (w Words) in(lang string) string {
	if lang == "zh-CN" {
		return w.Zh
	}
	return w.En
}

// A Finding is the outcome of one check.
type Finding struct {
	Check string // what was looked at, as "clock"
	Level Level
	Said  Words
	Hint  Words // what to do; empty with OK
}

// A Report is the findings in the order in which they were made.
type Report struct{ findings []Finding }

// Add puts a finding on the list.
func (r *Report) Add(check string, level Level, said, hint Words) {
	r.findings = append(r.findings, Finding{check, level, said, hint})
}

// Error adds an error, whose own hint becomes the finding's.
func (r *Report) Error(check string, level Level, err error) {
	said, hint, _ := strings.Cut(err.Error(), "\nhint: ")
	r.Add(check, level, Same(said), Same(hint))
}

// Healthy reports that nothing fails.
func (r *Report) Healthy() bool {
	for _, f := range r.findings {
		if f.Level == Fail {
			return false
		}
	}
	return true
}

// Print writes a line for each finding, and one more for its hint.
func (r *Report) Print(w io.Writer, lang string) error {
	hint := Words{"hint", "提示"}.in(lang)
	for _, f := range r.findings {
		if _, err := fmt.Fprintf(w, "%-4s  %-10s  %s\n", f.Level, f.Check, indent(f.Said.in(lang))); err != nil {
			return err
		}
		if text := f.Hint.in(lang); text != "" {
			if _, err := fmt.Fprintf(w, "%-4s  %-10s  %s: %s\n", "", "", hint, indent(text)); err != nil {
				return err
			}
		}
	}
	return nil
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n                  ") }

// JSON writes the findings as one array.
func (r *Report) JSON(w io.Writer, lang string) error {
	type line struct {
		Check string `json:"check"`
		Level Level  `json:"level"`
		Said  string `json:"said"`
		Hint  string `json:"hint,omitempty"`
	}
	out := []line{}
	for _, f := range r.findings {
		out = append(out, line{f.Check, f.Level, f.Said.in(lang), f.Hint.in(lang)})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
