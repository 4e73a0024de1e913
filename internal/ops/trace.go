package ops

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer exports a span for each sampled request over OTLP/HTTP and continues
// the W3C trace context that came with it.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	prop     propagation.TraceContext
}

// NewTracer exports to endpoint, an http or https URL of an OTLP collector.
// Ratio of the traces that begin here are sampled; a caller's decision on its
// own trace is followed.
func NewTracer(ctx context.Context, endpoint string, ratio float64) (*Tracer, error) {
	exp, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("start trace exporter: %w", err)
	}
	return newTracer(sdktrace.WithBatcher(exp), ratio), nil
}

func newTracer(exporter sdktrace.TracerProviderOption, ratio float64) *Tracer {
	p := sdktrace.NewTracerProvider(exporter,
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "bulwark-gateway"))),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))))
	return &Tracer{provider: p, tracer: p.Tracer("bulwark.dev/bulwark/gateway")}
}

// Start begins the span of one request. A malformed traceparent starts a new
// trace, as W3C Trace Context demands.
func (t *Tracer) Start(traceparent, tracestate, name string) (forward, traceID string, end func(status int)) {
	in := propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate}
	ctx := t.prop.Extract(context.Background(), in)
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	out := propagation.MapCarrier{}
	t.prop.Inject(ctx, out)
	return out["traceparent"], span.SpanContext().TraceID().String(), func(status int) {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// Close sends what waits.
func (t *Tracer) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("stop trace exporter: %w", err)
	}
	return nil
}
