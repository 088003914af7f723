package terratest

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/gruntwork-io/terratest/modules/terraform"
	"github.com/stretchr/testify/assert"
	"gopkg.in/yaml.v3"
)

// gap lists the attributes that an unchanged plan may show as changed for resources of one type, because the emulator
// answers differently from AWS.
type gap struct {
	Type       string
	Attributes []string
}

// gaps reads local/ministack/unchanged-plan.yml, the list that `python -m ops plan --refuse-changes` uses, too. It
// returns attributes by resource type.
func gaps(t *testing.T) map[string][]string {
	t.Helper()
	text := must[[]byte](t, "list of gaps")(os.ReadFile(filepath.Join(given(t, "PMP_TERRATEST_TREE"), "local/ministack/unchanged-plan.yml")))
	var list struct {
		UnchangedPlan []gap `yaml:"unchanged_plan"`
	}
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatalf("local/ministack/unchanged-plan.yml: %v", err)
	}
	byType := map[string][]string{}
	for _, gap := range list.UnchangedPlan {
		byType[gap.Type] = append(byType[gap.Type], gap.Attributes...)
	}
	return byType
}

// assertUnchanged plans again what was just applied. Only the attributes listed in gaps may change.
func assertUnchanged(t *testing.T, options *terraform.Options) {
	t.Helper()
	known := gaps(t)
	planned := *options
	planned.PlanFilePath = filepath.Join(t.TempDir(), "plan")
	terraform.Plan(t, &planned)
	for address, resource := range terraform.ShowWithStruct(t, &planned).ResourceChangesMap {
		if resource.Change.Actions.NoOp() || resource.Change.Actions.Read() {
			continue
		}
		if !assert.True(t, resource.Change.Actions.Update(), "%s: %v", address, resource.Change.Actions) {
			continue
		}
		before, _ := resource.Change.Before.(map[string]any)
		after, _ := resource.Change.After.(map[string]any)
		unknown, _ := resource.Change.AfterUnknown.(map[string]any)
		for attribute := range before {
			if _, computed := unknown[attribute]; computed || reflect.DeepEqual(before[attribute], after[attribute]) {
				continue
			}
			assert.True(t, slices.Contains(known[resource.Type], attribute), "%s.%s: %v → %v", address, attribute, before[attribute], after[attribute])
		}
	}
}
