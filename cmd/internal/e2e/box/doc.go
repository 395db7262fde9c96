// Package box gives the tests a machine of their own: a container with systemd
// as process 1 and the distribution's own MariaDB server, made by debootstrap
// and run by docker. It can be cut off from power and started again.
//
// Its image is made from the packages that this machine's apt knows of, once,
// and kept by docker. Where docker or debootstrap are missing, it fails.
package box
