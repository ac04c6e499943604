package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"

	"trailmark/gateway/internal/route"
	"trailmark/passport"
)

// fail answers with an error: a client's with its text, any other with none but
// in the log.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := route.Problem{Status: http.StatusInternalServerError, Detail: "the gateway could not answer; it is logged"}
	var client *ClientError
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		err = route.TooLarge(large)
	}
	switch {
	case errors.As(err, &client) && client.Status >= 400 && client.Status < 500:
		p.Status, p.Detail = client.Status, client.Detail
	case errors.Is(err, ErrNotYet):
		p.Status, p.Detail = http.StatusNotFound, ErrNotYet.Error()
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		return // nobody is there to be told
	default:
		s.Log.Error("request", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	p.Title = http.StatusText(p.Status)
	h := w.Header()
	h.Add("Vary", "Accept, Accept-Language")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Disposition")
	h.Del("Link")
	if route.AsksFor(r, "text/html") {
		view := errorView{view: s.view(r), Status: p.Status, Detail: p.Detail, NotYet: errors.Is(err, ErrNotYet)}
		view.Title = view.L.Say("溯证", "Trailmark") + " · " + p.Title
		s.render(w, r, p.Status, "error.html", view)
		return
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte("{}")
	}
	h.Set("Content-Type", route.ProblemType)
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}

// errorView is what error.html shows.
type errorView struct {
	view
	Status int
	Detail string
	NotYet bool
}

// Explained is what an error means for a shopper, Detail being for whoever wrote
// the address.
func (e errorView) Explained() string {
	switch {
	case e.NotYet:
		return e.L.Say("还没有这件商品的记录。", "There is no record of this item yet.")
	case e.Status == http.StatusBadRequest:
		return e.L.Say("这个地址不是有效的商品编号。", "This address does not name an item.")
	case e.Status == http.StatusNotFound:
		return e.L.Say("这里什么也没有。", "There is nothing here.")
	case e.Status >= 500:
		return e.L.Say("服务器出了问题，请稍后再试。", "Something went wrong on our side. Please try again later.")
	}
	return e.L.Say("无法处理这个请求。", "This request cannot be answered.")
}

// view is what every page has.
type view struct {
	L     passport.Lang
	Title string
	Style template.HTML // the <style> element
	Other string        // the same page in the other language
	Every int           // seconds until the page loads itself again, 0: never
}

// OtherLang is the language that Other is in.
func (v view) OtherLang() passport.Lang {
	if v.L == passport.Chinese {
		return passport.English
	}
	return passport.Chinese
}

func (s *server) view(r *http.Request) view {
	v := view{L: language(r), Style: s.style}
	v.Other = r.URL.EscapedPath() + "?lang=" + string(v.OtherLang())
	return v
}

// render writes a page; one that fails to render leaves no half of itself.
func (s *server) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var page bytes.Buffer
	if err := s.pages.ExecuteTemplate(&page, name, data); err != nil {
		s.Log.Error("page", slog.String("name", name), slog.String("path", r.URL.Path), slog.Any("err", err))
		http.Error(w, "this page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}
