//go:build !unix

package cmd

import (
	"errors"
	"os"
)

func lockFile(*os.File) error { return errors.New("files cannot be locked on this system") }
