package secret_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/agenthost/agenthost/host/secret"
)

const value = "swordfish\x00\xff\n" // every byte of it counts

func TestASecretIsReadByteForByteFromWhereItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET_OF_THE_TEST", "sword fish\n")
	for source, want := range map[string]string{"file://" + file: value, "env:SECRET_OF_THE_TEST": "sword fish\n"} {
		if got, err := secret.Read(t.Context(), source); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", source, got, err)
		}
	}
}

func TestSecretsOfAWSAreRead(t *testing.T) {
	account := startAWS(t)
	manager, store := secretsmanager.NewFromConfig(account), ssm.NewFromConfig(account)
	ctx := t.Context()
	_, err := manager.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("prod/token"), SecretString: aws.String("sword=fish\n")})
	_, err2 := manager.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("key"), SecretBinary: []byte(value)})
	_, err3 := store.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/prod/password"), Value: aws.String("fish"), Type: types.ParameterTypeSecureString})
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"awssecretsmanager://prod/token":                "sword=fish\n",
		"awssecretsmanager://key?decoder=bytes":         value,
		"awsparamstore:///prod/password":                "fish",
		"awssecretsmanager://key?region=us-east-1":      value,
		"awsparamstore:///prod/password?decoder=string": "fish",
	} {
		if got, err := secret.Read(ctx, source); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", source, got, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = secret.Read(ctx, "awssecretsmanager://nowhere")
	if err == nil || !strings.Contains(err.Error(), "awssecretsmanager://nowhere") || ctx.Err() != nil {
		t.Errorf("a secret that there is not: %v", err)
	}
}

func TestASecretThatCannotBeReadSaysWhyAndNeverItsValue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for source, want := range map[string]string{
		"file:///no/such/file":      "/no/such/file",
		"env:NO_SUCH_VARIABLE":      "NO_SUCH_VARIABLE",
		"swordfish":                 "none of file:///path",
		"https://sword:fish@host/x": "none of file:///path",
		"file://relative/swordfish": "none of file:///path",
	} {
		_, err := secret.Read(ctx, source)
		var failed *secret.Error
		if !errors.As(err, &failed) || failed.Advice == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", source, err)
		}
		if err != nil && strings.Contains(err.Error(), "fish") {
			t.Errorf("the error tells what may be the secret: %v", err)
		}
	}
}

// What the configuration lets through, Read knows how to read.
func TestThePatternIsThatOfSources(t *testing.T) {
	pattern := regexp.MustCompile(secret.Pattern)
	for _, good := range []string{"file:///a", "file://./a", "env:A_1", "awssecretsmanager://a/b?region=eu-west-1", "awsparamstore:///a", "gcpsecretmanager://projects/p/secrets/s",
		"azurekeyvault://v/n", "vault://secret/a/b?kv=2#key", "kubernetes://ns/name#key"} {
		if !pattern.MatchString(good) {
			t.Errorf("%s should fit", good)
		}
	}
	for _, bad := range []string{"", "swordfish", "env:1", "https://example.com", "gcpsecretmanager://", "file://\x00", "azurekeyvault://", "vault://secret/a", "kubernetes://ns/name", "vault://#key"} {
		if pattern.MatchString(bad) {
			t.Errorf("%q should not fit", bad)
		}
	}
}

// startAWS runs moto, and makes it the cloud of this process.
func startAWS(t *testing.T) aws.Config {
	t.Helper()
	install := exec.Command("../../scripts/venv", "moto")
	install.Stderr = os.Stderr
	programs, err := install.Output()
	if err != nil {
		t.Fatalf("scripts/venv moto: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	moto := exec.Command(filepath.Join(string(bytes.TrimSpace(programs)), "moto_server"), "-H", host, "-p", port)
	if err := moto.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = moto.Process.Kill()
		_ = moto.Wait()
	})
	endpoint := "http://" + net.JoinHostPort(host, port)
	for key, value := range map[string]string{
		"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(key, value)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for look := time.NewTicker(50 * time.Millisecond); ; {
		if answer, err := http.Get(endpoint + "/moto-api/"); err == nil { //nolint:noctx // the loop is bounded
			answer.Body.Close()
			break
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal("moto does not answer")
		}
	}
	account, err := awsconfig.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// So that no plugin reads what the host shows to a store.
func TestTheFilesOfASourceAreThoseOfTheHostsOwn(t *testing.T) {
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "/a/federated")
	t.Setenv("BAO_TOKEN_FILE", "")
	t.Setenv("VAULT_TOKEN_FILE", "/a/own")
	for source, want := range map[string]string{
		"file:///a/b": "/a/b",
		"vault://m/p?auth=approle&role_id=x&secret_id_file=/a/id#k": "/a/id",
		"vault://m/p?token_file=/a/token&ca_file=/a/ca#k":           "/a/token",
		"vault://m/p#k":                         "/a/own",
		"vault://m/p?auth=kubernetes&role=r#k":  "",
		"azurekeyvault://v/n":                   "/a/federated",
		"kubernetes://n/s?service_account=/a#k": "/a",
		"awssecretsmanager://x?token_file=/a":   "",
		"env:A":                                 "",
	} {
		if got := strings.Join(secret.Files(source), " "); got != want {
			t.Errorf("%s: %q; want %q", source, got, want)
		}
	}
}

// So that only what no file's change tells of is read again.
func TestAStoredSourceIsOneOfAStore(t *testing.T) {
	for source, want := range map[string]bool{
		"awssecretsmanager://a": true, "awsparamstore:///a": true, "gcpsecretmanager://projects/p/secrets/s": true,
		"azurekeyvault://v/n": true, "vault://m/p#k": true, "kubernetes://n/s#k": true, "file:///a": false, "env:A": false, "swordfish": false,
	} {
		if got := secret.Stored(source); got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}
