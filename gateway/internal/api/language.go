package api

import (
	"net/http"
	"strings"

	"trailmark/gateway/internal/route"
	"trailmark/passport"
)

// language is ?lang=, else the one of ours that the browser wants most, else
// Chinese.
func language(r *http.Request) passport.Lang {
	if l, ok := known(r.URL.Query().Get("lang")); ok {
		return l
	}
	for _, p := range route.Preferences(strings.Join(r.Header.Values("Accept-Language"), ",")) {
		if l, ok := known(p.Value); ok && p.Q > 0 {
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
