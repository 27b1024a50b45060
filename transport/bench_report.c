/* SPDX-License-Identifier: MIT */
/*
 * What a measurement says at its end: a line for people or a JSON object a line for programs, and
 * whether the run failed. Owns nothing.
 */
#include <inttypes.h>
#include <stdio.h>

#include <unistd.h>

#include "transport/bench.h"
#include "transport/bench_meter.h"

enum { SHOW_EVERY = 500000000 };

static double per(uint64_t amount, uint64_t count)
{
    return count ? (double)amount / (double)count : 0;
}

static double microseconds(const struct bench_histogram *latency, unsigned millionths)
{
    return (double)bench_histogram_percentile(latency, millionths) / 1000;
}

static const char *transport_of(const struct bench_options *options)
{
    if (options->websocket)
        return options->tls ? "wss" : "ws";
    return options->tls ? "tls" : "tcp";
}

static void report_json(const struct bench_options *options, const struct bench_result *result,
                        bool failed)
{
    const struct bench_histogram *latency = &result->latency;

    printf("{\"scenario\": \"%s\", \"transport\": \"%s\", \"qos\": %" PRIu32
           ", \"version\": %" PRIu32 ", \"payload\": %" PRIu32 ", \"publishers\": %" PRIu32
           ", \"subscribers\": %" PRIu32 ", \"window\": %" PRIu32 ", \"rate_asked\": %" PRIu32 ", ",
           result->what, transport_of(options), options->qos, options->version, options->payload,
           options->publishers, options->subscribers, options->window, options->rate);
    printf("\"unit\": \"%s\", \"sent\": %" PRIu64 ", \"done\": %" PRIu64 ", \"lost\": %" PRIu64
           ", \"doubled\": %" PRIu64 ", \"out_of_order\": %" PRIu64 ", \"refused\": %" PRIu64
           ", \"seconds\": %.6f, \"rate\": %.1f, ",
           result->unit, result->sent, result->done, result->lost, result->doubled,
           result->disordered, result->refused, (double)result->elapsed / 1e9,
           per(result->done, result->elapsed) * 1e9);
    printf("\"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, "
           "\"max\": %.1f}, \"own_cpu_us\": %.4f",
           microseconds(latency, 500000), microseconds(latency, 900000),
           microseconds(latency, 990000), microseconds(latency, 999000),
           (double)latency->max / 1000, per(result->own_cpu, result->done) / 1000);
    if (options->pid) {
        printf(", \"broker_cpu_us\": %.4f, \"broker_load\": %.3f, \"memory\": %" PRIu64,
               per(result->broker_cpu, result->done) / 1000,
               per(result->broker_cpu, result->elapsed), result->memory_after);
        if (result->memory_units)
            printf(", \"memory_each\": %.1f",
                   ((double)result->memory_after - (double)result->memory_before) /
                       (double)result->memory_units);
    }
    if (options->resume)
        printf(", \"resumed\": %" PRIu64, result->resumed);
    printf(", \"failed\": %s}\n", failed ? "true" : "false");
}

static void report_text(const struct bench_options *options, const struct bench_result *result,
                        bool failed)
{
    const struct bench_histogram *latency = &result->latency;

    printf("%s: %" PRIu64 " %s in %.2f s, %.0f/s", result->what, result->done, result->unit,
           (double)result->elapsed / 1e9, per(result->done, result->elapsed) * 1e9);
    if (latency->count)
        printf("; latency us p50 %.0f p90 %.0f p99 %.0f p99.9 %.0f max %.0f",
               microseconds(latency, 500000), microseconds(latency, 900000),
               microseconds(latency, 990000), microseconds(latency, 999000),
               (double)latency->max / 1000);
    printf("; CPU us each: own %.3f", per(result->own_cpu, result->done) / 1000);
    if (options->pid)
        printf(", broker %.3f; broker %.1f MB", per(result->broker_cpu, result->done) / 1000,
               (double)result->memory_after / 1e6);
    if (options->pid && result->memory_units)
        printf(", %.0f bytes each", ((double)result->memory_after - (double)result->memory_before) /
                                        (double)result->memory_units);
    if (options->resume)
        printf("; %" PRIu64 " resumed", result->resumed);
    if (failed || result->lost)
        printf("; %s: lost %" PRIu64 ", doubled %" PRIu64 ", out of order %" PRIu64
               ", refused %" PRIu64,
               failed ? "FAILED" : "open loop", result->lost, result->doubled, result->disordered,
               result->refused);
    printf("\n");
}

void bench_progress(uint64_t *shown, const char *what, uint64_t done, const char *unit)
{
    uint64_t now = bench_now();

    if (now - *shown < SHOW_EVERY)
        return;
    *shown = now;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%s: %" PRIu64 " %s ", what, done, unit);
}

void bench_progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

bool bench_report(const struct bench_options *options, const struct bench_result *result)
{
    bool failed = (result->lost && !result->loss_is_allowed) || result->doubled ||
                  result->disordered || result->refused || result->done == 0;

    if (options->json)
        report_json(options, result, failed);
    else
        report_text(options, result, failed);
    fflush(stdout);
    return !failed;
}
