//go:build race

package passport_test

// raced tells long tests that they run ten times slower.
const raced = true
