/* SPDX-License-Identifier: MIT */
/*
 * Before and after the loop: the clients of a run, connected one after the other, and the packets
 * they will send. All that the loop needs is allocated here.
 */
#include "transport/bench_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    REPLIES = 3 * BENCH_SCRATCH,
    OTHER_FILES = 16, /* descriptors that are no connections */
};

static void *reserve(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    if (!array)
        abort();
    return array;
}

bool bench_raise_descriptor_limit(uint32_t clients)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return true;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= (rlim_t)clients + OTHER_FILES)
        return true;
    fprintf(
        stderr,
        "noctule bench: %u connections are more than the limit of open files (ulimit -Hn), %llu\n",
        (unsigned)clients, (unsigned long long)limit.rlim_cur);
    return false;
}

bool bench_run_init(struct bench_run *run, const struct bench_options *options,
                    struct bench_result *result)
{
    *run = (struct bench_run){
        .options = options,
        .audience = options->scenario->audience,
        .result = result,
        .epoll = -1,
        .timer = -1,
        .client_room = options->publishers + options->subscribers,
        .packet_max = options->payload + BENCH_TOPIC_MAX + 64,
    };
    *result = (struct bench_result){ .what = options->scenario->name, .unit = "messages" };
    if (!bench_raise_descriptor_limit(run->client_room)) {
        run->client_room = 0;
        return false;
    }
    run->clients = reserve(run->client_room, sizeof *run->clients);
    for (uint32_t i = 0; i < run->client_room; i++)
        run->clients[i].wire.fd = -1;
    run->publishers = reserve(options->publishers, sizeof *run->publishers);
    run->ready = reserve((size_t)options->publishers * 2, sizeof *run->ready);
    /* What is written may be larger than what is read: an acknowledgement of 4 bytes is answered
     * with one of 4 in a frame of 10. */
    run->room = REPLIES + run->packet_max;
    run->in = reserve(BENCH_SCRATCH + BENCH_PREFIX, 1);
    run->out = reserve(run->room, 1);
    bench_check_init(&run->check, run->audience, options->publishers, options->subscribers,
                     options->window);
    if (!bench_target_init(&run->target, options))
        return false;
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run->epoll < 0)
        perror("noctule bench: epoll");
    return run->epoll >= 0;
}

void bench_run_done(struct bench_run *run)
{
    const uint8_t packet[] = { MQTT_DISCONNECT << 4, 0 };
    uint8_t disconnect[sizeof packet + BENCH_WIRE_HEAD];
    size_t len = bench_frame(run->target.websocket, disconnect, packet, sizeof packet);

    for (uint32_t i = 0; i < run->client_room; i++) {
        struct bench_client *client = &run->clients[i];
        if (client->wire.fd >= 0 && !run->broken)
            (void)bench_client_send(client, disconnect, len);
        bench_client_done(client);
    }
    for (uint32_t i = 0; i < run->publisher_count; i++)
        free(run->publishers[i].packet);
    bench_check_done(&run->check);
    bench_target_done(&run->target);
    free(run->clients);
    free(run->publishers);
    free(run->ready);
    free(run->in);
    free(run->out);
    if (run->epoll >= 0)
        close(run->epoll);
    if (run->timer >= 0)
        close(run->timer);
}

static struct bench_client *add_client(struct bench_run *run, uint32_t index, bool is_publisher)
{
    uint32_t number = run->subscriber_count + run->publisher_count;
    struct bench_client *client = &run->clients[number];

    *client = (struct bench_client){ .wire.fd = -1, .index = index, .is_publisher = is_publisher };
    return bench_client_open(client, &run->target, number, run->session) ? client : NULL;
}

struct bench_client *bench_run_add_subscriber(struct bench_run *run)
{
    struct bench_client *client = add_client(run, run->subscriber_count, false);
    run->subscriber_count += client != NULL;
    return client;
}

bool bench_run_subscribe(struct bench_run *run, struct bench_client *client, const char *filter)
{
    uint8_t buf[BENCH_TOPIC_MAX + 3];
    struct mqtt_writer w = { .out = buf, .room = sizeof buf };

    mqtt_put_string(&w, span_str(filter));
    mqtt_put_u8(&w, (uint8_t)run->options->qos);
    return !mqtt_writer_full(&w) &&
           bench_client_subscribe(client, run->target.version, span_of(buf, w.len));
}

bool bench_run_watch(struct bench_run *run, struct bench_client *client)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };

    if (!bench_client_go(client))
        return false;
    if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, client->wire.fd, &event) == 0)
        return true;
    perror("noctule bench: epoll");
    return false;
}

void bench_run_encode(struct bench_run *run, struct bench_publisher *publisher, const char *topic,
                      bool digits, uint32_t payload)
{
    uint8_t variable[BENCH_TOPIC_MAX + 4];
    struct mqtt_writer w = { .out = variable, .room = sizeof variable };
    unsigned first = MQTT_PUBLISH << 4 | run->options->qos << 1 | run->retain;
    uint8_t *filler = reserve(payload, 1), *packet = reserve(run->packet_max, 1);

    mqtt_put_string(&w, span_str(topic));
    if (run->options->qos)
        mqtt_put_u16(&w, 0);
    memset(filler, 'x', payload);
    free(publisher->packet);
    publisher->packet = reserve(run->packet_max + BENCH_WIRE_HEAD, 1);
    size_t len = mqtt_encode_packet(packet, run->packet_max, (uint8_t)first, run->target.version,
                                    span_of(variable, w.len), span_of(NULL, 0),
                                    span_of(filler, payload));
    publisher->size = (uint32_t)bench_frame(run->target.websocket, publisher->packet, packet, len);
    free(packet);
    free(filler);

    /* From the end: payload, length of no properties, identifier, topic. */
    uint32_t at = publisher->size - payload;
    publisher->stamp_at = payload ? at : 0;
    at -= run->target.version == MQTT_V5;
    publisher->id_at = run->options->qos ? at - 2 : 0;
    at -= run->options->qos ? 2 : 0;
    publisher->digits_at = digits ? at - 8 : 0;
}

bool bench_run_add_publisher(struct bench_run *run, const char *topic, bool digits)
{
    struct bench_publisher *publisher = &run->publishers[run->publisher_count];

    *publisher = (struct bench_publisher){ .index = run->publisher_count };
    publisher->client = add_client(run, run->publisher_count, true);
    if (!publisher->client)
        return false;
    publisher->window = run->options->window;
    if (run->options->qos && publisher->window > publisher->client->receive_max)
        publisher->window = publisher->client->receive_max;
    bench_run_encode(run, publisher, topic, digits, run->options->payload);
    run->publisher_count++;
    return bench_run_watch(run, publisher->client);
}
