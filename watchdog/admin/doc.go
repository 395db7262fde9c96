// Package admin is the boundary between a sidecar and people: a unix socket
// that speaks HTTP and JSON under /v1/, its client for the command line, and a
// small plain HTTP port for metrics.
//
// The caller's uid, which the kernel vouches for, decides what may be read and
// what may be changed, and every change is logged with it. The package decides
// nothing about replicas: it asks a Daemon, and hands its answers and refusals
// on. The plain port changes nothing and shows no data.
package admin
