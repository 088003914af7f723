// Package terratest applies modules on an emulated AWS account, checks the result with AWS's APIs, and destroys it.
//
// Run it with `make test-terratest`, which starts a separate emulated account, builds the function's zip, and passes
// both and a copy of the repository in environment variables.
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

// apply applies the fixture in a new workspace, and destroys both when the test ends. It returns Terraform's options and
// the name given to the resources. The fixture's name makes that unique, because each run has its own account.
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

// given returns an environment variable that `make test-terratest` sets.
func given(t *testing.T, variable string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: run the tests with 'make test-terratest'", variable)
	}
	return value
}

// account returns the SDK's configuration for the emulated account. Environment variables give it the endpoint, the
// certificate authority and the keys.
func account(t *testing.T) (context.Context, aws.Config) {
	t.Helper()
	configuration, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatalf("no AWS configuration: %v", err)
	}
	return t.Context(), configuration
}

// must returns a function that passes on an API call's answer, and fails the test if the call failed.
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
