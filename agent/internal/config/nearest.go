package config

import (
	"reflect"
	"strings"
)

// nearest is the known key that takes at most two edits to get to; "" if none does.
func nearest(key string) string {
	best, at := "", 3
	for _, k := range keys(reflect.TypeFor[File]()) {
		if d := distance(key, k); d > 0 && d < at { // the key itself is known elsewhere
			best, at = k, d
		}
	}
	return best
}

// keys are all that the file may hold, at any depth.
func keys(t reflect.Type) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var out []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		out = append(append(out, name), keys(t.Field(i).Type)...)
	}
	return out
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			corner, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, corner+cost)
		}
	}
	return row[len(b)]
}
