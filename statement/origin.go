package statement

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// An Origin is the name of a ledger of half a year, taken apart:
// <domain>/<tenant>/<year>h<half>. Ledgers of one line, of the same domain and
// tenant under one log key, follow each other.
type Origin struct {
	Line string // <domain>/<tenant>
	Year int    // 1000 to 9999
	Half int    // 1 or 2, of the UTC year
}

var originPattern = regexp.MustCompile(`^([^\s+]+/[^\s+/]+)/([1-9][0-9]{3})h([12])$`)

// ParseOrigin reads an origin line, in its one spelling.
func ParseOrigin(line string) (Origin, error) {
	m := originPattern.FindStringSubmatch(line)
	if m == nil || len(line) > MaxText {
		return Origin{}, fmt.Errorf("origin %.80q is not <domain>/<tenant>/<year>h<half>", line)
	}
	year, err := strconv.Atoi(m[2])
	return Origin{m[1], year, int(m[3][0] - '0')}, err
}

// OriginAt is the origin of a line's ledger at a time.
func OriginAt(line string, at time.Time) Origin {
	at = at.UTC()
	o := Origin{line, at.Year(), 1}
	if at.Month() > time.June {
		o.Half = 2
	}
	return o
}

// String is the origin line.
func (o Origin) String() string { return o.Line + "/" + o.Name() }

// Name is the half-year alone: 2026h2.
func (o Origin) Name() string { return fmt.Sprintf("%dh%d", o.Year, o.Half) }

// Next is the origin of the half-year after.
func (o Origin) Next() Origin {
	if o.Half == 1 {
		return Origin{o.Line, o.Year, 2}
	}
	return Origin{o.Line, o.Year + 1, 1}
}

// End is the first instant after the half-year, UTC.
func (o Origin) End() time.Time {
	n := o.Next()
	return time.Date(n.Year, time.Month(6*n.Half-5), 1, 0, 0, 0, 0, time.UTC)
}

// Follows reports whether o is of the same line as p and of a later half-year.
func (o Origin) Follows(p Origin) bool {
	return o.Line == p.Line && (o.Year > p.Year || o.Year == p.Year && o.Half > p.Half)
}

// Successor reports whether the ledger named later may take the place of the one
// named earlier.
func Successor(earlier, later string) bool {
	e, err1 := ParseOrigin(earlier)
	l, err2 := ParseOrigin(later)
	return err1 == nil && err2 == nil && l.Follows(e)
}

// maxSuccessors bounds the half-years that a device looks ahead for a name.
const maxSuccessors = 400

// OriginOf is the origin line with this SHA-256: first, or one of those that may
// take its place.
func OriginOf(first string, hash Hash) (string, bool) {
	if sha256.Sum256([]byte(first)) == hash {
		return first, true
	}
	o, err := ParseOrigin(first)
	if err != nil {
		return "", false
	}
	for range maxSuccessors {
		o = o.Next()
		if sha256.Sum256([]byte(o.String())) == hash {
			return o.String(), true
		}
	}
	return "", false
}

// NoteOrigin is the first line of a checkpoint, which nobody has verified yet.
func NoteOrigin(note []byte) string {
	line, _, _ := strings.Cut(string(note), "\n")
	return line
}
