package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asCaller makes the test binary a client: it is run again as another user.
const asCaller = "RESILVER_TEST_ADMIN_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(asCaller); socket != "" {
		callAs(socket)
		return
	}
	goleak.VerifyTestMain(m)
}

// callAs prints what the socket lets this process do.
func callAs(socket string) {
	answer := map[string]string{}
	c, err := Dial(socket)
	answer["dial"] = verdict(err)
	if err == nil {
		_, err := c.Status(context.Background())
		answer["read"] = verdict(err)
		answer["write"] = verdict(c.Pause(context.Background(), PauseRequest{Reason: "a test"}))
	}
	_ = json.NewEncoder(os.Stdout).Encode(answer)
}

func verdict(err error) string {
	var e *Error
	var u *Unreachable
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return string(e.Code)
	case errors.As(err, &u):
		return "unreachable"
	}
	return fmt.Sprint(err)
}
