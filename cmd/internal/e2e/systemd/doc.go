// Package systemd proves, on a machine with systemd as process 1 and the
// distribution's own MariaDB, what healing/service, deploy/systemd and
// `resilver finish` promise there. Its tests have the build tag proof.
package systemd
