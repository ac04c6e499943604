package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"trailmark/passport"
)

// preference is one member of an Accept or Accept-Language header.
type preference struct {
	value string // lower case
	q     float64
}

// maxPreferences bounds how many members of a header are looked at.
const maxPreferences = 32

// preferences reads a header of RFC 9110 section 12, the most wanted first. What
// cannot be read is left out; q=0 stays, it refuses.
func preferences(header string) []preference {
	var out []preference
	for part := range strings.SplitSeq(header, ",") {
		if len(out) == maxPreferences {
			break
		}
		value, params, _ := strings.Cut(part, ";")
		p := preference{strings.ToLower(strings.TrimSpace(value)), 1}
		for param := range strings.SplitSeq(params, ";") {
			if k, v, ok := strings.Cut(strings.TrimSpace(param), "="); ok && strings.EqualFold(strings.TrimSpace(k), "q") {
				q, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
				if err != nil || !(q >= 0 && q <= 1) {
					q = 0
				}
				p.q = q
			}
		}
		if p.value != "" {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b preference) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	return out
}

// quality is how much a media type is wanted: the most specific member decides.
func quality(prefs []preference, mediaType string) float64 {
	kind, _, _ := strings.Cut(mediaType, "/")
	for _, want := range []string{mediaType, kind + "/*", "*/*"} {
		for _, p := range prefs {
			if p.value == want {
				return p.q
			}
		}
	}
	return 0
}

// choose is the offer that the client wants most, the first of equals, or "" if
// it takes none.
func choose(r *http.Request, offers ...string) string {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return offers[0]
	}
	prefs, best, q := preferences(accept), "", 0.0
	for _, o := range offers {
		if got := quality(prefs, o); got > q {
			best, q = o, got
		}
	}
	return best
}

// asksFor reports whether the client names a media type, as browsers do HTML.
func asksFor(r *http.Request, mediaType string) bool {
	return slices.ContainsFunc(preferences(strings.Join(r.Header.Values("Accept"), ",")), func(p preference) bool {
		return p.value == mediaType && p.q > 0
	})
}

// language is ?lang=, else the one of ours that the browser wants most, else
// Chinese.
func language(r *http.Request) passport.Lang {
	if l, ok := known(r.URL.Query().Get("lang")); ok {
		return l
	}
	for _, p := range preferences(strings.Join(r.Header.Values("Accept-Language"), ",")) {
		if l, ok := known(p.value); ok && p.q > 0 {
			return l
		}
	}
	return passport.Chinese
}

func known(tag string) (passport.Lang, bool) {
	primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
	switch primary {
	case "zh":
		return passport.Chinese, true
	case "en":
		return passport.English, true
	}
	return "", false
}
