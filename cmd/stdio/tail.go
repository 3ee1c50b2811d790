package stdio

import (
	"bytes"
	"io"
	"os"
	"time"
)

// A tailWriter writes results to a regular file, so that none is part of the line of
// another: where the file ends within a line, as after a full disk, it begins a new one. What
// it could write only in part it takes back, unless somebody else can have written since.
type tailWriter struct {
	out  *os.File
	torn func() // is told that a line was begun for that

	opened  bool
	file    *os.File // the same one, to read and cut; nil where that cannot be had
	appends bool     // out writes at the end of the file, wherever that is
	ours    bool     // file has a lock that all who write so share
}

func (t *tailWriter) Write(b []byte) (int, error) {
	if !t.opened {
		t.opened = true
		if info, err := t.out.Stat(); err == nil && info.Mode().IsRegular() {
			t.file, t.appends, t.ours = reopen(t.out)
		}
	}
	if t.file == nil {
		return t.out.Write(b)
	}
	at, torn, err := t.end()
	if err != nil {
		return t.out.Write(b)
	}
	text := b
	if torn {
		text = append([]byte{'\n'}, b...)
		t.torn()
	}
	n, err := t.out.Write(text)
	if err != nil && n > 0 {
		t.takeBack(at, text[:n])
	}
	return max(0, n-(len(text)-len(b))), err
}

// othersWrite bounds how long the write of another is waited for.
const othersWrite = 50 * time.Millisecond

// end returns where the next write goes, and whether that is within a line. Where others
// append as well, it can be within a line only because one of them is just writing it.
func (t *tailWriter) end() (at int64, torn bool, err error) {
	for wait := time.Millisecond; ; wait *= 2 {
		if at, err = t.at(); err != nil {
			return 0, false, err
		}
		var last [1]byte
		n, _ := t.file.ReadAt(last[:], max(0, at-1))
		torn = at > 0 && n == 1 && last[0] != '\n'
		if !torn || !t.appends || wait > othersWrite {
			return at, torn, nil
		}
		time.Sleep(wait)
	}
}

// at returns where the next write goes.
func (t *tailWriter) at() (int64, error) {
	if !t.appends {
		return t.out.Seek(0, io.SeekCurrent)
	}
	info, err := t.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// takeBack cuts off the part of a write that failed, if all of our kind are out of the
// way, and what is there, and nothing after it, is that.
func (t *tailWriter) takeBack(at int64, part []byte) {
	if !t.ours || !lockAlone(t.file) {
		return
	}
	there := make([]byte, len(part)+1)
	if n, err := t.file.ReadAt(there, at); err == io.EOF && bytes.Equal(there[:n], part) {
		_ = t.file.Truncate(at) // else the next one begins a new line
	}
}
