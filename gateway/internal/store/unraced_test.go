//go:build !race

package store

// raced tells that time says nothing here.
const raced = false
