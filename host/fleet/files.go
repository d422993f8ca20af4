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

// lookAtFiles tells, once for each of them, of files that have changed since the instance was started.
func (s *instanceSlot) lookAtFiles(told []string) []string {
	s.mu.Lock()
	files, state := s.files, s.state
	s.mu.Unlock()
	changed := files.changed()
	news := slices.DeleteFunc(slices.Clone(changed), func(path string) bool { return slices.Contains(told, path) })
	if len(news) > 0 {
		s.generation.supervisor.emit(Event{
			Generation: s.generation.id, OfInstance: true, Instance: s.number, State: EventFileChanged, Was: state,
			Cause: fmt.Sprintf("%s changed since it was started; 'agenthost restart %s' takes it up", strings.Join(news, ", "), s.generation.spec.Name),
		}, true)
	}
	return changed
}
