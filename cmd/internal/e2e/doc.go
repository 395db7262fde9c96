// Package e2e proves on real servers that a broken replica heals itself, and
// that everything else is left alone. It has no code but its tests: those
// without a build tag are part of `make test`, those with the tag proof of
// `make proof`.
package e2e
