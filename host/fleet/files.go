package fleet

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/plugin"
)

// startedFiles are the files that an instance was started from, as they were then.
type startedFiles []startedFile

type startedFile struct {
	path string
	info os.FileInfo
}

// filesOf looks at the files of a spec before they are started.
func filesOf(spec plugin.Spec) startedFiles {
	var files startedFiles
	for _, path := range spec.Files() {
		if info, err := os.Stat(path); err == nil {
			files = append(files, startedFile{path, info})
		}
	}
	return files
}

// changed are those that are others by now: replaced, written to, or gone.
func (s startedFiles) changed() []string {
	var changed []string
	for _, file := range s {
		now, err := os.Stat(file.path)
		if err != nil || !os.SameFile(file.info, now) || now.Size() != file.info.Size() || !now.ModTime().Equal(file.info.ModTime()) {
			changed = append(changed, file.path)
		}
	}
	return changed
}

// writtenOver are those of some changed files whose new content seems to stand where a process that has them open reads the old one. What
// is replaced by a rename, as package managers do it, leaves that process its own. A file that nobody had open may have been replaced all
// the same: its inode is free for the next one.
func (s startedFiles) writtenOver(changed []string) []string {
	var over []string
	for _, file := range s {
		if now, err := os.Stat(file.path); slices.Contains(changed, file.path) && err == nil && os.SameFile(file.info, now) {
			over = append(over, file.path)
		}
	}
	return over
}

// lookAtFiles tells, once for each of them, of files that have changed since the instance was started.
func (s *instanceSlot) lookAtFiles(told []string) []string {
	s.mu.Lock()
	files, state := s.files, s.state
	s.mu.Unlock()
	changed := files.changed()
	news := slices.DeleteFunc(slices.Clone(changed), func(path string) bool { return slices.Contains(told, path) })
	if len(news) > 0 {
		cause := fmt.Sprintf("%s changed since it was started; 'agenthost restart %s' takes it up", strings.Join(news, ", "), s.generation.spec.Name)
		if over := files.writtenOver(news); len(over) > 0 {
			cause += fmt.Sprintf("; %s seems to have been written over, not replaced: a process that reads on in it, as a JVM does in its jar, may fail until then", strings.Join(over, ", "))
		}
		s.generation.supervisor.emit(Event{
			Generation: s.generation.id, OfInstance: true, Instance: s.number, State: EventFileChanged, Was: state, Cause: cause,
		}, true)
	}
	return changed
}
