// Package terratest applies modules on the laptop platform's AWS, asks its APIs what is there, and destroys it again.
//
// Run it by `make test-terratest`: that starts an emulated account of its own, builds the function's zip, and names both
// and a copy of the repository in environment variables.
package terratest

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/gruntwork-io/terratest/modules/terraform"
)

// apply applies the fixture in a workspace of its own and destroys both when the test ends. What it makes is named by
// the second return value: the account is the run's own, so the fixture's name is enough.
func apply(t *testing.T, fixture string, variables map[string]any) (*terraform.Options, string) {
	t.Helper()
	name := "pmp-" + fixture
	vars := map[string]any{"name": name}
	maps.Copy(vars, variables)
	options := terraform.WithDefaultRetryableErrors(t, &terraform.Options{
		TerraformDir: filepath.Join(given(t, "PMP_TERRATEST_TREE"), "tests/terratest/fixtures", fixture),
		Vars:         vars,
		NoColor:      true,
	})
	terraform.Init(t, options)
	terraform.WorkspaceSelectOrNew(t, options, name)
	t.Cleanup(func() {
		terraform.Destroy(t, options)
		terraform.WorkspaceSelectOrNew(t, options, "default")
		terraform.WorkspaceDelete(t, options, name)
	})
	terraform.Apply(t, options)
	return options, name
}

// given is an environment variable that `make test-terratest` sets.
func given(t *testing.T, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: run this by 'make test-terratest'", variable)
	}
	return value
}

// account is the SDK's configuration for the emulated account; endpoint, authority and keys are in the environment.
func account(t *testing.T) (context.Context, aws.Config) {
	t.Helper()
	configuration, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatalf("no AWS configuration: %v", err)
	}
	return t.Context(), configuration
}

// must fails the test when an API call did.
func must[T any](t *testing.T, what string) func(T, error) T {
	t.Helper()
	return func(answer T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return answer
	}
}
