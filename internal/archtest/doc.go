// Package archtest keeps the arrows of docs/architecture.md true: its tests fail
// when a package imports what it must not.
package archtest
