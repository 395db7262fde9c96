// Package systemd proves, on a machine with systemd as process 1 and the
// distribution's own MariaDB, what healing/service, deploy/systemd and
// `resilver finish` promise there; and, on three such machines set up as the
// README says, that a broken replica heals by itself whatever else happens. Its
// tests have the build tag proof.
package systemd
