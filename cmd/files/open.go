package files

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MaxSmall bounds the files that are read as a whole, and a password.
const MaxSmall = 1 << 20

// OpenFile opens a file, a pipe or a terminal. For a named pipe it waits for a writer.
func Open(file string) (*os.File, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if mode := info.Mode(); err == nil && !mode.IsRegular() && mode&(fs.ModeCharDevice|fs.ModeNamedPipe) == 0 {
		err = fmt.Errorf("%s is neither a file nor a pipe", file)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadSmall reads a file as a whole.
func ReadSmall(name string, r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSmall+1))
	if err == nil && len(b) > MaxSmall {
		err = fmt.Errorf("%s is longer than %d MiB", name, MaxSmall>>20)
	}
	return string(b), err
}

// IsStdin reports whether a name means standard input. Opening it by that name may need
// permissions that this process lacks.
func IsStdin(file string) bool {
	return file == "/dev/stdin" || file == "/dev/fd/0" || file == "/proc/self/fd/0"
}
