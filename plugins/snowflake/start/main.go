// Command start is the plugin's program in the image: it becomes Java, which it finds beside itself, with the options that fit a plugin.
// So the folder can be anywhere. JDK_JAVA_OPTIONS in the plugin's environment adds options, and overrides these.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err == nil {
		argv := command(filepath.Dir(program), os.Getenv("TMPDIR"), os.Args[1:])
		err = syscall.Exec(argv[0], argv, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "snowflake: cannot start the Java beside the program: %v\n", err)
	os.Exit(1)
}

// command is what runs the plugin in its folder. Java does not look where a process may write by itself.
func command(folder, temporary string, arguments []string) []string {
	command := []string{filepath.Join(folder, "jre", "bin", "java"), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"}
	if temporary != "" {
		command = append(command, "-Djava.io.tmpdir="+temporary)
	}
	return append(append(command, "-jar", filepath.Join(folder, "snowflake.jar")), arguments...)
}
