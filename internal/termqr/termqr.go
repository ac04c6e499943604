// Package termqr draws a QR code on a terminal.
package termqr

import (
	"fmt"
	"io"
	"strings"

	go_qr "github.com/piglig/go-qr"
)

// Write draws text as a QR code with its quiet zone: two modules in one character
// cell, light on dark as terminals are.
func Write(w io.Writer, text string) error {
	code, err := go_qr.EncodeText(text, go_qr.Low)
	if err != nil {
		return fmt.Errorf("qr code: %w", err)
	}
	n := code.GetSize()
	dark := func(x, y int) bool { return x >= 0 && y >= 0 && x < n && y < n && code.GetModule(x, y) }
	for y := -2; y < n+2; y += 2 {
		var line strings.Builder
		for x := -2; x < n+2; x++ {
			switch top, bottom := dark(x, y), dark(x, y+1); {
			case top && bottom:
				line.WriteString(" ")
			case top:
				line.WriteString("▄")
			case bottom:
				line.WriteString("▀")
			default:
				line.WriteString("█")
			}
		}
		if _, err := fmt.Fprintln(w, "  "+line.String()); err != nil {
			return err
		}
	}
	return nil
}
