package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/server"
	"github.com/agenthost/agenthost/tools/publish"
)

func newPluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Ship plugins through an OCI registry: push, pull, verify, list",
		Long: `A plugin can be an OCI artifact: pushed to a registry, and pulled by each host whose configuration names it as the plugin's image.

Credentials are those of docker: 'docker login REGISTRY', or a config.json in the folder that $DOCKER_CONFIG names.`,
		Example: `  agenthost plugin push registry.example.com/agents/bigquery:1.4 ./build --command bigquery
  agenthost plugin verify registry.example.com/agents/bigquery:1.4 --cosign-key cosign.pub
  agenthost plugin list`,
	}
	cmd.AddCommand(newPluginPushCommand(), newPluginPullCommand(), newPluginVerifyCommand(), newPluginListCommand())
	return cmd
}

// registryFlags are how a command reaches registries: as the configuration says, if there is one, and as its flags do.
type registryFlags struct {
	plainHTTP []string
	ca        string
}

func (f *registryFlags) bind(cmd *cobra.Command) {
	bindConfigFlags(cmd)
	cmd.Flags().StringArrayVar(&f.plainHTTP, "plain-http", nil, "`registry`, host or host:port, that speaks HTTP without TLS; may be repeated (artifacts.plain_http)")
	cmd.Flags().StringVar(&f.ca, "ca", "", "`file` with certificates by which the registry is known (artifacts.ca)")
	if err := cmd.MarkFlagFilename("ca", "pem", "crt"); err != nil {
		panic(err) // the flag was added above
	}
}

// settings are the configuration's, or the defaults where there is none.
func (f *registryFlags) settings(cmd *cobra.Command) (*config.Config, error) {
	settings, err := loadConfig(cmd)
	if errors.Is(err, errNoConfig) {
		settings, err = config.Load(config.Sources{Environ: os.Environ()})
	}
	if err != nil {
		return nil, err
	}
	settings.Artifacts.PlainHTTP = append(settings.Artifacts.PlainHTTP, f.plainHTTP...)
	if f.ca != "" {
		settings.Artifacts.CA = f.ca
	}
	return settings, nil
}

// parseReference reads a reference on the command line.
func parseReference(text string) (artifact.Reference, error) {
	ref, err := artifact.Parse(text)
	if err != nil {
		return ref, usageError(fmt.Errorf("%q is not a reference such as registry.example.com/agents/bigquery:1.4: %w", text, err))
	}
	return ref, nil
}

// advised is an error with its advice on a line of its own.
func advised(err error) error {
	var known *artifact.Error
	if errors.As(err, &known) && known.Advice != "" {
		return fmt.Errorf("%w\n%s", err, known.Advice)
	}
	return err
}

func newPluginPushCommand() *cobra.Command {
	var output, key string
	var platforms, command, annotations []string
	var registries registryFlags
	cmd := &cobra.Command{
		Use:   "push REFERENCE [PATH...]",
		Short: "Push a plugin's files to a registry",
		Long: `Pushes a plugin as an OCI artifact, and prints its reference with the digest: put that into the configuration as the plugin's image.

The files are those in the folders that are named, and the files that are. They are for this machine's platform, or for that of
--platform; for several platforms each has its files: --platform linux/amd64=./amd64 --platform linux/arm64=./arm64.
The same files make the same digest. What a host would refuse (links outward, setuid programs) is not pushed.

With --sign what was pushed is signed with a key of cosign's, whose password is in $COSIGN_PASSWORD or asked for.`,
		Example: `  agenthost plugin push registry.example.com/agents/bigquery:1.4 ./build --command bigquery
  agenthost plugin push registry.example.com/agents/report:2 ./report.jar --command java --command -jar --command report.jar
  agenthost plugin push registry.example.com/agents/bigquery:1.4 --platform linux/amd64=./amd64 --platform linux/arm64=./arm64 \
    --command bigquery --sign cosign.key`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			plugin := publish.Plugin{Command: command, Progress: progressTo(cmd, output)}
			var err error
			if plugin.Reference, err = parseReference(args[0]); err != nil {
				return err
			}
			if plugin.Builds, err = builds(platforms, args[1:]); err != nil {
				return usageError(err)
			}
			for _, a := range annotations {
				name, value, ok := strings.Cut(a, "=")
				if !ok || name == "" {
					return usageError(fmt.Errorf("--annotation %s: expected name=value", a))
				}
				if plugin.Annotations == nil {
					plugin.Annotations = map[string]string{}
				}
				plugin.Annotations[name] = value
			}
			settings, err := registries.settings(cmd)
			if err != nil {
				return err
			}
			plugin.Registries = server.RegistriesOf(settings.Artifacts)
			if key != "" {
				if plugin.Sign, err = publish.ReadKey(key, keyPassword(cmd, key)); err != nil {
					return err
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			pushed, err := plugin.Push(ctx)
			if err != nil {
				return advised(err)
			}
			if isData(output) {
				return printData(cmd.OutOrStdout(), output, pushed)
			}
			fmt.Fprintln(cmd.OutOrStdout(), pushed.Reference)
			return nil
		},
	}
	registries.bind(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&platforms, "platform", nil, "`os/architecture` that the files are for, or os/architecture=folder; may be repeated. Default: this machine's")
	flags.StringArrayVar(&command, "command", nil, "`word` of what hosts start: the program, relative to the files, then its arguments, one --command each")
	flags.StringArrayVar(&annotations, "annotation", nil, "`name=value` to annotate the artifact with; may be repeated")
	flags.StringVar(&key, "sign", "", "`file` with the private key of cosign's to sign with")
	for _, err := range []error{
		cmd.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions([]string{"linux/amd64", "linux/arm64"}, cobra.ShellCompDirectiveNoSpace)),
		cmd.MarkFlagFilename("sign", "key", "pem"),
	} {
		if err != nil {
			panic(err) // the flags were added above
		}
	}
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	return cmd
}

// builds are the files of each platform.
func builds(platforms, paths []string) ([]publish.Build, error) {
	if len(platforms) == 0 {
		platforms = []string{runtime.GOOS + "/" + runtime.GOARCH}
	}
	var all []publish.Build
	for _, given := range platforms {
		name, folder, own := strings.Cut(given, "=")
		platform, err := publish.ParsePlatform(name)
		if err != nil {
			return nil, fmt.Errorf("--platform: %w", err)
		}
		build := publish.Build{Platform: platform, Paths: paths}
		switch {
		case own && len(paths) > 0:
			return nil, fmt.Errorf("--platform %s names its files, so no others (%s) can be given", given, strings.Join(paths, ", "))
		case own:
			build.Paths = []string{folder}
		case len(platforms) > 1:
			return nil, fmt.Errorf("--platform %s: of several platforms each names its files, as in %s=./build", given, name)
		}
		if len(build.Paths) == 0 {
			return nil, errors.New("which files? Name a folder, or files")
		}
		all = append(all, build)
	}
	return all, nil
}

// keyPassword is the password of a private key, as cosign takes it.
func keyPassword(cmd *cobra.Command, file string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if password, set := os.LookupEnv("COSIGN_PASSWORD"); set {
			return []byte(password), nil
		}
		if stdin, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(stdin.Fd())) {
			fmt.Fprintf(cmd.ErrOrStderr(), "password of %s: ", file)
			password, err := term.ReadPassword(int(stdin.Fd()))
			fmt.Fprintln(cmd.ErrOrStderr())
			return password, err
		}
		return nil, fmt.Errorf("the key is encrypted: set COSIGN_PASSWORD")
	}
}

// pulledReport is what `plugin pull` and `plugin verify` print as data.
type pulledReport struct {
	Reference string   `json:"reference"`
	Manifest  string   `json:"manifest"`
	Folder    string   `json:"folder,omitempty"`
	Command   []string `json:"command"`
	Verified  string   `json:"verified"` // digest, or digest and signature
}

func newPluginPullCommand() *cobra.Command {
	var output, key, dir string
	var registries registryFlags
	cmd := &cobra.Command{
		Use:   "pull REFERENCE",
		Short: "Pull a plugin from a registry into a folder, as a host would",
		Long: `Pulls a plugin, checks its digest (and with --cosign-key its signature), and unpacks it for this machine's platform into a new folder.
It is refused where a host would refuse it.`,
		Example: `  agenthost plugin pull registry.example.com/agents/bigquery:1.4 --dir ./bigquery
  agenthost plugin pull registry.example.com/agents/bigquery:1.4@sha256:5e1c… --dir ./bigquery --cosign-key cosign.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseReference(args[0])
			if err != nil {
				return err
			}
			if dir == "" {
				dir = filepath.Base(ref.Repository)
			}
			if _, err := os.Lstat(dir); err == nil {
				return usageError(fmt.Errorf("--dir %s is there already: name a folder that is not", dir))
			}
			return fetchPlugin(cmd, &registries, ref, key, output, func(folder *artifact.Folder) (string, error) {
				return dir, os.CopyFS(dir, os.DirFS(folder.Root))
			})
		},
	}
	registries.bind(cmd)
	bindKey(cmd, &key)
	cmd.Flags().StringVar(&dir, "dir", "", "`folder` to unpack into, which must not exist (default: the repository's last name)")
	if err := cmd.MarkFlagDirname("dir"); err != nil {
		panic(err) // the flag was added above
	}
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	return cmd
}

func bindKey(cmd *cobra.Command, key *string) {
	cmd.Flags().StringVar(key, "cosign-key", "", "`file` with the public key of cosign's that must have signed it (default: artifacts.verify.cosign_key)")
	if err := cmd.MarkFlagFilename("cosign-key", "pub", "pem"); err != nil {
		panic(err) // the flag was added above
	}
}

func newPluginVerifyCommand() *cobra.Command {
	var output, key string
	var registries registryFlags
	cmd := &cobra.Command{
		Use:   "verify REFERENCE",
		Short: "Verify the digest and signature of a plugin in a registry",
		Long: `Pulls a plugin, checks that every part of it has the digest that its reference or its tag stands for, that nothing is in it that a
host would refuse, and with --cosign-key that it is signed. Prints the reference with its digest: the one to put into the configuration.

Exits with 1 where it is not as it should be.`,
		Example: `  agenthost plugin verify registry.example.com/agents/bigquery:1.4
  agenthost plugin verify registry.example.com/agents/bigquery:1.4@sha256:5e1c… --cosign-key cosign.pub -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseReference(args[0])
			if err != nil {
				return err
			}
			return fetchPlugin(cmd, &registries, ref, key, output, func(*artifact.Folder) (string, error) { return "", nil })
		},
	}
	registries.bind(cmd)
	bindKey(cmd, &key)
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	return cmd
}

// fetchPlugin pulls a plugin into a store of its own, and reports on it.
func fetchPlugin(cmd *cobra.Command, registries *registryFlags, ref artifact.Reference, key, output string, use func(*artifact.Folder) (string, error)) error {
	settings, err := registries.settings(cmd)
	if err != nil {
		return err
	}
	if key == "" {
		key = settings.Artifacts.Verify.CosignKey
	}
	temporary, err := os.MkdirTemp("", "agenthost-plugin-")
	if err != nil {
		return err
	}
	settings.Artifacts.Dir = filepath.Join(temporary, "artifacts")
	store, err := server.OpenArtifacts(settings, config.Sources{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() {
		store.Keep("", nil)
		_, _ = store.Sweep() // it is temporary, and what is left over does no harm
		_ = store.Close()
		_ = os.RemoveAll(temporary)
	}()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := store.Pull(ctx, artifact.Want{Reference: ref, CosignKey: key, Progress: pullProgress(progressTo(cmd, output), ref)})
	if err != nil {
		return advised(err)
	}
	defer folder.Release()
	report := pulledReport{Reference: folder.Reference.String(), Manifest: folder.Manifest.String(), Command: folder.Command, Verified: "digest"}
	if key != "" {
		report.Verified = "digest and signature"
	}
	if report.Folder, err = use(folder); err != nil {
		return err
	}
	if isData(output) {
		return printData(cmd.OutOrStdout(), output, report)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "verified: %s\n", report.Verified)
	if report.Folder != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "unpacked into %s\n", report.Folder)
	}
	fmt.Fprintln(cmd.OutOrStdout(), report.Reference)
	return nil
}

// pullProgress tells of a pull, at most once a second.
func pullProgress(to io.Writer, ref artifact.Reference) func(done, total int64) {
	var told time.Time
	return func(done, total int64) {
		if time.Since(told) < time.Second && done < total {
			return
		}
		told = time.Now()
		fmt.Fprintf(to, "pulling %s: %s of %s\n", ref, memory(uint64(done)), memory(uint64(total)))
	}
}

// storedPlugin is one of `plugin list -o json`.
type storedPlugin struct {
	Manifest   string    `json:"manifest"`
	References []string  `json:"references"`
	Plugins    []string  `json:"plugins"`
	Bytes      int64     `json:"bytes"`
	Pulled     time.Time `json:"pulled"`
	Running    bool      `json:"running"`
	Folder     string    `json:"folder"`
}

func newPluginListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the images that this machine's hosts keep",
		Long: `Lists what is in artifacts.dir: the images that hosts on this machine have pulled, what each takes, which plugins use it, and whether
a process runs from it. What no plugin uses is removed by the hosts themselves.`,
		Example: `  agenthost plugin list
  agenthost plugin list -o json | jq '[.[].bytes] | add'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := (&registryFlags{}).settings(cmd)
			if err != nil {
				return err
			}
			found, err := artifact.List(settings.Artifacts.Dir)
			if err != nil {
				return err
			}
			stored := []storedPlugin{}
			for _, a := range found {
				stored = append(stored, storedPlugin{
					a.Manifest.String(), append([]string{}, a.References...), append([]string{}, a.Plugins...), a.Bytes, a.Pulled.UTC(), a.Running, a.Folder,
				})
			}
			if isData(output) {
				return printData(cmd.OutOrStdout(), output, stored)
			}
			fmt.Fprint(cmd.OutOrStdout(), renderStored(stored, settings.Artifacts.Dir))
			return nil
		},
	}
	bindConfigFlags(cmd)
	bindOutput(cmd, &output, outputTable, outputJSON, outputYAML)
	return cmd
}

func renderStored(stored []storedPlugin, dir string) string {
	if len(stored) == 0 {
		return "no images in " + dir + "\n"
	}
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	w.Style().Options = table.OptionsNoBordersAndSeparators
	w.AppendHeader(table.Row{"IMAGE", "PLUGINS", "SIZE", "PULLED", "RUNS"})
	for _, a := range stored {
		image := strings.Join(a.References, "\n")
		if image == "" {
			image = a.Manifest
		}
		runs := "no"
		if a.Running {
			runs = "yes"
		}
		w.AppendRow(table.Row{image, orDash(len(a.Plugins) > 0, strings.Join(a.Plugins, ", ")), memory(uint64(a.Bytes)), a.Pulled.Local().Format(time.DateTime), runs})
	}
	return w.Render() + "\n"
}
