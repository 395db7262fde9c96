package e2e

import (
	"testing"

	"resilver/cmd/internal/lab"
)

// What smoke_test.go shows on MySQL, on MariaDB.

func TestMariaDBHeal(t *testing.T) { heal(t, lab.MariaDB) }

func TestMariaDBRefusal(t *testing.T) { refusal(t, lab.MariaDB) }

func TestMariaDBKilledInSwap(t *testing.T) { killedInSwap(t, lab.MariaDB) }
