package artifact

// Limits is what an artifact may come to at most.
type Limits struct {
	// Size is of all files, unpacked; and, apart from that, of all layers as they are sent.
	Size int64
	// Files is how many files, folders and links there may be.
	Files int
}

// DefaultLimits leave room for a Python with its packages.
var DefaultLimits = Limits{Size: 4 << 30, Files: 100_000}

func (l Limits) orDefault() Limits {
	if l.Size <= 0 {
		l.Size = DefaultLimits.Size
	}
	if l.Files <= 0 {
		l.Files = DefaultLimits.Files
	}
	return l
}

// overhead is how much of an archive may be other than the content of files: headers and padding.
func (l Limits) overhead() int64 { return int64(l.Files)*4096 + 1<<20 }
