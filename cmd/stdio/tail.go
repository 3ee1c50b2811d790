package stdio

import (
	"bytes"
	"io"
	"os"
	"time"
)

// A tailWriter writes results to a regular file, each on its own line. If the file ends
// within a line, as after a full disk, it first starts a new line. It takes back a partial
// write, unless somebody else may have written since.
type tailWriter struct {
	out  *os.File
	torn func() // is called when a new line was started for that

	opened  bool
	file    *os.File // the same file, to read and truncate; nil if it cannot be reopened
	appends bool     // out appends to the file
	ours    bool     // file has a lock that is shared with all other writers of this kind
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

// othersWrite is how long to wait for another writer.
const othersWrite = 50 * time.Millisecond

// end returns where the next write goes, and whether that is within a line. If others
// append too, this may be because one of them is writing.
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

// takeBack truncates a partial write, if no other writer of our kind is active and the
// partial write is the end of the file.
func (t *tailWriter) takeBack(at int64, part []byte) {
	if !t.ours || !lockAlone(t.file) {
		return
	}
	there := make([]byte, len(part)+1)
	if n, err := t.file.ReadAt(there, at); err == io.EOF && bytes.Equal(there[:n], part) {
		_ = t.file.Truncate(at) // else the next write starts a new line
	}
}
