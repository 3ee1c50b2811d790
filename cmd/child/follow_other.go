//go:build !linux

package child

import "os"

// follow does nothing: here a wait for a program to stop would also collect its end.
func (c *Child) follow(*os.Process, func()) (end func()) { return func() {} }
