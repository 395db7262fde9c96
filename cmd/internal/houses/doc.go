// Package houses holds the table of packages and what each may import, with
// the test that keeps it true. It has no code.
package houses
