package terratest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2"
	"github.com/aws/aws-sdk-go-v2/service/apigatewayv2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/gruntwork-io/terratest/modules/terraform"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestApi(t *testing.T) {
	t.Parallel()
	options, _ := apply(t, "api", map[string]any{"code_path": given(t, "PMP_TERRATEST_CODE")})
	ctx, configuration := account(t)
	client := apigatewayv2.NewFromConfig(configuration)
	id := aws.String(terraform.Output(t, options, "api_id"))
	domain := terraform.Output(t, options, "domain_name")
	clients := terraform.OutputMap(t, options, "client_by_scope")

	t.Run("the API answers on its domain", func(t *testing.T) {
		status, body := get(t, domain, "/v1/health", "")
		assert.Equal(t, http.StatusOK, status, "%s", body)
		assert.Contains(t, body, "0123456789abcdef0123456789abcdef01234567")
	})

	t.Run("an unknown path gets a problem document from the function", func(t *testing.T) {
		status, body := get(t, domain, "/v1/nothing", "")
		assert.Equal(t, http.StatusNotFound, status, "%s", body)
		assert.Contains(t, body, `"title"`)
	})

	t.Run("a missing or forged token returns 401, a missing scope 403", func(t *testing.T) {
		status, body := get(t, domain, "/v1/users", "")
		assert.Equal(t, http.StatusUnauthorized, status, "%s", body)
		genuine := token(t, clients["read"])
		status, body = get(t, domain, "/v1/users", genuine[:strings.LastIndex(genuine, ".")+1]+"forged")
		assert.Equal(t, http.StatusUnauthorized, status, "%s", body)
		status, body = get(t, domain, "/v1/users", token(t, clients["admin"]))
		assert.Equal(t, http.StatusForbidden, status, "%s", body)
	})

	t.Run("a token with the scope reaches the function, which has no database", func(t *testing.T) {
		status, body := get(t, domain, "/v1/users", token(t, clients["read"]))
		assert.Equal(t, http.StatusServiceUnavailable, status, "%s", body)
		assert.Contains(t, body, `"title"`)
	})

	t.Run("only the domain answers, with TLS 1.2 and a validated certificate", func(t *testing.T) {
		api := must[*apigatewayv2.GetApiOutput](t, "API")(client.GetApi(ctx, &apigatewayv2.GetApiInput{ApiId: id}))
		assert.True(t, aws.ToBool(api.DisableExecuteApiEndpoint))
		answer := must[*apigatewayv2.GetDomainNameOutput](t, "domain")(client.GetDomainName(ctx, &apigatewayv2.GetDomainNameInput{DomainName: aws.String(domain)}))
		require.Len(t, answer.DomainNameConfigurations, 1)
		assert.Equal(t, types.SecurityPolicyTls12, answer.DomainNameConfigurations[0].SecurityPolicy)
		assert.NotEmpty(t, aws.ToString(answer.DomainNameConfigurations[0].CertificateArn))
	})

	t.Run("the zone has address records and the certificate's validation record", func(t *testing.T) {
		answer := must[*route53.ListResourceRecordSetsOutput](t, "records")(route53.NewFromConfig(configuration).ListResourceRecordSets(ctx,
			&route53.ListResourceRecordSetsInput{HostedZoneId: aws.String(terraform.Output(t, options, "hosted_zone_id"))}))
		kinds := map[string]int{}
		for _, record := range answer.ResourceRecordSets {
			if strings.HasSuffix(strings.TrimSuffix(aws.ToString(record.Name), "."), domain) {
				kinds[string(record.Type)]++
			}
		}
		assert.Equal(t, map[string]int{"A": 1, "AAAA": 1, "CNAME": 1}, kinds)
	})

	t.Run("requests are logged as JSON and throttled, some routes more tightly", func(t *testing.T) {
		answer := must[*apigatewayv2.GetStagesOutput](t, "stages")(client.GetStages(ctx, &apigatewayv2.GetStagesInput{ApiId: id}))
		require.Len(t, answer.Items, 1)
		stage := answer.Items[0]
		assert.Contains(t, aws.ToString(stage.AccessLogSettings.DestinationArn), terraform.Output(t, options, "access_log_group_name"))
		var format map[string]string
		require.NoError(t, json.Unmarshal([]byte(aws.ToString(stage.AccessLogSettings.Format)), &format))
		assert.Subset(t, format, map[string]string{"requestId": "$context.requestId", "status": "$context.status", "integrationError": "$context.integration.error"})
		assert.Equal(t, float64(100), aws.ToFloat64(stage.DefaultRouteSettings.ThrottlingRateLimit))
		assert.Equal(t, int32(5), aws.ToInt32(stage.DefaultRouteSettings.ThrottlingBurstLimit))
		assert.Equal(t, float64(1), aws.ToFloat64(stage.RouteSettings["POST /v1/exports"].ThrottlingRateLimit))
	})

	t.Run("a second plan changes nothing", func(t *testing.T) {
		assertUnchanged(t, options)
	})
}

// platform returns a client that connects to the emulated account for every host, and trusts only its authority.
func platform(t *testing.T) *http.Client {
	t.Helper()
	endpoint := must[*url.URL](t, "AWS_ENDPOINT_URL")(url.Parse(given(t, "AWS_ENDPOINT_URL")))
	authorities := x509.NewCertPool()
	require.True(t, authorities.AppendCertsFromPEM(must[[]byte](t, "authority")(os.ReadFile(given(t, "AWS_CA_BUNDLE")))))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, endpoint.Host)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// get sends a GET request to the API's domain, with a bearer token unless that is empty; it returns status and body.
func get(t *testing.T, domain, path, bearer string) (int, string) {
	t.Helper()
	request := must[*http.Request](t, path)(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+domain+path, nil))
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response := must[*http.Response](t, path)(platform(t).Do(request))
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, string(must[[]byte](t, path)(io.ReadAll(response.Body)))
}

// token gets an access token with the client credentials grant; client has the form `id:secret`.
func token(t *testing.T, client string) string {
	t.Helper()
	id, secret, _ := strings.Cut(client, ":")
	form := strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode())
	request := must[*http.Request](t, "token")(http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost/oauth2/token", form))
	request.SetBasicAuth(id, secret)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response := must[*http.Response](t, "token")(platform(t).Do(request))
	defer func() { _ = response.Body.Close() }()
	body := must[[]byte](t, "token")(io.ReadAll(response.Body))
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(body, &answer))
	return answer.AccessToken
}
