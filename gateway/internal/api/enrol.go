package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

func (s *server) enrol(w http.ResponseWriter, r *http.Request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &ClientError{http.StatusUnsupportedMediaType, fmt.Sprintf("content type %q, want application/json", r.Header.Get("Content-Type"))}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEnrolment))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &ClientError{http.StatusRequestEntityTooLarge, fmt.Sprintf("enrolment over %d bytes", maxEnrolment)}
	case err != nil:
		return &ClientError{http.StatusBadRequest, "the request's body could not be read"}
	}
	answer, err := s.Enrol(r.Context(), body)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // it holds a password
	return write(w, "application/json", answer)
}
