package plugin

import (
	"strings"

	"github.com/agenthost/agenthost/host/config"
)

// SpecOf is the process, or the servers elsewhere, that a plugin's entry in the configuration describes.
func SpecOf(name string, p config.Plugin) Spec {
	return Spec{
		Name: name, Command: p.Command, Image: p.Image, CosignKey: p.Verify.CosignKey, Dir: p.Dir, Env: p.Env, InheritEnv: p.InheritEnv, SHA256: p.SHA256, Secrets: p.Secrets,
		Address: p.Address, RemoteTLS: RemoteTLS{CA: p.TLSCA, Cert: p.TLSCert, Key: p.TLSKey, ServerName: p.TLSServerName},
		Sandbox: sandboxOf(p), Config: p.Config, TLS: p.TLS != config.TLSOff, StartTimeout: p.StartTimeout, StopTimeout: p.StopTimeout,
	}
}

// sandboxOf is the zero value where there is no process, or no sandbox.
func sandboxOf(p config.Plugin) config.Sandbox {
	if p.Remote() || !p.Sandbox.On() {
		return config.Sandbox{}
	}
	return p.Sandbox
}

// KeyErrors are the ConfigErrors with the file, line and whole key that each is about.
func (e *StartError) KeyErrors(settings *config.Config) config.Errors {
	var errs config.Errors
	for _, wrong := range e.ConfigErrors {
		path := []string{"plugins", e.Plugin, "config"}
		if wrong.Key != "" {
			path = append(path, strings.Split(wrong.Key, ".")...)
		}
		errs = append(errs, settings.ErrorAt(wrong.Message, path...))
	}
	return errs
}
