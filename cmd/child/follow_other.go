//go:build !linux

package child

import "os"

// follow does nothing: the system does not tell of a program that is stopped without
// telling of one that ended.
func (c *Child) follow(*os.Process, func()) (end func()) { return func() {} }
