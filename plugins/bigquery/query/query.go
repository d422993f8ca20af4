// Package query turns a Flyte task into the BigQuery query that runs it.
package query

import (
	"fmt"

	"cloud.google.com/go/bigquery"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

// Query is a task as BigQuery wants it. Its user agent names flytekit's version and the Flyte domain, as flytekit's own agent
// does.
type Query struct {
	// Project is the Google Cloud project that the job runs in and is billed to, Location where it runs; either may be
	// empty when the task leaves it open.
	Project, Location string
	service.Query
	// Ignored are the settings of the task that BigQuery's API does not have.
	Ignored []string
}

// Of reads a task. Its errors are for the task's author.
func Of(task *sdk.Task) (*Query, error) {
	statement := task.Template.GetSql().GetStatement()
	if statement == "" {
		return nil, sdk.InvalidArgument("the task has no SQL: a %s task's template needs sql.statement", task.Category.Name)
	}
	var own struct{ ProjectID, Location, Domain string }
	if err := task.Custom(&own); err != nil {
		return nil, err
	}
	if err := literal.CheckTemplate(task.Template.GetCustom()); err != nil {
		return nil, sdk.InvalidArgument("the custom part of the task: %w", err)
	}
	settings, err := settingsOf(task.Template.GetCustom().AsMap())
	if err != nil {
		return nil, err
	}
	if err := settings.bind(task); err != nil {
		return nil, err
	}
	return &Query{
		Project:  own.ProjectID,
		Location: own.Location,
		Query: service.Query{
			// The settings go over it. The dialect of a task that names none is the client's default, standard SQL.
			QueryConfig: bigquery.QueryConfig{Q: statement, DryRun: settings.checked.DryRun},
			Settings:    settings.given,
			UserAgent:   fmt.Sprintf("Flytekit/%s (GPN:Union;%s)", task.Template.GetMetadata().GetRuntime().GetVersion(), own.Domain),
		},
		Ignored: settings.ignored,
	}, nil
}
