// Package e2e tells stories with the real binaries, broker, ledger and chain.
package e2e
