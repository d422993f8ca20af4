package fakejobs

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/databricks/databricks-sdk-go/service/compute"
	"github.com/databricks/databricks-sdk-go/service/jobs"
)

// singleTask is the older form of a submission, with one task's fields beside the run's. The API takes it still, and
// flytekit sends it for everything that is not serverless.
type singleTask struct {
	jobs.SubmitRun
	ExistingClusterID string                `json:"existing_cluster_id"`
	NewCluster        *compute.ClusterSpec  `json:"new_cluster"`
	Libraries         []compute.Library     `json:"libraries"`
	NotebookTask      *jobs.NotebookTask    `json:"notebook_task"`
	SparkJarTask      *jobs.SparkJarTask    `json:"spark_jar_task"`
	SparkPythonTask   *jobs.SparkPythonTask `json:"spark_python_task"`
	SparkSubmitTask   *jobs.SparkSubmitTask `json:"spark_submit_task"`
	PythonWheelTask   *jobs.PythonWheelTask `json:"python_wheel_task"`
	PipelineTask      *jobs.PipelineTask    `json:"pipeline_task"`
}

// newer are fields that the SDK's types do not have yet.
var newer = map[reflect.Type]map[string]reflect.Type{
	reflect.TypeFor[compute.Environment](): {"environment_vars": reflect.TypeFor[map[string]string]()},
}

// checkShape says what in a JSON value does not fit the type that the API has for it.
func checkShape(value any, t reflect.Type, at string) error {
	switch t.Kind() {
	case reflect.Pointer:
		return checkShape(value, t.Elem(), at)
	case reflect.Struct:
		return checkObject(value, t, at)
	case reflect.Slice:
		items, ok := value.([]any)
		if !ok {
			return mismatch(at, "an array", value)
		}
		for i, item := range items {
			if err := checkShape(item, t.Elem(), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		fields, ok := value.(map[string]any)
		if !ok {
			return mismatch(at, "an object", value)
		}
		for key, item := range fields {
			if err := checkShape(item, t.Elem(), at+"."+key); err != nil {
				return err
			}
		}
		return nil
	default:
		return checkScalar(value, t, at)
	}
}

func checkObject(value any, t reflect.Type, at string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return mismatch(at, "an object", value)
	}
	fields := fieldsOf(t)
	for key, item := range object {
		field, known := fields[key]
		if !known {
			return fmt.Errorf("unknown field %s", join(at, key))
		}
		if item == nil {
			continue
		}
		if err := checkShape(item, field, join(at, key)); err != nil {
			return err
		}
	}
	return nil
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = field.Type
		}
	}
	for name, added := range newer[t] {
		fields[name] = added
	}
	return fields
}

func checkScalar(value any, t reflect.Type, at string) error {
	switch t.Kind() {
	case reflect.String:
		text, ok := value.(string)
		if !ok {
			return mismatch(at, "a string", value)
		}
		if choice, ok := reflect.New(t).Interface().(interface{ Set(string) error }); ok {
			if err := choice.Set(text); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			return mismatch(at, "a boolean", value)
		}
	case reflect.Int, reflect.Int64:
		if _, ok := integer(value); !ok {
			return mismatch(at, "an integer", value)
		}
	case reflect.Float64:
		if _, ok := value.(float64); !ok {
			return mismatch(at, "a number", value)
		}
	case reflect.Interface:
	default:
		panic(fmt.Sprintf("fakejobs: the type %s of %s is not covered", t, at))
	}
	return nil
}

// integer reads an integer as JSON for protocol buffers does: 2.0 is one, and so is "2".
func integer(value any) (int64, bool) {
	switch v := value.(type) {
	case float64:
		return int64(v), v == math.Trunc(v)
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

func mismatch(at, want string, got any) error {
	return fmt.Errorf("%s must be %s, got %v", at, want, got)
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}
