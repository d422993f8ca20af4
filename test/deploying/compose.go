package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// inCompose follows the page's section for docker compose, in a home of its own. The container engine is that which `docker` reaches.
func inCompose(ctx context.Context) (err error) {
	steps, err := stepsOf("In docker compose")
	if err != nil {
		return err
	}
	for _, program := range []string{"docker", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed", program)
		}
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "deploying-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	config, err := dockerConfig(home, here)
	if err != nil {
		return err
	}
	// A name and an image that nothing else has, whatever the page calls them: the shell's variables go before the file's.
	name := filepath.Base(home)
	p := &place{shell: []string{"bash"}, dir: here, env: []string{"HOME=" + home, "DOCKER_CONFIG=" + config, "COMPOSE_PROJECT_NAME=" + name, "AGENTHOST_VERSION=" + name}}
	engine, err := p.run(ctx, "docker version --format '{{.Server.Version}}'; docker compose version --short")
	if err != nil {
		return fmt.Errorf("docker compose cannot be used: %w", err)
	}
	defer func() {
		remove := fmt.Sprintf("docker ps --all --quiet --filter label=com.docker.compose.project=%[1]s | xargs --no-run-if-empty docker rm --force --volumes; "+
			"docker volume ls --quiet --filter label=com.docker.compose.project=%[1]s | xargs --no-run-if-empty docker volume rm; docker image rm --force agenthost:%[1]s", name)
		if _, failed := p.run(context.WithoutCancel(ctx), remove); failed != nil {
			err = errors.Join(err, failed)
		}
	}()
	if err := thinImage(ctx, "agenthost:"+name); err != nil {
		return err
	}
	var t tried
	began := time.Now()
	for i, s := range steps {
		if strings.HasPrefix(s.command, "make ") {
			continue // the whole image is image-test's
		}
		if i == len(steps)-1 { // which removes it
			if err := promises(ctx, p, &t); err != nil {
				return explained(ctx, p, err)
			}
		}
		from := time.Now()
		if err := p.follow(ctx, s); err != nil {
			return explained(ctx, p, err)
		}
		t.step(s, time.Since(from))
	}
	fmt.Printf("deploying ok: engine and compose %s, %d commands of %s and %d promises, %.0f s\n", strings.Join(strings.Fields(engine), " and "), t.steps, pageFile, t.cases, time.Since(began).Seconds())
	return nil
}

func explained(ctx context.Context, p *place, err error) error {
	log, _ := p.run(context.WithoutCancel(ctx), "docker compose ps --all; docker compose logs --tail 20 2>&1 || true")
	return fmt.Errorf("%w\nThe container's last lines:\n%s", err, log)
}

// dockerConfig is a folder for docker's client in which compose is found: that of this machine, else the one that scripts/docker-compose made.
func dockerConfig(home, sources string) (string, error) {
	own := filepath.Join(home, ".docker")
	if exec.Command("docker", "compose", "version").Run() == nil {
		if usual := os.Getenv("DOCKER_CONFIG"); usual != "" {
			return usual, nil
		}
		was, err := os.UserHomeDir()
		return filepath.Join(was, ".docker"), err
	}
	program := filepath.Join(sources, ".cache/docker-compose/docker-compose")
	if _, err := os.Stat(program); err != nil {
		return "", errors.New("docker compose is not installed: scripts/docker-compose makes it")
	}
	if err := os.MkdirAll(filepath.Join(own, "cli-plugins"), 0o700); err != nil {
		return "", err
	}
	return own, os.Symlink(program, filepath.Join(own, "cli-plugins/docker-compose"))
}

// promises are what the page says of the container beside its commands.
func promises(ctx context.Context, p *place, t *tried) error {
	contains := func(script, want string) error {
		out, err := p.run(ctx, script)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("no %q in %q", want, out)
		}
		return err
	}
	const state = `docker inspect --format '{{.State.Health.Status}} {{.RestartCount}} {{.State.Status}}' "$(docker compose ps --quiet agenthost)"`
	for _, c := range []struct {
		promise string
		try     func() error
	}{
		{"it has no privileges", func() error {
			return contains(`docker compose exec agenthost agenthost status && docker inspect --format '{{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.Config.User}}' "$(docker compose ps --quiet agenthost)"`, "[ALL] true 65532:65532")
		}},
		{"its keys and its place for what must outlive it are as they should be", func() error {
			out, err := p.run(ctx, "docker compose exec agenthost agenthost status")
			if err == nil && regexp.MustCompile("tasks may not be accepted|may not outlive").MatchString(out) {
				err = errors.New(out)
			}
			return err
		}},
		{"a mistake in the configuration makes it unhealthy, and the last sound one serves on", func() error {
			if _, err := p.run(ctx, "sed -i 's/^plugins:/plugin:/' config/agenthost.yaml"); err != nil {
				return err
			}
			err := until(ctx, "is it unhealthy", time.Minute, func() bool { return contains(state, "unhealthy") == nil })
			return errors.Join(err, contains("curl --silent --fail http://127.0.0.1:9091/readyz", "ok"))
		}},
		{"and the correction makes it healthy", func() error {
			if _, err := p.run(ctx, "sed -i 's/^plugin:/plugins:/' config/agenthost.yaml"); err != nil {
				return err
			}
			return until(ctx, "is it healthy", time.Minute, func() bool { return contains(state, "healthy 0 running") == nil })
		}},
		{"a stop ends well, and in time", func() error {
			return errors.Join(
				contains("docker compose stop 2>&1; docker compose ps --all --format '{{.State}} {{.ExitCode}}'", "exited 0"),
				contains("docker compose up --detach --wait 2>&1", "Healthy"))
		}},
	} {
		if err := t.try(c.promise, c.try); err != nil {
			return err
		}
	}
	return nil
}

// thinImage makes an image of the programs in bin/ and of what they need of this machine: seconds, where the whole one takes minutes. It is laid
// out as that is.
func thinImage(ctx context.Context, tag string) error {
	files := map[string]string{ // in the image: on this machine
		"usr/local/bin/agenthost": "bin/agenthost", "plugins/duckdb/duckdb": "bin/plugins/duckdb/duckdb",
		"etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
	}
	for _, program := range []string{"bin/agenthost", "bin/plugins/duckdb/duckdb"} {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w: `make build` makes it", err)
		}
		out, _ := exec.CommandContext(ctx, "ldd", program).Output() // fails for one that is linked statically
		for _, match := range regexp.MustCompile(`(?m)(?:=> |^\t)(/\S+) \(`).FindAllStringSubmatch(string(out), -1) {
			files[strings.TrimPrefix(match[1], "/")] = match[1]
		}
	}
	cmd := exec.CommandContext(ctx, "docker", "import", "--change", "USER 65532:65532", "--change", `ENTRYPOINT ["agenthost"]`,
		"--change", `CMD ["serve", "--config", "/etc/agenthost/agenthost.yaml"]`, "--change", "ENV HOME=/var/lib/agenthost", "--change", "ENV PATH=/usr/local/bin", "-", tag)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(writeImage(in, files), cmd.Wait())
}

func writeImage(to io.WriteCloser, files map[string]string) (err error) {
	defer func() { err = errors.Join(err, to.Close()) }()
	w := tar.NewWriter(to)
	for _, folder := range []string{"run", "tmp", "var/lib/agenthost"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder, Mode: 0o1777}); err != nil {
			return err
		}
	}
	const passwd = "root:x:0:0::/:/sbin/nologin\nagenthost:x:65532:65532::/var/lib/agenthost:/sbin/nologin\n"
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwd))}); err != nil {
		return err
	}
	if _, err := io.WriteString(w, passwd); err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		content, err := os.ReadFile(files[name])
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	return w.Close()
}
