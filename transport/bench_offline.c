/* SPDX-License-Identifier: MIT */
/*
 * The scenario of the load generator in which nobody is there: COUNT sessions subscribe and leave,
 * messages are queued for them, then they come back and take them. Each session has a topic of its
 * own, and the messages go round. Owns nothing beyond the run.
 *
 *   subscribe, leave ─ publish ─ connect ─ CONNECT, and listen
 *                      └ queue ┘           └ drain           ┘
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <inttypes.h>
#include <unistd.h>

#include "transport/bench_meter.h"
#include "transport/bench_run.h"

enum { PRESET_EACH = 100 };

static void topic_of(char *out, uint32_t number)
{
    snprintf(out, BENCH_TOPIC_MAX, "bench/%ld/o/%08" PRIu32, (long)getpid(), number);
}

static bool come(struct bench_run *run, uint32_t index, enum bench_session session)
{
    struct bench_client *client = &run->clients[index];

    *client = (struct bench_client){ .wire.fd = -1, .index = index };
    return bench_client_open(client, &run->target, index, session);
}

/* The broker closes: what it does about the session is then done. */
static bool leave(struct bench_run *run, uint32_t index)
{
    const uint8_t disconnect[] = { MQTT_DISCONNECT << 4, 0 };
    struct bench_client *client = &run->clients[index];
    uint8_t packet[sizeof disconnect + BENCH_WIRE_HEAD];
    size_t len = bench_frame(run->target.websocket, packet, disconnect, sizeof disconnect);

    bool well = bench_client_send(client, packet, len) &&
                bench_wire_recv(&client->wire, packet, sizeof packet) == 0;
    bench_client_done(client);
    return well;
}

static bool make_sessions(struct bench_run *run, uint32_t count)
{
    char topic[BENCH_TOPIC_MAX];

    for (uint32_t i = 0; i < count; i++) {
        topic_of(topic, i);
        if (!come(run, i, BENCH_RESUME) || !bench_run_subscribe(run, &run->clients[i], topic) ||
            !leave(run, i))
            return false;
        bench_progress(&run->shown, "offline", i, "sessions made");
    }
    run->subscriber_count = count;
    return true;
}

static bool end_sessions(struct bench_run *run, uint32_t count)
{
    bool well = true;

    for (uint32_t i = 0; well && i < count; i++)
        well = come(run, i, BENCH_CLEAN) && leave(run, i);
    return well;
}

/* All are at the door when the meters start: what a connection costs is another scenario's. */
static bool dial_all(struct bench_run *run, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct bench_client *client = &run->clients[i];
        *client = (struct bench_client){ .wire.fd = -1, .index = i };
        if (!bench_client_dial(client, &run->target) || !bench_run_watch(run, client))
            return false;
        bench_progress(&run->shown, "offline", i, "connections");
    }
    return true;
}

static bool come_back(struct bench_run *run, uint32_t count)
{
    uint8_t packet[BENCH_CONNECT];

    for (uint32_t i = 0; i < count; i++) {
        size_t len = bench_encode_connect(packet, &run->target, i, BENCH_RESUME);
        if (!bench_client_send(&run->clients[i], packet, len))
            return false;
    }
    return true;
}

static bool queue_messages(struct bench_run *run, const struct bench_options *options)
{
    char topic[BENCH_TOPIC_MAX];

    topic_of(topic, 0);
    run->topics = options->count;
    for (uint32_t i = 0; i < options->publishers; i++)
        if (!bench_run_add_publisher(run, topic, true))
            return false;
    uint64_t before = bench_process_memory(options->pid);
    bench_run_publish(run, options->messages);
    run->result->what = "offline queue";
    run->result->memory_before = before;
    run->result->memory_units = options->messages;
    return bench_report(options, run->result);
}

static bool drain_messages(struct bench_run *run, const struct bench_options *options)
{
    struct bench_result *result = run->result;

    bench_check_done(&run->check);
    bench_check_init(&run->check, BENCH_GROUP, options->publishers, options->count,
                     options->messages / options->publishers + 1);
    run->wanted = options->messages;
    if (!dial_all(run, options->count))
        return false;
    bench_run_begin(run);
    if (!come_back(run, options->count))
        return false;
    bench_run_listen(run);
    result->what = "offline drain";
    result->memory_units = 0;
    /* The time stamp is that of the queueing. */
    memset(&result->latency, 0, sizeof result->latency);
    bool well = bench_report(options, result);
    for (uint32_t i = 0; i < options->count; i++)
        bench_client_done(&run->clients[i]);
    return well;
}

int bench_run_offline(const struct bench_options *options)
{
    static struct bench_result result;
    struct bench_options own = *options;
    struct bench_run run;

    own.subscribers = own.count;
    own.rate = 0;
    own.qos = own.qos ? own.qos : 1; /* at QoS 0 nothing would wait */
    if (!own.messages)
        own.messages = own.count * PRESET_EACH;
    bool well = bench_run_init(&run, &own, &result);
    bool made = well && make_sessions(&run, own.count);
    well = made && queue_messages(&run, &own) && drain_messages(&run, &own);
    if (made && !run.broken)
        well &= end_sessions(&run, own.count);
    bench_run_done(&run);
    return well ? 0 : 1;
}
