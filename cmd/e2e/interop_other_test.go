//go:build !linux

package e2e

import (
	"fmt"
	"os/exec"
	"runtime"
)

// confine refuses: without Linux nothing would end the server when the tests are killed.
func (h *home) confine(*exec.Cmd) error {
	return fmt.Errorf("interop on %s: %w", runtime.GOOS, errNotInstalled)
}

func endWithTests(*exec.Cmd) {}
