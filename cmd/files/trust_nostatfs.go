//go:build !(linux || darwin || freebsd || dragonfly)

package files

import "os"

func readOnlyFile(*os.File) bool { return false }

func readOnlyName(string) bool { return false }
