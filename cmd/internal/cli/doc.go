// Package cli holds the commands of resilver: those that ask a running daemon
// over its admin socket, those that set one up, and those that are one. Each
// is thin: it reads its flags, calls the package that does the work, and
// prints the answer as text or JSON.
//
// It reads no environment and ends no process: Main returns the exit code.
package cli
