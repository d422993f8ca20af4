// Package artifact gets plugins from OCI registries and keeps them by content.
//
//	store, err := artifact.Open(artifact.Options{Dir: dir, Host: id, Log: log})
//	folder, err := store.Pull(ctx, artifact.Want{Plugin: "bigquery", Reference: ref, CosignKey: file})
//	…                                // folder.Root is read-only; folder.Command is what the artifact says to start
//	folder.Release()
//	store.Keep("bigquery", images)   // of all others, what nobody uses is removed
//
// An artifact is what a manifest describes. A bare one has files as its layers, or archives of them; an image is a file system, layer upon
// layer. An index leads to the manifest for this platform.
//
// What the digest in a reference stands for is checked along the whole way: the index has that digest, the manifest is the one that the
// index names, and each layer the one that the manifest names. The layers stay beside what was unpacked from them, so that a host can tell
// at its next start whether somebody has changed a file (verify.go), and unpack it anew without a registry.
//
// An archive is read twice: first for what would come of it (plan.go), which refuses what does not belong into one, by name; then what is
// left of it is written (tree.go).
package artifact
