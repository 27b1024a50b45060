/* SPDX-License-Identifier: MIT */
/*
 * The scenarios in which messages flow: who subscribes to what and who publishes where. Topics
 * begin with our process number, so that two generators on one broker do not meet.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <unistd.h>

#include "transport/bench_meter.h"
#include "transport/bench_run.h"

enum { FILTERS_AT_ONCE = 60 };

static const char *topic(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "bench/<pid>/" and what `format` says. */
static const char *topic(char *out, const char *format, ...)
{
    int len = snprintf(out, BENCH_TOPIC_MAX, "bench/%ld/", (long)getpid());
    va_list args;

    va_start(args, format);
    vsnprintf(out + len, BENCH_TOPIC_MAX - (size_t)len, format, args);
    va_end(args);
    return out;
}

static const char *filter_of(const struct bench_options *options, uint32_t subscriber, char *out)
{
    char all[BENCH_TOPIC_MAX];

    if (options->scenario->audience == BENCH_OWN)
        return topic(out, "%" PRIu32, subscriber);
    if (options->scenario->audience == BENCH_ALL)
        return options->publishers == 1 ? topic(out, "0") : topic(out, "+");
    snprintf(out, BENCH_TOPIC_MAX, "$share/bench/%.40s", topic(all, "+"));
    return out;
}

static bool connect_all(struct bench_run *run, const struct bench_options *options)
{
    char text[BENCH_TOPIC_MAX];

    run->session = options->persistent ? BENCH_RESUME : BENCH_CLEAN;
    for (uint32_t i = 0; i < options->subscribers; i++) {
        struct bench_client *client = bench_run_add_subscriber(run);
        if (!client || !bench_run_subscribe(run, client, filter_of(options, i, text)) ||
            !bench_run_watch(run, client))
            return false;
        bench_progress(&run->shown, run->result->what, i, "subscribers");
    }
    run->session = BENCH_CLEAN;
    for (uint32_t i = 0; i < options->publishers; i++) {
        if (!bench_run_add_publisher(run, topic(text, "%" PRIu32, i), false))
            return false;
        bench_progress(&run->shown, run->result->what, i, "publishers");
    }
    return true;
}

int bench_run_messages(const struct bench_options *options)
{
    static struct bench_result result;
    struct bench_run run;
    bool well = bench_run_init(&run, options, &result) && connect_all(&run, options);

    if (well) {
        bench_run_publish(&run, options->messages);
        well = bench_report(options, &result);
    }
    bench_run_done(&run);
    return well ? 0 : 1;
}

/* ---- many subscriptions ------------------------------------------------------------------ */

/* Filter i is of subscriber i % subscribers, and reads "bench/<pid>/<i>/+". */
static bool subscribe_many(struct bench_run *run, struct bench_client *client, uint32_t step,
                           uint32_t count)
{
    uint8_t buf[FILTERS_AT_ONCE * (BENCH_TOPIC_MAX + 3)];
    char text[BENCH_TOPIC_MAX];

    for (uint32_t i = client->index; i < count;) {
        struct mqtt_writer w = { .out = buf, .room = sizeof buf };
        for (uint32_t n = 0; n < FILTERS_AT_ONCE && i < count; n++, i += step) {
            mqtt_put_string(&w, span_str(topic(text, "%" PRIu32 "/+", i)));
            mqtt_put_u8(&w, (uint8_t)run->options->qos);
        }
        if (!bench_client_subscribe(client, run->target.version, span_of(buf, w.len)))
            return false;
        bench_progress(&run->shown, run->result->what, client->index * (uint64_t)(count / step),
                       "subscriptions");
    }
    return bench_run_watch(run, client);
}

static bool connect_many(struct bench_run *run, const struct bench_options *options,
                         uint64_t *ret_memory)
{
    uint32_t apart = options->count / options->publishers;
    char text[BENCH_TOPIC_MAX];

    for (uint32_t i = 0; i < options->publishers; i++)
        if (!bench_run_add_publisher(run, topic(text, "%" PRIu32 "/t", i * apart), false))
            return false;
    for (uint32_t i = 0; i < options->subscribers; i++)
        if (!bench_run_add_subscriber(run))
            return false;
    *ret_memory = bench_process_memory(options->pid);
    for (uint32_t i = 0; i < options->subscribers; i++)
        if (!subscribe_many(run, &run->clients[options->publishers + i], options->subscribers,
                            options->count))
            return false;
    return true;
}

int bench_run_subscriptions(const struct bench_options *options)
{
    static struct bench_result result;
    struct bench_run run;
    uint64_t before = 0, after;

    if (options->count < options->publishers) {
        fprintf(stderr, "noctule bench: --count must be at least --publishers here\n");
        return 2;
    }
    bool well = bench_run_init(&run, options, &result) && connect_many(&run, options, &before);
    if (well) {
        after = bench_process_memory(options->pid);
        bench_run_publish(&run, options->messages);
        result.memory_before = before;
        result.memory_after = after;
        result.memory_units = options->count;
        well = bench_report(options, &result);
    }
    bench_run_done(&run);
    return well ? 0 : 1;
}

/* ---- retained messages ------------------------------------------------------------------- */

static bool set_retained(struct bench_run *run, const struct bench_options *options)
{
    char text[BENCH_TOPIC_MAX];

    run->retain = true;
    for (uint32_t i = 0; i < options->publishers; i++)
        if (!bench_run_add_publisher(run, topic(text, "r/00000000"), true))
            return false;
    uint64_t before = bench_process_memory(options->pid);
    bench_run_publish(run, options->count);
    run->result->what = "retained set";
    run->result->memory_before = before;
    run->result->memory_units = options->count;
    return bench_report(options, run->result);
}

static bool fetch_retained(struct bench_run *run, const struct bench_options *options)
{
    uint8_t buf[BENCH_TOPIC_MAX + 3], packet[BENCH_TOPIC_MAX + 16 + BENCH_WIRE_HEAD];
    const uint8_t id[] = { 0, 1 };
    char text[BENCH_TOPIC_MAX];
    struct mqtt_writer w = { .out = buf, .room = sizeof buf };
    struct bench_client *client = bench_run_add_subscriber(run);

    if (!client || !bench_run_watch(run, client))
        return false;
    bench_check_done(&run->check);
    bench_check_init(&run->check, BENCH_GROUP, options->publishers, 1, options->count);
    run->check.any_order = true;
    run->wanted = options->count;
    mqtt_put_string(&w, span_str(topic(text, "r/#")));
    mqtt_put_u8(&w, (uint8_t)options->qos);
    size_t len = mqtt_encode_packet(packet, BENCH_TOPIC_MAX + 16, MQTT_SUBSCRIBE << 4 | 2,
                                    run->target.version, span_of(id, sizeof id), span_of(NULL, 0),
                                    span_of(buf, w.len));
    len = bench_frame(run->target.websocket, packet, packet, len);
    memset(&run->result->latency, 0, sizeof run->result->latency);
    bench_run_begin(run);
    if (!bench_client_send(client, packet, len))
        return false;
    bench_run_listen(run);
    run->result->what = "retained fetch";
    run->result->memory_units = 0;
    /* The time stamp is that of the setting. */
    memset(&run->result->latency, 0, sizeof run->result->latency);
    bool well = bench_report(options, run->result);
    bench_client_done(client);
    return well;
}

static void clear_retained(struct bench_run *run, const struct bench_options *options)
{
    char text[BENCH_TOPIC_MAX];

    run->wanted = 0;
    for (uint32_t i = 0; i < options->publishers; i++)
        bench_run_encode(run, &run->publishers[i], topic(text, "r/00000000"), true, 0);
    bench_run_publish(run, options->count);
}

int bench_run_retained(const struct bench_options *options)
{
    static struct bench_result result;
    struct bench_options own = *options;
    struct bench_run run;

    own.subscribers = 1;
    own.rate = 0;
    bool well = bench_run_init(&run, &own, &result) && set_retained(&run, &own) &&
                fetch_retained(&run, &own);
    if (run.publisher_count == own.publishers && !run.broken)
        clear_retained(&run, &own);
    bench_run_done(&run);
    return well ? 0 : 1;
}
