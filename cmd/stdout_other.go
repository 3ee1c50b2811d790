//go:build !unix

package cmd

import (
	"context"
	"io"
	"os"
)

func stdout() io.Writer { return os.Stdout }

func outGone(context.Context) bool { return false }

func reopen(*os.File) (file *os.File, appends, locked bool) { return nil, false, false }

func lockAlone(*os.File) bool { return false }
