package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/proto/agentclient"
	"github.com/agenthost/agenthost/tools/taskrun"
)

// bindTaskCompletions tells a shell what may follow. The task types come from the host, if one answers quickly.
func bindTaskCompletions(cmd *cobra.Command, r *taskRun) {
	fixed := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	for name, complete := range map[string]cobra.CompletionFunc{
		"type": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			options, err := r.credentials.options()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			conn, err := grpc.NewClient("passthrough:///"+r.target(), options...)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			defer conn.Close()
			types, _ := taskrun.TaskTypes(ctx, conn, agentclient.Flyte(r.flyte)) // no host, no proposals
			types = slices.DeleteFunc(types, func(name string) bool { return !isPlainWord(name) })
			return types, cobra.ShellCompDirectiveNoFileComp
		},
		"flyte":  fixed("1", "2"),
		"domain": fixed("development", "staging", "production"),
		"want":   fixed("rows:dataset", "value:int", "value:float", "value:str"),
	} {
		if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flag was added before
		}
	}
}
