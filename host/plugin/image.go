package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/host/artifact"
)

// Artifacts is where images come from: an artifact.Store.
type Artifacts interface {
	Pull(ctx context.Context, want artifact.Want) (*artifact.Folder, error)
}

// pull gets the image and makes the spec one of a program in it.
func (s *start) pull(ctx context.Context) error {
	if s.env.Artifacts == nil {
		return errors.New("it is an image, and there is nowhere to keep it")
	}
	ref, err := artifact.Parse(s.spec.Image)
	if err != nil {
		return fmt.Errorf("image %s: %w", s.spec.Image, err)
	}
	folder, err := s.env.Artifacts.Pull(ctx, artifact.Want{Plugin: s.spec.Name, Reference: ref, CosignKey: s.spec.CosignKey, Progress: s.env.Progress})
	if err != nil {
		if known := (*artifact.Error)(nil); errors.As(err, &known) {
			return advise(err, known.Advice)
		}
		return err
	}
	s.image = folder
	s.spec, err = s.spec.in(folder)
	return err
}

// in is the spec with the program and the working directory in an image that was unpacked.
func (s Spec) in(folder *artifact.Folder) (Spec, error) {
	command := append([]string{}, s.Command...)
	if len(command) == 0 {
		command = append(command, folder.Command...)
	}
	if len(command) == 0 {
		return s, advise(errors.New("the image does not say what is to be started"), "set command: to the program, relative to the image's root, and its arguments")
	}
	program, err := programIn(folder.Root, command[0])
	if err != nil {
		return s, err
	}
	command[0] = program
	s.Command = command
	switch {
	case s.Dir == "":
		s.Dir = folder.Root
	case !filepath.IsAbs(s.Dir):
		if !filepath.IsLocal(s.Dir) {
			return s, advise(fmt.Errorf("dir %s leads out of the image", s.Dir), "name a folder in the image, relative to its root, or an absolute path outside")
		}
		s.Dir = filepath.Join(folder.Root, s.Dir)
	}
	return s, nil
}

// programIn is where a program is: in the image, or, with an absolute path or a name that the image does not have, outside, as an
// interpreter is.
func programIn(root, program string) (string, error) {
	if filepath.IsAbs(program) {
		return program, nil
	}
	if !filepath.IsLocal(program) {
		return "", advise(fmt.Errorf("command %s leads out of the image", program), "name the program relative to the image's root")
	}
	inside := filepath.Join(root, program)
	info, err := os.Stat(inside)
	switch {
	case err == nil && info.Mode().IsRegular():
		return inside, nil
	case (err == nil || errors.Is(err, fs.ErrNotExist)) && !strings.Contains(program, "/"):
		return program, nil
	default:
		return "", advise(fmt.Errorf("there is no program %s in the image", program), "set command: to a program in it, relative to its root; they are in "+root)
	}
}

// imageRoot is what the sandbox lets the process read and execute beside its program: the whole image.
func (s *start) imageRoot() []string {
	if s.image == nil {
		return nil
	}
	return []string{s.image.Root}
}
