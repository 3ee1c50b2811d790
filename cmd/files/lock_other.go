//go:build !unix

package files

import (
	"errors"
	"os"
)

func Lock(*os.File) error { return errors.New("files cannot be locked on this system") }
