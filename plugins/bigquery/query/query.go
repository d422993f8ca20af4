// Package query turns a Flyte task into the configuration of the BigQuery job that runs it.
package query

import (
	"fmt"

	"google.golang.org/api/bigquery/v2"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Query is a task as BigQuery's API wants it.
type Query struct {
	// Project is the Google Cloud project that the job runs in and is billed to, Location where it runs; either may be
	// empty when the task leaves it open.
	Project, Location string
	// UserAgent names flytekit's version and the Flyte domain, as flytekit's own agent does.
	UserAgent string
	// Config is the job's configuration.
	Config *bigquery.JobConfiguration
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
	config, ignored, err := settings(task.Template.GetCustom().AsMap())
	if err != nil {
		return nil, err
	}
	config.Query.Query = statement
	if config.Query.UseLegacySql == nil {
		// The API's own default is the legacy dialect; that of every client library is not.
		standard := false
		config.Query.UseLegacySql = &standard
	}
	if err := bind(config.Query, task); err != nil {
		return nil, err
	}
	return &Query{
		Project:   own.ProjectID,
		Location:  own.Location,
		UserAgent: fmt.Sprintf("Flytekit/%s (GPN:Union;%s)", task.Template.GetMetadata().GetRuntime().GetVersion(), own.Domain),
		Config:    config,
		Ignored:   ignored,
	}, nil
}
