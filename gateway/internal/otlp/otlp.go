// Package otlp sends traces to an OpenTelemetry collector over OTLP/HTTP, when it
// is asked to.
//
// Sending never holds the gateway up: spans wait in a bounded queue, and those
// that find it full are dropped. They name devices by the start of their key id
// and addresses by their pattern; they hold no reading and no item.
package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// Endpoint is where traces go: the URL, with OTLP's own path if it has none.
func Endpoint(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("otlp: %q is no address\nhint: as http://127.0.0.1:4318", address)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// Start gives a provider that sends to address. Its Shutdown sends what is left.
func Start(ctx context.Context, address, service string, log *slog.Logger) (*trace.TracerProvider, error) {
	to, err := Endpoint(address)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(to))
	if err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not sent", "err", err) }))
	return trace.NewTracerProvider(trace.WithBatcher(exporter),
		trace.WithResource(resource.NewSchemaless(attribute.String("service.name", service)))), nil
}
