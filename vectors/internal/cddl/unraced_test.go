//go:build !race

package cddl

// raced tells long tests that they run ten times slower.
const raced = false
