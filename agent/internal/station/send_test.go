package station

import (
	"testing"
	"time"
)

// fill sends frames of so many bytes until the window is full.
func fill(w *window, bytes int) (frames int) {
	for w.open() {
		w.left(w.sent, bytes)
		w.sent++
		frames++
	}
	return frames
}

func TestWindowBounds(t *testing.T) {
	for _, c := range []struct {
		bytes, frames int
	}{
		{1, inFlight},
		{2000, inFlight},
		{256 << 10, 8},
		{inFlightBytes, 1}, // one always goes
	} {
		var w window
		w.start(10, time.Second)
		if w.open() {
			t.Fatal("open without a connection")
		}
		w.online = true
		if n := fill(&w, c.bytes); n != c.frames {
			t.Errorf("%d frames of %d bytes under way, want %d", n, c.bytes, c.frames)
		}
		w.receipted(10)
		if n := fill(&w, c.bytes); n != 1 {
			t.Errorf("%d more frames of %d bytes after a receipt, want 1", n, c.bytes)
		}
		w.rewind(w.low)
		if n := fill(&w, c.bytes); n != c.frames || w.bytes != c.frames*c.bytes {
			t.Errorf("%d frames and %d bytes under way after a rewind, want %d frames of %d", n, w.bytes, c.frames, c.bytes)
		}
	}
}
