package route

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A Preference is one member of an Accept or Accept-Language header.
type Preference struct {
	Value string // lower case
	Q     float64
}

// maxPreferences bounds how many members of a header are looked at.
const maxPreferences = 32

// Preferences reads a header of RFC 9110 section 12, the most wanted first. What
// cannot be read is left out; q=0 stays, it refuses.
func Preferences(header string) []Preference {
	var out []Preference
	for part := range strings.SplitSeq(header, ",") {
		if len(out) == maxPreferences {
			break
		}
		value, params, _ := strings.Cut(part, ";")
		p := Preference{strings.ToLower(strings.TrimSpace(value)), 1}
		for param := range strings.SplitSeq(params, ";") {
			if k, v, ok := strings.Cut(strings.TrimSpace(param), "="); ok && strings.EqualFold(strings.TrimSpace(k), "q") {
				q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
				if err != nil || !(q >= 0 && q <= 1) {
					q = 0
				}
				p.Q = q
			}
		}
		if p.Value != "" {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b Preference) int {
		switch {
		case a.Q > b.Q:
			return -1
		case a.Q < b.Q:
			return 1
		}
		return 0
	})
	return out
}

// quality is how much a media type is wanted: the most specific member decides.
func quality(prefs []Preference, mediaType string) float64 {
	kind, _, _ := strings.Cut(mediaType, "/")
	for _, want := range []string{mediaType, kind + "/*", "*/*"} {
		for _, p := range prefs {
			if p.Value == want {
				return p.Q
			}
		}
	}
	return 0
}

// Choose is the offer that the client wants most, the first of equals, or "" if
// it takes none.
func Choose(r *http.Request, offers ...string) string {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return offers[0]
	}
	prefs, best, q := Preferences(accept), "", 0.0
	for _, o := range offers {
		if got := quality(prefs, o); got > q {
			best, q = o, got
		}
	}
	return best
}

// AsksFor reports whether the client names a media type, as browsers do HTML.
func AsksFor(r *http.Request, mediaType string) bool {
	return slices.ContainsFunc(Preferences(strings.Join(r.Header.Values("Accept"), ",")), func(p Preference) bool {
		return p.Value == mediaType && p.Q > 0
	})
}
