//go:build !unix

package cmd

import (
	"context"
	"io"
	"os"
)

func stdout() io.Writer { return os.Stdout }

func outGone(context.Context) bool { return false }
