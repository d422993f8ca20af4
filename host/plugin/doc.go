// Package plugin is one instance of a plugin: one subprocess, from its Spec to its end. It knows nothing of its
// siblings; whoever starts several, replaces or restarts them is a floor above.
//
//	instance, err := plugin.Start(ctx, spec, plugin.Environment{RunRoot: root, Log: log})
//	…
//	release, ok := instance.Acquire()   // a call goes through
//	defer release()
//	err = instance.Conn().Invoke(ctx, "/flyteidl.service.AsyncAgentService/GetTask", in, out)
//	…
//	instance.Drain(ctx)                 // no new calls; the last one has ended
//	instance.Stop(ctx)                  // always ends, leaves nothing
//
// Start returns an instance that is ready for work, or an error and no process. In between are these steps, and an
// error (a *StartError) says at which of them it stopped:
//
//	pull       the image, where there is one, is here, and is what its digest and its key say
//	prepare    the spec makes sense, the checksums are right, the secrets can be read
//	launch     the program was started
//	handshake  it printed go-plugin's handshake line, with a certificate where TLS is on
//	connect    its gRPC server took the connection
//	health     its health service says SERVING
//	describe   it said who it is (a plugin need not)
//	configure  it accepted its `config:` block
//	list       it listed its agents
//
// The protocol is hashicorp/go-plugin's, through its Client; launching, output and stopping are host/process's. The
// one thing done differently is the certificate: go-plugin's AutoMTLS makes one that several TLS stacks refuse, so the
// host makes its own (see NewIdentity). The plugin sees no difference.
package plugin
